/** `npm run conformance -- upgrade`: nodes are replaced under load, and nothing of the load fails. */
import { chmodSync, copyFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { unavailable } from "../namespaces/available.ts";
import type { LogLine, NodeProcess } from "../namespaces/node_process.ts";
import { cleanUpOnExit } from "../peer/lab/cleanup.ts";
import { comesTrue, eventually } from "../peer/lab/eventually.ts";
import { Tally } from "../peer/tally.ts";
import type { Failure, LoadReport } from "./report.ts";
import { Scraper } from "./scraper.ts";
import { findBinary, type Outcome, Stage } from "./stage.ts";

const usage = `usage: npm run conformance -- upgrade [--short] [--verbose]

Nodes replaced under 60 s of load: two hosts (network namespaces), the built binary, capture, a waypoint (root).

  --short     no rest between the steps: some 40 s of load
  --verbose   also say what passed
`;

const cases = {
  server: "the called host's node, a waypoint too, is upgraded to a new binary",
  client: "the caller's node is upgraded to a new binary",
  dies: "a binary that dies at once is rolled back",
  late: "a binary that never becomes ready is rolled back",
  mode: "a file that is not executable is refused",
  second: "a second upgrade is refused by the name of the first",
  swapped: "what was looked at is what runs, when its path means another program by then",
  killedEarly: "a new process that is killed before it takes over is rolled back",
  reload: "a reload (the same binary again, changed documents, SIGHUP)",
  killedLate: "a new process that is killed right after it took over: the old one accepts again",
  load: "0 failed requests and 0 cut connections, but those of the process that was killed",
  old: "each old process ended by itself, long before its deadline",
  rules: "capture rules were in force throughout, and are still",
  systemd: "systemd is told of each new main process by the old one, and of no end",
  counters:
    "counters of metrics go on: none falls, and in the end they are what the access log says, nothing twice and nothing lost",
  deadline: "what is open at the deadline is cut then, and not before",
} as const;

const toldFailures = 20;

/** @returns the exit code. */
export async function upgradeConformance(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      short: { type: "boolean", default: false },
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
  if (unavailable !== null) for (const name of Object.values(cases)) tally.skip(name, unavailable);
  else await new Story(tally, values.short ? 0 : 4_000).run();
  console.log(tally.summary());
  return tally.count("failed") === 0 ? 0 : 1;
}

class Story {
  readonly #tally: Tally;
  readonly #restMs: number;
  readonly #done = new Set<string>();
  /** When each step was, for what the load tells. */
  readonly #steps: { readonly name: string; readonly fromMs: number; toMs: number }[] = [];

  constructor(tally: Tally, restMs: number) {
    this.#tally = tally;
    this.#restMs = restMs;
  }

  async run(): Promise<void> {
    const binary = findBinary();
    console.log(`binary: ${Bun.spawnSync([binary, "version"]).stdout.toString().trim()}`);
    const stage = await Stage.open(binary);
    try {
      await this.#story(stage);
    } catch (thrown) {
      this.#tally.fail(
        "upgrade",
        thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown),
      );
    } finally {
      await stage.close();
    }
    for (const name of Object.values(cases))
      if (!this.#done.has(name)) this.#tally.fail(name, "it was not reached");
  }

  async #story(stage: Stage): Promise<void> {
    const { client, server, lab } = stage;
    const began = performance.now();
    const old: { readonly node: NodeProcess; readonly pid: number }[] = [];
    const replaced = async (node: NodeProcess, ...words: readonly string[]): Promise<void> => {
      const before = stage.pid(node);
      const outcome = await stage.upgrade(node, ...words);
      equal([outcome.code, outcome.result], [0, "done"], outcome.out);
      equal(stage.pid(node), outcome.pid, "the process that answers");
      old.push({ node, pid: before });
    };
    const kept = async (node: NodeProcess, wanted: string, reason: RegExp, run: () => Promise<Outcome>) => {
      const before = stage.pid(node);
      const outcome = await run();
      equal([outcome.code, outcome.result], [1, wanted], outcome.out);
      holds(reason.test(outcome.reason ?? ""), `${outcome.reason}`);
      equal(stage.pid(node), before, "the process that answers");
    };
    const newBinary = join(lab.directory, "fairlead-new");
    copyFileSync(stage.binary, newBinary);
    chmodSync(newBinary, 0o755);

    const scrapers = { client: new Scraper(client), server: new Scraper(server) };
    await this.#step(cases.server, () => replaced(server, "--to", newBinary));
    await this.#step(cases.client, () => replaced(client, "--to", newBinary));
    await this.#step(cases.dies, () =>
      kept(server, "rolled back", /ended with exit code 3/, () =>
        stage.upgrade(server, "--to", stage.impostor("dies", "exit 3")),
      ),
    );
    await this.#step(cases.late, () =>
      kept(server, "rolled back", /not ready within 1 s/, () =>
        stage.upgrade(server, "--ready-within", "1s", "--to", stage.impostor("late", "exec sleep 600")),
      ),
    );
    await this.#step(cases.mode, () =>
      kept(client, "refused", /cannot run/, () =>
        stage.upgrade(client, "--to", stage.impostor("mode", "exit 0", 0o644)),
      ),
    );
    await this.#step(cases.swapped, () => replaced(server, "--keep-binary", "--to", stage.swapped(server)));
    await this.#step(cases.killedEarly, () =>
      kept(server, "rolled back", /SIGKILL/, async () => {
        const slow = stage.upgrade(server, "--to", stage.impostor("slow", "exec sleep 601"));
        const pid = await stage.processOf(server, "sleep 601");
        await this.#check(cases.second, async () => {
          // Without --to: nothing is copied over the first one's binary, whatever comes of it.
          const second = await stage.upgrade(server, "--check");
          equal(second.code, 1, second.out);
          holds(/an upgrade to .*waits for the new process/.test(second.out), second.out);
        });
        kill(pid);
        return await slow;
      }),
    );
    await this.#step(cases.reload, async () => {
      await replaced(server);
      process.kill(stage.pid(server), "SIGHUP");
      lab.publish("reload", allowAll);
      await server.line({ scope: "mesh", message: "mesh changed", version: 2 });
    });
    await this.#step(cases.killedLate, () =>
      kept(client, "rolled back", /SIGKILL right after it took over/, async () => {
        const known = acceptsNow(client);
        const running = stage.upgrade(client);
        const pid = await eventually("the new process to accept", () =>
          acceptsNow(client) === known ? null : acceptsNow(client),
        );
        kill(pid);
        return await running;
      }),
    );
    await Bun.sleep(this.#restMs === 0 ? 1_000 : Math.max(1_000, 60_000 - (performance.now() - began)));
    const loadMs = performance.now() - began;
    const report = await stage.report();
    for (const scraper of Object.values(scrapers)) await scraper.stop();
    this.#tell(report, loadMs);
    await this.#check(cases.load, async () => this.#judge(report));
    await this.#check(cases.old, async () => {
      for (const { node, pid } of old) {
        const isGone = await comesTrue(() => !stage.nodesOn(node).includes(pid));
        holds(isGone, `process ${pid} of the ${node.host.name} is still there`);
      }
    });
    await this.#check(cases.counters, () => this.#counters(scrapers, server));
    await this.#check(cases.rules, async () => {
      for (const node of [client, server]) {
        holds(node.captureRules().length > 0, `${node.host.name}: no rules`);
        const repairs = node.log.filter(({ scope, level }) => scope === "capture" && level === "error");
        equal(repairs, [], `${node.host.name}: rules that were not in force`);
      }
    });
    await this.#check(cases.systemd, async () => this.#systemd(stage));
    await this.#check(cases.deadline, () => this.#deadline(stage));
  }

  async #step(name: string, body: () => Promise<void>): Promise<void> {
    const step = { name, fromMs: Date.now(), toMs: 0 };
    this.#steps.push(step);
    await this.#check(name, body);
    step.toMs = Date.now();
    await Bun.sleep(this.#restMs);
  }

  async #check(name: string, body: () => Promise<void>): Promise<void> {
    this.#done.add(name);
    const problem = await body().then(
      () => null,
      (thrown: unknown) => (thrown instanceof Error ? thrown.message : String(thrown)),
    );
    this.#tally.check(name, problem);
  }

  #tell({ counts, longest, failures }: LoadReport, loadMs: number): void {
    console.log(`${Math.round(loadMs / 1000)} s of load:`);
    for (const [kind, count] of Object.entries(counts)) {
      const most = longest[kind] ?? 0;
      console.log(`  ${count} ${kind}${most === 0 ? "" : `, the longest in ${Math.round(most)} ms`}`);
    }
    const killed = failures.filter((failure) => this.#isOfKilled(failure)).length;
    const whose = killed === 0 ? "" : `, ${killed} of them connections of the process that was killed`;
    console.log(`  ${failures.length} failures${whose}`);
    for (const failure of failures.slice(0, toldFailures))
      console.log(`    ${failure.kind}: ${failure.code}, in "${this.#when(failure)}"`);
  }

  #when({ atMs }: Failure): string {
    return this.#steps.findLast(({ fromMs }) => fromMs <= atMs)?.name ?? "the beginning";
  }

  /** A connection that a process has accepted ends with it when it is killed. */
  #isOfKilled(failure: Failure): boolean {
    return (
      this.#when(failure) === cases.killedLate &&
      ["new connection", "HTTP request"].includes(failure.kind) &&
      failure.code !== "ECONNREFUSED"
    );
  }

  /** Of those that were in flight in a process when it was killed there may be one for each lane. */
  #judge({ counts, failures }: LoadReport): void {
    const others = failures.filter((failure) => !this.#isOfKilled(failure));
    equal(others.slice(0, 3), [], `${others.length} failed`);
    holds(failures.length - others.length <= 4, `${failures.length} connections of the killed process`);
    for (const kind of [
      "keep-alive calls",
      "new connections",
      "KiB of the long transfer",
      "HTTP requests by the waypoint",
      "names that were asked for",
    ])
      holds((counts[kind] ?? 0) > 100, `${counts[kind]} ${kind}`);
    equal(counts["idle connections"], 50, "idle connections that live");
  }

  /** Of the killed process what it counted ends with it; all others are gone by now, and have told what they counted. */
  async #counters(
    scrapers: Readonly<Record<"client" | "server", Scraper>>,
    server: NodeProcess,
  ): Promise<void> {
    const killed = this.#steps.find(({ name }) => name === cases.killedLate);
    for (const [name, { falls, readings }] of Object.entries(scrapers)) {
      const others = falls.filter(
        ({ atMs }) =>
          name === "server" || killed === undefined || atMs < killed.fromMs || atMs > killed.toMs + 2_000,
      );
      equal(others.slice(0, 3), [], `${name}: ${others.length} falls in ${readings} readings`);
      holds(readings > 20, `${name}: ${readings} readings`);
    }
    // A waypoint keeps its own connections to endpoints; all of the caller's are over.
    const ofCaller = ['reporter="destination"', 'source_workload="cart"'];
    const logged = () =>
      server.records.filter(
        (line) => line.direction === "inbound" && `${line["src.identity"]}`.endsWith("/sa/cart"),
      );
    const sums = async () => ({
      closed: await scrapers.server.sum("istio_tcp_connections_closed_total", ...ofCaller),
      opened: await scrapers.server.sum("istio_tcp_connections_opened_total", ...ofCaller),
      received: await scrapers.server.sum("istio_tcp_received_bytes_total", ...ofCaller),
      sent: await scrapers.server.sum("istio_tcp_sent_bytes_total", ...ofCaller),
    });
    const said = () => ({
      closed: logged().length,
      opened: logged().length,
      received: total(logged(), "bytes_recv"),
      sent: total(logged(), "bytes_sent"),
    });
    await comesTrue(async () => JSON.stringify(await sums()) === JSON.stringify(said()), 10_000);
    equal(await sums(), said(), "what is counted, and what the access log says");
    holds(said().closed > 100, "connections");
  }

  async #systemd({ notify, server }: Stage): Promise<void> {
    if (notify === null) return;
    const notices = notify.notices.filter(
      ({ text }) => !text.startsWith("STATUS=") && text !== "WATCHDOG=1\n",
    );
    const [first, ...rest] = notices;
    equal(first?.text.startsWith("READY=1"), true, "the first notice");
    let main = server.process.pid;
    equal(first?.pid, main, "who says that it is ready");
    // Pairs: the old one names the new one, which then says that it is ready.
    for (let index = 0; index < rest.length; index += 2) {
      const [named, ready] = [rest[index], rest[index + 1]];
      const next = Number(/^MAINPID=(\d+)\n$/.exec(named?.text ?? "")?.[1]);
      equal(named?.pid, main, `who says ${named?.text.trim()}`);
      equal([ready?.pid, ready?.text.split("\n")[0]], [next, "READY=1"], "the next notice");
      main = next;
    }
    equal(rest.length, 6, "notices of three upgrades");
  }

  async #deadline(stage: Stage): Promise<void> {
    const { lab, client } = stage;
    const echoing = lab.application(lab.hosts.client).connect("10.99.0.21", 5432, { from: "10.78.0.11" });
    equal(await echoing.opened(), null, "opened");
    echoing.send("a");
    await echoing.read(1);
    const outcome = await stage.upgrade(client, "--drain-deadline", "2s");
    const doneAt = performance.now();
    equal(outcome.result, "done", outcome.out);
    echoing.send("b");
    equal(await echoing.read(2), "ab", "what it says after the upgrade");
    await echoing.untilClosed();
    holds(performance.now() - doneAt > 1_500, `cut after ${Math.round(performance.now() - doneAt)} ms`);
  }
}

/** The process that has taken over last, by its own word. */
function acceptsNow(node: NodeProcess): number | null {
  const line = node.log.findLast(
    ({ message }) => message === "accepts in the place of the process before it",
  );
  return typeof line?.pid === "number" ? line.pid : null;
}

function total(records: readonly LogLine[], field: string): number {
  return records.reduce((sum, record) => sum + Number(record[field] ?? 0), 0);
}

function kill(pid: number): void {
  process.kill(pid, "SIGKILL");
}

const allowAll =
  "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: everyone, namespace: shop}\nspec: {rules: [{}]}\n";

function equal(seen: unknown, wanted: unknown, what: string): void {
  const [one, other] = [JSON.stringify(seen), JSON.stringify(wanted)];
  if (one !== other) throw new Error(`${what}: ${one}, not ${other}`);
}

function holds(condition: boolean, otherwise: string): void {
  if (!condition) throw new Error(otherwise);
}
