/**
 * What is never captured: SSH, the host's DNS and DHCP, and its control plane. Tried with the node killed: its rules stay, and refuse all that
 * is captured, so that what still answers did not need the node.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { workload } from "../namespaces/documents.ts";
import type { Host } from "../namespaces/hosts.ts";
import { fromSource, NodeProcess } from "../namespaces/node_process.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { runToEnd, Subprocess } from "../peer/lab/subprocess.ts";
import { equal, type Group, holds } from "./group.ts";
import { outside, vm } from "./place.ts";
import type { Stage } from "./stage.ts";

const ordinary = 7000;
const control = 15012;
const both = [outside.ip, outside.ip6] as const;
const script = join(import.meta.dir, "datagrams.ts");

const cases = {
  captured: "A9 with its node killed a host's captured connections get nowhere, in both families",
  ssh: "A9 SSH is never captured, neither way, in both families",
  dns: "A9 the resolvers of resolv.conf are reached by TCP and UDP, in both families",
  dhcp: "A9 DHCP is not captured, in both families",
  control: "A9 the control plane that the node was given is reached by any program",
} as const;

export const hostsOwn: Group = {
  cases: Object.values(cases),
  async run(stage, check) {
    const lab = await OwnLab.open(stage);
    try {
      const inside = stage.application(stage.place.vm);
      await check(cases.captured, async () => {
        for (const ip of both) {
          const url = `http://${ip.includes(":") ? `[${ip}]` : ip}:${ordinary}/`;
          const { exitCode } = Bun.spawnSync(
            stage.place.vm.command(["curl", "-s", "-g", "-m", "3", "-o", "/dev/null", url]),
          );
          // The target of iptables drops what has no listener; all others refuse.
          holds(exitCode === 7 || exitCode === 28, `${url}: curl's code ${exitCode}`);
        }
      });
      await check(cases.ssh, async () => {
        for (const ip of both) equal(await inside.call(ip, 22), `you are ${own(ip)}`, `to ${ip}`);
        const caller = stage.application(stage.place.outside);
        for (const ip of [vm.ip, vm.ip6])
          equal(
            await caller.call(ip, 22),
            `you are ${ip === vm.ip ? outside.ip : outside.ip6}`,
            `from outside to ${ip}`,
          );
      });
      await check(cases.dns, async () => {
        for (const ip of both) {
          equal(await inside.call(ip, 53), `you are ${own(ip)}`, `by TCP to ${ip}`);
          equal(lab.ask(0, ip, 53), "hello", `by UDP to ${ip}`);
        }
      });
      await check(cases.dhcp, async () => {
        equal(lab.ask(68, outside.ip, 67), "hello", "DHCP");
        equal(lab.ask(546, outside.ip6, 547), "hello", "DHCPv6");
      });
      await check(cases.control, async () => {
        const url = `https://${outside.ip}:${control}/`;
        const argv = ["curl", "-sk", "-m", "30", "-o", "/dev/null", "-w", "%{http_code}", url];
        const said = Bun.spawnSync(stage.place.vm.command(argv)).stdout.toString();
        holds(Number(said) >= 200, `curl's status ${said}`);
      });
    } finally {
      await lab.close();
    }
  },
};

function own(ip: string): string {
  return ip.includes(":") ? vm.ip6 : vm.ip;
}

class OwnLab {
  readonly #stage: Stage;
  readonly #programs: Subprocess[];

  private constructor(stage: Stage, programs: Subprocess[]) {
    this.#stage = stage;
    this.#programs = programs;
  }

  /** A node that has joined a control plane outside, was ready, and is killed. */
  static async open(stage: Stage): Promise<OwnLab> {
    const { place, directory } = stage;
    const programs: Subprocess[] = [];
    const lab = new OwnLab(stage, programs);
    for (const host of [place.vm, place.outside])
      for (const ip of host === place.vm ? [vm.ip, vm.ip6] : both)
        for (const port of host === place.vm ? [22] : [22, 53, ordinary])
          await stage.application(host).listen(ip, port, { kind: "greet" });
    for (const [index, ip] of both.entries()) {
      const argv = place.outside.command([process.execPath, script, "serve", ip, "53", "67", "547"]);
      const logPath = join(directory, `datagrams-${index}.log`);
      const program = Subprocess.start({ name: "datagrams", argv, logPath });
      programs.push(program);
      await eventually(
        "datagrams",
        () => program.log().includes("listening"),
        () => program.log(),
      );
    }
    const resolvConf = join(directory, "resolv.conf");
    writeFileSync(resolvConf, both.map((ip) => `nameserver ${ip}\n`).join(""));
    const state = join(directory, "own-state");
    mkdirSync(state);
    const env = { XDG_STATE_HOME: state };
    const start = (host: Host, name: string, words: readonly string[]): NodeProcess => {
      const node = new NodeProcess(host, words, { name, logPath: join(directory, `${name}.log`), env });
      programs.push(node.process);
      return node;
    };
    const documents = join(directory, "own-mesh");
    mkdirSync(documents);
    writeFileSync(join(documents, "mesh.yaml"), workload("vm", vm.ip));
    const plane = ["--serving-name", outside.ip, "--file", documents];
    await start(place.outside, "control", ["control", ...plane]).ready();
    const token = runToEnd(
      place.outside.command([
        ...["env", `XDG_STATE_HOME=${state}`, ...fromSource],
        ...["join-token", "create", "--workload", "shop/vm"],
      ]),
    );
    const [joinToken = ""] = /fjt_\S+/.exec(token) ?? [];
    const [pin = ""] = /sha256:\S+/.exec(token) ?? [];
    const mount = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
    const host: Host = {
      ...place.vm,
      command: (argv) => place.vm.command(["sh", "-c", mount, resolvConf, ...argv]),
    };
    const node = start(host, "own-node", [
      ...[
        "node",
        "--control",
        `https://${outside.ip}:${control}`,
        "--join-token",
        joinToken,
        "--ca-pin",
        pin,
      ],
      ...["--capture", stage.method, "--capture-backend", stage.backend],
      ...["--state-directory", join(state, "node")],
    ]);
    await node.ready();
    node.process.signal("SIGKILL");
    await node.process.exited;
    return lab;
  }

  /** @returns what was answered; "" for nothing. */
  ask(from: number, to: string, port: number): string {
    const words = [process.execPath, script, "ask", String(from), to, String(port)];
    const { stdout } = Bun.spawnSync(this.#stage.place.vm.command(["timeout", "60", ...words]));
    return stdout.toString().trim();
  }

  async close(): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.stop()));
  }
}
