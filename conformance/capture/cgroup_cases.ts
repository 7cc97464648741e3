/**
 * Capture by cgroup, with real ones: made below the root of version 2, which each process mounts for itself. Judged by a counter of the
 * kernel: how many connections leave the VM that are not the node's.
 */
import type { Application } from "../namespaces/application.ts";
import { Application as Program } from "../namespaces/application.ts";
import type { Host } from "../namespaces/hosts.ts";
import { fromSource } from "../namespaces/node_process.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { runToEnd } from "../peer/lab/subprocess.ts";
import { equal, type Group, holds } from "./group.ts";
import { outside, vm } from "./place.ts";
import type { Stage } from "./stage.ts";

const port = 7000;
const root = "/sys/fs/cgroup";
/** Enough that one of them would meet a connection, were there a moment without rules. */
const replacements = 12;

const cases = {
  only: "A8 --capture-cgroup: programs of the cgroup and of those below it are captured, and no others",
  again: "A8 a cgroup that is removed and made again is captured again, and both are told",
  not: "A8 --capture-exclude-cgroup: all but its programs are captured, also with a name of systemd's",
  atomic:
    "A8 rules that are replaced under a steady caller let no connection past the node, in both families",
  none: "A8 without cgroups of version 2 it does not start, and says why",
} as const;

export const byCgroup: Group = {
  cases: Object.values(cases),
  whyNot: () => {
    const probe = `fairlead-probe-${process.pid}`;
    const script = `mount -t cgroup2 none ${root} && mkdir ${root}/${probe} && rmdir ${root}/${probe}`;
    const tried = Bun.spawnSync(["unshare", "-m", "sh", "-c", script]);
    return tried.exitCode === 0
      ? null
      : `no cgroup of version 2 can be made: ${tried.stderr.toString().trim()}`;
  },
  async run(stage, check) {
    const lab = new CgroupLab(stage);
    try {
      for (const ip of [outside.ip, outside.ip6])
        await stage.application(stage.place.outside).listen(ip, port, { kind: "greet" });
      lab.make("app/below");
      lab.make("other\\x2dapp");
      const [within, below, elsewhere] = [
        lab.program("app"),
        lab.program("app/below"),
        lab.program("other\\x2dapp"),
      ];
      const node = await stage.node(lab.host, "--capture-cgroup", lab.path("app")).ready();
      await check(cases.only, async () => {
        equal(await lab.past(within), false, "a program of the cgroup gets past the node");
        equal(await lab.past(below), false, "one of a cgroup below it gets past the node");
        equal(await lab.past(elsewhere), true, "one of another cgroup gets past the node");
      });
      await check(cases.again, async () => {
        for (const program of [within, below]) program.kill();
        await lab.remove("app/below");
        await lab.remove("app");
        await node.line({
          scope: "capture",
          message: `the cgroup ${lab.path("app")} is gone; the capture rules follow when it is made again`,
        });
        await eventually("ready without it", () => node.metric("fairlead_capture_in_force") === 1);
        equal(lab.missing(), [lab.path("app")], "FL211 of fairlead check");
        lab.make("app");
        await node.line({
          scope: "capture",
          message: `the cgroup ${lab.path("app")} was made, and the capture rules follow`,
        });
        await eventually("ready with it", () => node.metric("fairlead_capture_in_force") === 1);
        equal(await lab.past(lab.program("app")), false, "a program of the new cgroup gets past the node");
        equal(lab.missing(), [], "FL211 of fairlead check");
        equal(node.metric("fairlead_capture_repairs_total"), 0, "repairs");
        holds(!node.log.some(({ message }) => /another program/.test(message)), "another program is accused");
      });
      await node.stop();
      await judgeExcluded(stage, lab, check, elsewhere);
      await check(cases.none, async () => {
        const refused = stage.node(stage.place.vm, "--capture-cgroup", lab.path("app"));
        equal(await refused.process.exited, 1, "exit code");
        const said = refused.process.log();
        holds(/capture by cgroup needs cgroups of version 2, .*\(unsupported\)/.test(said), said);
        equal(stage.loaded(), { nftables: 0, iptables: 0, "iptables-legacy": 0 }, "rules afterwards");
      });
    } finally {
      await lab.close();
    }
  },
};

async function judgeExcluded(
  stage: Stage,
  lab: CgroupLab,
  check: Parameters<Group["run"]>[1],
  elsewhere: Application,
): Promise<void> {
  const churned = lab.path("churn");
  const words = ["--capture-exclude-cgroup", lab.path("other\\x2dapp"), "--capture-exclude-cgroup", churned];
  const node = await stage.node(lab.host, ...words).ready();
  const caller = lab.program("app");
  await check(cases.not, async () => {
    equal(await lab.past(elsewhere), true, "a program of the excluded cgroup gets past the node");
    equal(await lab.past(caller), false, "another program gets past the node");
  });
  await check(cases.atomic, async () => {
    let isOver = false;
    let calls = 0;
    const before = lab.counted();
    const steady = [outside.ip, outside.ip6].map(async (ip) => {
      const own = ip === outside.ip ? vm.ip : vm.ip6;
      while (!isOver) {
        // Of IPv6 the VM has no workload, so a call is refused; and not let past.
        const answer = await caller.call(ip, port);
        if (ip === outside.ip) equal(answer, `you are ${own}`, "an answer while rules are replaced");
        calls++;
      }
    });
    try {
      for (let turn = 0; turn < replacements; turn++) {
        const told = () =>
          node.log.filter(({ message }) => message.startsWith(`the cgroup ${churned} `)).length > turn;
        if (turn % 2 === 0) lab.make("churn");
        else await lab.remove("churn");
        await eventually(`replacement ${turn}`, told);
      }
    } finally {
      isOver = true;
    }
    await Promise.all(steady);
    holds(calls > replacements, `${calls} calls alone`);
    equal(lab.counted() - before, 0, "connections that left past the node");
  });
  await node.stop();
}

class CgroupLab {
  readonly #name: string;
  /** The VM with version 2 mounted, by each program for itself. */
  readonly host: Host;
  readonly #programs: Application[] = [];
  readonly #made = new Set<string>();

  constructor({ place: { vm: machine } }: Stage) {
    this.#name = machine.namespace;
    const mount = `mount -t cgroup2 none ${root} && exec "$@"`;
    this.host = { ...machine, command: (argv) => machine.command(["sh", "-c", mount, "sh", ...argv]) };
    runToEnd(machine.command(["nft", "-f", "-"]), { input: counterRules });
  }

  path(name: string): string {
    return `${this.#name}/${name}`;
  }

  make(name: string): void {
    this.#made.add(name);
    runToEnd(this.host.command(["mkdir", "-p", `${root}/${this.path(name)}`]));
  }

  /** A program that was killed may be in it for a moment. */
  async remove(name: string): Promise<void> {
    const argv = this.host.command(["rmdir", `${root}/${this.path(name)}`]);
    await eventually(`the end of ${name}`, () => Bun.spawnSync(argv, { stderr: "ignore" }).exitCode === 0);
    this.#made.delete(name);
  }

  program(name: string): Application {
    const script = 'echo $$ > "$0"/cgroup.procs && exec "$@"';
    const enter = (argv: readonly string[]) => ["sh", "-c", script, `${root}/${this.path(name)}`, ...argv];
    const program = new Program({ ...this.host, command: (argv) => this.host.command(enter(argv)) });
    this.#programs.push(program);
    return program;
  }

  /** Whether its calls leave the VM as its own, in both families. */
  async past(program: Application): Promise<boolean> {
    const counts: number[] = [];
    for (const ip of [outside.ip, outside.ip6]) {
      const before = this.counted();
      await program.call(ip, port);
      counts.push(this.counted() - before);
    }
    equal(new Set(counts).size, 1, `the families differ (${counts.join(" and ")}): kinds of outcome`);
    return counts[0] === 1;
  }

  /** What `fairlead check` misses. */
  missing(): readonly string[] {
    const { stdout } = Bun.spawnSync(this.host.command([...fromSource, "check", "--json"]));
    const { findings } = JSON.parse(stdout.toString()) as {
      readonly findings: readonly { readonly code: string; readonly subject: string }[];
    };
    return findings.flatMap(({ code, subject }) => (code === "FL211" ? [subject] : []));
  }

  counted(): number {
    const listed = runToEnd(this.host.command(["nft", "list", "counters", "table", "inet", "past"]));
    return Number(/packets (\d+)/.exec(listed)?.[1] ?? Number.NaN);
  }

  async close(): Promise<void> {
    for (const program of this.#programs) program.kill();
    for (const name of [...this.#made].sort().reverse())
      await this.remove(name).catch((error: unknown) => console.warn(String(error)));
    Bun.spawnSync(this.host.command(["sh", "-c", `rmdir ${root}/${this.#name}/* ${root}/${this.#name}`]));
  }
}

/** What opens a connection to the server outside and has not the node's mark. */
const counterRules = `table inet past {
  counter past { }
  chain leaving {
    type filter hook postrouting priority 300; policy accept;
    oifname "eth0" tcp dport ${port} tcp flags & (syn | ack) == syn meta mark != 1337 counter name past
  }
}
`;
