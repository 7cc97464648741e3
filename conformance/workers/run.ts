/** `npm run conformance -- workers`: a node whose traffic several processes carry is one node, whatever becomes of one of them. */
import { existsSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { cleanUpOnExit, scratchDirectory } from "../peer/lab/cleanup.ts";
import { comesTrue, eventually } from "../peer/lab/eventually.ts";
import { Tally } from "../peer/tally.ts";
import { type Call, type NodeUnderTest, type OpenConnection, openFiles, Stage, workerOf } from "./stage.ts";

const usage = `usage: npm run conformance -- workers [--verbose]

Two nodes on loopback addresses, each with two workers, and what calls from the one to the other (Linux; no root).

  --verbose   also say what passed
`;

const cases = {
  spread: "a node's workers have the same number of connections, on the same ports, as good as",
  tunnels: "tunnels from one peer, and what they carry, are in different workers of the node that is called",
  view: "connections, metrics and records of both are one view",
  levels: "a log level and a tap reach both",
  secrets: "keys are in no file, argument or environment of a worker",
  refused: "an upgrade is refused, and says why",
  dies: "a worker that is killed takes its own connections along, and no other's",
  replaced: "another takes its place, and what was counted stays counted",
  evened: "a worker that took the place of another gets tunnels of peers that have theirs in the others",
  policy: "a policy that changes ends what it forbids in both, and lets in no one after that",
  stopped: "a worker that does not confirm a change in time is killed, and lets in no one by what it knew",
  revoked: "a revoked certificate ends its connections in both",
  acknowledged:
    "a node of a control plane acknowledges a policy when it is in force in both, one of them stopped or not",
  drain: "a drain lets what is open end, and leaves no process",
  orphans: "workers end with their node, however it ends",
} as const;

const calls = 24;
/** A worker keeps what it has accepted while another has as many, but for one and a quarter of them. */
const maxUneven = 1 + calls / 8;
const maxAttempts = 5;

/** @returns the exit code. */
export async function workersConformance(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      verbose: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  cleanUpOnExit();
  const tally = new Tally(values.verbose);
  if (process.platform !== "linux")
    for (const name of Object.values(cases)) tally.skip(name, "workers need Linux");
  else {
    for (const [part, run] of [
      ["files", (story: Story) => story.run()],
      ["control", (story: Story) => story.runControlled()],
    ] as const) {
      const stage = new Stage(scratchDirectory(`workers-${part}`));
      try {
        await run(new Story(stage, tally));
      } catch (thrown) {
        const what = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
        const logs = stage.nodes.map(({ process }) => process.lines().slice(-15).join("\n"));
        tally.fail(`workers: ${part}`, [what, ...logs].join("\n--\n"));
      } finally {
        await stage.close();
      }
    }
  }
  console.log(tally.summary());
  return tally.count("failed") === 0 ? 0 : 1;
}

class Story {
  readonly #stage: Stage;
  readonly #tally: Tally;

  constructor(stage: Stage, tally: Tally) {
    this.#stage = stage;
    this.#tally = tally;
  }

  async run(): Promise<void> {
    const stage = this.#stage;
    const db = stage.start("db", "--workers", "2");
    const cart = stage.start("cart", "--workers", "2");
    await Promise.all([db.ready(), cart.ready()]);
    await this.#carry(cart, db);
    await this.#lose(cart);
    await this.#evenOut(db);
    await this.#change(db);
    await this.#revoke(cart, db);
    await this.#end(cart, db);
  }

  async runControlled(): Promise<void> {
    const stage = this.#stage;
    const control = await stage.control();
    const db = stage.start("db", "--workers", "2");
    const cart = stage.start("cart", "--workers", "2");
    await Promise.all([db.ready(), cart.ready()]);
    const facts: [unknown, unknown, string][] = [];
    for (const isStopped of [false, true]) {
      const where = isStopped ? "with one stopped" : "with both going on";
      const open = await stage.calls(calls);
      const [stuck = 0] = db.workers;
      if (isStopped) process.kill(stuck, "SIGSTOP");
      const before = control.acknowledged;
      facts.push([control.allow("nobody"), true, `applied, ${where}`]);
      const isAcknowledged = await comesTrue(() => ![null, before].includes(control.acknowledged));
      // One that could still let somebody in is gone by then.
      if (isStopped) facts.push([db.workers.includes(stuck), false, "the stopped worker is there"]);
      // From here on nothing has to be waited for.
      const after = await Promise.all(Array.from({ length: calls }, () => stage.call()));
      facts.push(
        [isAcknowledged, true, `acknowledged, ${where}`],
        [after.filter((call) => call !== null).length, 0, `calls that go through, ${where}`],
        [await comesTrue(() => open.every((call) => call.isOver)), true, `all are cut, ${where}`],
      );
      control.allow("cart");
      await db.ready();
      await eventually("calls go through again", async () => (await stage.call()) !== null);
    }
    this.#check(cases.acknowledged, facts);
  }

  async #carry(cart: NodeUnderTest, db: NodeUnderTest): Promise<void> {
    const stage = this.#stage;
    const open = await stage.calls(calls);
    const listed = await cart.connections();
    const [most = 0, least = 0] = perWorker(listed);
    this.#check(cases.spread, [
      [cart.workers.length, 2, "worker processes"],
      [most - least <= maxUneven, true, `of ${calls} connections the workers have ${most} and ${least}`],
    ]);
    const inbound = await db.connections();
    // Each worker of the caller's node has its own tunnel.
    this.#check(cases.tunnels, [
      [perWorker(inbound), [most, least], "connections of the called node's workers"],
    ]);
    const [opened, received] = [
      await cart.metric("istio_tcp_connections_opened_total", 'reporter="source"'),
      await db.metric("istio_tcp_connections_opened_total", 'reporter="destination"'),
    ];
    for (const call of open) call.end();
    // Each record comes once, whichever worker wrote it.
    await eventually("every connection has its record", () => this.#records(cart).length === calls);
    this.#check(cases.view, [
      [listed.length, calls, "connections that the caller's node lists"],
      [inbound.length, calls, "connections that the called node lists"],
      [opened, calls, "connections that the caller's node has counted"],
      [received, calls, "connections that the called node has counted"],
      [new Set(this.#records(cart)).size, calls, "numbers of records"],
    ]);
    await this.#levels(cart);
    this.#secrets(cart);
    const upgrade = await cart.cli("upgrade");
    this.#check(cases.refused, [
      [upgrade.code, 1, "exit code"],
      [/a node with --workers cannot be upgraded/.test(upgrade.out), true, upgrade.out],
    ]);
  }

  async #levels(cart: NodeUnderTest): Promise<void> {
    const stage = this.#stage;
    const callAll = async () => {
      for (const call of await stage.calls(calls)) call.end();
    };
    const tap = cart.follow(stage.directory, "tap");
    await eventually("somebody looks on", async () => {
      for (const call of await stage.calls(1)) call.end();
      return tap.lines().length > 0;
    });
    await cart.cli("log-level", "error");
    const before = this.#records(cart).length;
    await callAll();
    const isShown = await comesTrue(() => tap.lines().filter((line) => /opened/.test(line)).length > calls);
    await tap.stop();
    const written = this.#records(cart).length - before;
    await cart.cli("log-level", "info");
    await callAll();
    const ofBoth = await comesTrue(
      () =>
        new Set(
          this.#records(cart)
            .slice(before)
            .map((id) => workerOf({ id })),
        ).size === 2,
    );
    this.#check(cases.levels, [
      [written, 0, "records that were written below the level"],
      [isShown, true, `what the tap shows of them: ${tap.lines().length} lines`],
      [ofBoth, true, "both write records again"],
    ]);
  }

  #secrets(node: NodeUnderTest): void {
    const seen = node.workers.map((pid) => ({
      words: readFileSync(`/proc/${pid}/environ`, "utf8") + readFileSync(`/proc/${pid}/cmdline`, "utf8"),
      files: openFiles(pid).filter(
        (path) => path.startsWith(this.#stage.directory) && !path.endsWith(".log"),
      ),
    }));
    this.#check(cases.secrets, [
      [seen.length, 2, "workers"],
      [seen.some(({ words }) => /PRIVATE KEY|BEGIN/.test(words)), false, "a key in words of a process"],
      [seen.flatMap(({ files }) => files), [], "files that a worker has open"],
    ]);
  }

  async #lose(cart: NodeUnderTest): Promise<void> {
    const stage = this.#stage;
    const open = await stage.calls(calls);
    const listed = await cart.connections();
    const workers = cart.workers;
    const before = await cart.metric("istio_tcp_connections_opened_total", 'reporter="source"');
    const byPort = new Map(
      listed.map((connection) => [Number(connection.source.address.split(":").at(-1)), workerOf(connection)]),
    );
    // What it has counted so far is asked for every other second.
    await Bun.sleep(3_000);
    const [victim = 0] = workers;
    process.kill(victim, "SIGKILL");
    const of = (worker: number): readonly Call[] =>
      open.filter(({ localPort }) => byPort.get(localPort) === worker);
    const both = [of(0), of(1)] as const;
    await eventually("the connections of one worker end", () =>
      both.some((its) => its.every((call) => call.isOver)),
    );
    const [lost, kept] = both[0].every((call) => call.isOver) ? both : [both[1], both[0]];
    const answers = await Promise.all(kept.map((call) => call.echo()));
    this.#check(cases.dies, [
      [lost.length > 0 && kept.length > 0, true, "each had connections"],
      [answers.every(Boolean), true, "the other's connections answer"],
    ]);
    const isBack = await comesTrue(async () => {
      const now = cart.workers;
      return now.length === 2 && !now.includes(victim);
    });
    await cart.ready();
    for (const call of kept) call.end();
    for (const call of await stage.calls(calls)) call.end();
    const after = await cart.metric("istio_tcp_connections_opened_total", 'reporter="source"');
    this.#check(cases.replaced, [
      [isBack, true, "two workers again"],
      [after, before + calls, "connections that are counted"],
      [await cart.metric("fairlead_worker_ends_total"), 1, "ends that are counted"],
    ]);
  }

  /** Of a node that is called: all tunnels came to the worker that was left, and would stay there. */
  async #evenOut(db: NodeUnderTest): Promise<void> {
    const stage = this.#stage;
    const [open, before] = await this.#callOneWorker(db);
    await db.ready();
    const isEven = await comesTrue(async () => {
      const later = await stage.calls(calls);
      const carrying = new Set((await db.connections()).map(workerOf));
      for (const call of later) call.end();
      return carrying.size === 2;
    });
    const answers = await Promise.all(open.map((call) => call.echo()));
    for (const call of open) call.end();
    this.#check(cases.evened, [
      [before, [calls, 0], "connections of the workers while there was one"],
      [isEven, true, "both carry connections again"],
      [answers.every(Boolean), true, "those that were open before answer"],
    ]);
  }

  /** Calls while one worker is away: once more where it was back before all of them had come. */
  async #callOneWorker(db: NodeUnderTest): Promise<readonly [readonly Call[], readonly number[]]> {
    const stage = this.#stage;
    for (let attempt = 1; ; attempt++) {
      await db.ready();
      const [victim = 0] = db.workers;
      process.kill(victim, "SIGKILL");
      await eventually("it is gone", () => !db.workers.includes(victim));
      const open = await stage.calls(calls);
      const carried = perWorker(await db.connections());
      if (carried[0] === calls || attempt === maxAttempts) return [open, carried];
      for (const call of open) call.end();
    }
  }

  async #change(db: NodeUnderTest): Promise<void> {
    const stage = this.#stage;
    const open = await stage.calls(calls);
    stage.allow("db", "nobody");
    const isCut = await comesTrue(() => open.every((call) => call.isOver));
    const after = await Promise.all(Array.from({ length: calls }, () => stage.call()));
    this.#check(cases.policy, [
      [isCut, true, "all are cut"],
      [after.filter((call) => call !== null).length, 0, "calls that go through"],
    ]);
    stage.allow("db", "cart");
    await eventually("calls go through again", async () => (await stage.call()) !== null);

    const before = db.workers;
    const [stuck = 0] = before;
    await stage.calls(calls);
    process.kill(stuck, "SIGSTOP");
    stage.allow("db", "nobody");
    const isReplaced = await comesTrue(() => {
      const now = db.workers;
      return now.length === 2 && !now.includes(stuck);
    });
    const why = /did not confirm in time/.test(db.process.log());
    const late = await Promise.all(Array.from({ length: calls }, () => stage.call()));
    this.#check(cases.stopped, [
      [isReplaced, true, "another process in its place"],
      [why, true, "the log says why"],
      [existsSync(`/proc/${stuck}`), false, "it is there"],
      [late.filter((call) => call !== null).length, 0, "calls that go through"],
    ]);
    stage.allow("db", "cart");
    await db.ready();
    await eventually("calls go through again", async () => (await stage.call()) !== null);
  }

  async #revoke(cart: NodeUnderTest, db: NodeUnderTest): Promise<void> {
    const stage = this.#stage;
    const open = await stage.calls(calls);
    stage.revoke(await cart.certificate());
    const isCut = await comesTrue(() => open.every((call) => call.isOver));
    const told = await comesTrue(() => /certificate_revoked/.test(db.process.log()));
    this.#check(cases.revoked, [
      [isCut, true, "all are cut"],
      [told, true, "records say why"],
    ]);
  }

  async #end(cart: NodeUnderTest, db: NodeUnderTest): Promise<void> {
    const workers = [...cart.workers, ...db.workers];
    const { code } = await cart.cli("drain");
    const ended = await cart.process.exited;
    const areGone = (pids: readonly number[]) => pids.every((pid) => !existsSync(`/proc/${pid}`));
    this.#check(cases.drain, [
      [code, 0, "exit code of the command"],
      [ended, 0, "exit code of the node"],
      [await comesTrue(() => areGone(workers.slice(0, 2))), true, "its workers are gone"],
    ]);
    db.process.kill();
    this.#check(cases.orphans, [
      [await comesTrue(() => areGone(workers.slice(2))), true, "workers of a killed node are gone"],
    ]);
  }

  /** Numbers of the records of connections that the caller's node has written. */
  #records(node: NodeUnderTest): readonly number[] {
    return node.process
      .lines()
      .filter((line) => line.includes("connection complete"))
      .map(idIn);
  }

  #check(name: string, facts: readonly (readonly [seen: unknown, wanted: unknown, what: string])[]): void {
    const wrong = facts.filter(([seen, wanted]) => !Bun.deepEquals(seen, wanted));
    const said = wrong.map(
      ([seen, wanted, what]) => `${what}: ${JSON.stringify(seen)} and not ${JSON.stringify(wanted)}`,
    );
    this.#tally.check(name, said.length === 0 ? null : said.join("\n"));
  }
}

/** How many connections each of two workers has, most first. */
function perWorker(connections: readonly OpenConnection[]): readonly number[] {
  const counts = [0, 1].map((worker) => connections.filter((one) => workerOf(one) === worker).length);
  return counts.toSorted((a, b) => b - a);
}

function idIn(line: string): number {
  return Number(/\bid=(\d+)/.exec(line)?.[1]);
}
