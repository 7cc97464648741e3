/** The rules of a node: got around by no packet, put back when they are removed, gone when it ends. */

import type { NodeProcess } from "../namespaces/node_process.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { runToEnd } from "../peer/lab/subprocess.ts";
import { equal, type Group, holds } from "./group.ts";
import { outside, vm } from "./place.ts";
import { applicationPort } from "./stage.ts";

const inboundPort = 15006;
const laterPort = 9001;
const packets = [
  ["IPv4", "", outside.ip, vm.ip],
  ["IPv4 in fragments", "-fragments", outside.ip, vm.ip],
  ["IPv6", "", outside.ip6, vm.ip6],
  ["IPv6 in fragments", "-fragments", outside.ip6, vm.ip6],
  ["IPv6 behind an extension header", "-options", outside.ip6, vm.ip6],
] as const;
const packetCase = (how: string): string => `A1 a bare ACK opens no way around the listener: ${how}`;

export const around: Group = {
  cases: [
    "A2 the program that was named did the work, alone, and says so",
    "A1 what is open from before capture is cut inbound, and goes on outbound",
    "A1 under STRICT a plain call is refused at once",
    ...packets.map(([how]) => packetCase(how)),
  ],
  async run(stage, check) {
    const { place, backend } = stage;
    await stage.serve();
    await stage.application(place.outside).listen(outside.ip, 7000, { kind: "echo" });
    const caller = stage.application(place.outside);
    const inbound = caller.connect(vm.ip, applicationPort);
    await inbound.line();
    const outbound = stage.application(place.vm).connect(outside.ip, 7000);
    outbound.send("before ");
    await outbound.read(7);
    stage.strict();
    const node = await stage.node(place.vm).ready();
    await check(this.cases[0] ?? "", async () => {
      const loaded = stage.loaded();
      for (const [program, count] of Object.entries(loaded))
        equal(count > 0, program === backend, `rules of ${program}`);
      await node.line({ scope: "capture", message: /^the capture rules are installed$/, backend });
      const status = stage.fairlead("capture", "status");
      equal(status.code, 0, status.text);
      holds(status.text.includes(`installed by ${backend} (`), status.text);
    });
    await check(this.cases[1] ?? "", async () => {
      inbound.send("around the listener\n");
      equal(await inbound.untilClosed(), "reset", "the inbound connection");
      holds(!inbound.text.includes("around"), "what came by a connection from before was answered");
      outbound.send("after");
      equal(await outbound.read(12), "before after", "the outbound connection");
    });
    await check(this.cases[2] ?? "", async () => {
      equal(await caller.call(vm.ip, applicationPort), "reset", "a plain call");
      // By policy, and not because something was waited for in vain.
      await node.line({
        scope: "access",
        "src.addr": new RegExp(`^${outside.ip}:`),
        error: /^policy_denied: /,
      });
    });
    // As firewalls do that are loaded after us.
    runToEnd(place.vm.command([stage.iptables, "-I", "INPUT", "1", "-p", "tcp", "-j", "ACCEPT"]));
    // The rules know nothing of a port that is listened on later.
    await stage.serve(laterPort);
    let sport = 40_000;
    for (const [how, suffix, from, to] of packets)
      await check(packetCase(how), async () => {
        // TPROXY leaves the port as it was dialled: at one that no application listens on, only the node's listener can have it.
        const isTproxy = stage.method === "tproxy";
        const ports = isTproxy ? [applicationPort + 100, laterPort + 100] : [applicationPort, laterPort];
        const wanted = (port: number): number => (isTproxy ? port : inboundPort);
        // Without the ACK the same packet is taken by the listener: the sender does send what it should.
        const arrives = async (): Promise<void> => {
          const [dialled = 0] = ports;
          stage.send(`syn${suffix}`, from, ++sport, to, dialled);
          const own = sport;
          const port = await eventually("a SYN by itself", () => stage.halfOpen(own));
          equal(port, wanted(dialled), "the port of a SYN by itself");
        };
        await arrives();
        const around: (readonly [own: number, port: number])[] = [];
        for (const port of ports) {
          stage.send(`ack${suffix}`, from, ++sport, to, port);
          stage.send(`syn${suffix}`, from, sport, to, port);
          around.push([sport, port]);
        }
        // What was sent later is there: so is what was sent before it, if it is anywhere.
        await arrives();
        for (const [own, port] of around) {
          const reached = stage.halfOpen(own);
          holds(
            reached === null || reached === wanted(port),
            `a SYN after a bare ACK came to port ${reached}`,
          );
        }
      });
  },
};

/** A table at a time, chains too: between `iptables -F` and `-X` the node has put its rules back already. */
function flushAll(restore: string): string {
  return `printf '*nat\\nCOMMIT\\n*filter\\nCOMMIT\\n*mangle\\nCOMMIT\\n' | ${restore}`;
}

const flushes: readonly (readonly [
  name: string,
  byBackend: Readonly<Record<string, readonly (readonly string[])[]>>,
])[] = [
  [
    "A3 flushed rules (nft flush ruleset, iptables -F) come back; unready, told and counted meanwhile",
    {
      nftables: [["nft", "flush", "ruleset"]],
      iptables: [["sh", "-c", flushAll("iptables-restore")]],
      "iptables-legacy": [["sh", "-c", flushAll("iptables-legacy-restore")]],
    },
  ],
  [
    "A3 one rule that was taken out (iptables -D, nft delete chain) comes back",
    {
      nftables: [["nft", "delete", "chain", "inet", "fairlead", "guard"]],
      iptables: [["iptables", "-t", "mangle", "-D", "INPUT", "-p", "tcp", "-j", "FAIRLEAD_INPUT"]],
      "iptables-legacy": [["iptables-legacy", "-D", "INPUT", "-p", "tcp", "-j", "FAIRLEAD_INPUT"]],
    },
  ],
  [
    "A3 a whole table that was taken out (nft delete table; nft flush ruleset under iptables) comes back",
    {
      nftables: [["nft", "delete", "table", "inet", "fairlead"]],
      iptables: [["nft", "flush", "ruleset"]],
      "iptables-legacy": [["iptables-legacy", "-t", "nat", "-D", "PREROUTING", "1"]],
    },
  ],
  [
    "A3 a routing rule that was taken out (networkd) comes back",
    Object.fromEntries(
      ["nftables", "iptables", "iptables-legacy"].map((name) => [
        name,
        [["ip", "rule", "del", "pref", "32764"]],
      ]),
    ),
  ],
];

const exposure =
  "A3 what a flush leaves open is closed as soon as the kernel tells of it, and not by the next look";

export const watched: Group = {
  cases: [
    ...flushes.map(([name]) => name),
    exposure,
    "A4 rules of a killed node are shown as left behind, and removed by `fairlead capture remove`",
    "A4 with a node running, remove refuses",
    "A4 the next start replaces the rules of a killed node, with no moment between",
    "A2 a node that ends takes every rule along",
  ],
  async run(stage, check) {
    const { place, backend } = stage;
    await stage.serve();
    stage.strict();
    let node = await stage.node(place.vm, "--original-source", "on").ready();
    const caller = stage.application(place.outside);
    for (const [name, byBackend] of flushes)
      await check(name, async () => {
        const before = repairs(node);
        for (const argv of byBackend[backend] ?? []) runToEnd(place.vm.command(argv));
        await eventually("unready", () => readiness(node) !== 200 || repairs(node) > before);
        await eventually("put back", () => repairs(node) > before && readiness(node) === 200);
        await node.line({ scope: "capture", message: /another program; putting them back$/ });
        await node.line({ scope: "capture", message: /^the capture rules are back$/ });
        equal(await caller.call(vm.ip, applicationPort), "reset", "a plain call afterwards");
        equal(node.metric("fairlead_capture_in_force"), 1, "fairlead_capture_in_force");
      });
    await check(exposure, async () => {
      let longestMs = 0;
      const shown = backend === "nftables" ? ["nft", "list", "tables"] : [backend, "-t", "nat", "-S"];
      const isThere = () => /fairlead/i.test(Bun.spawnSync(place.vm.command(shown)).stdout.toString());
      for (let round = 0; round < 6; round++) {
        // At any moment between two looks.
        await Bun.sleep(300 + round * 170);
        const before = repairs(node);
        for (const argv of flushes[0]?.[1][backend] ?? []) runToEnd(place.vm.command(argv));
        const flushedMs = performance.now();
        await eventually("put back", () => isThere());
        longestMs = Math.max(longestMs, performance.now() - flushedMs);
        await eventually("counted", () => repairs(node) > before && readiness(node) === 200);
      }
      console.log(
        `        ${backend}: put back ${longestMs.toFixed(0)} ms after a flush, at the latest of six`,
      );
      const noticed = node.log
        .filter(
          ({ scope, message }) => scope === "capture" && /another program; putting them back$/.test(message),
        )
        .slice(-6)
        .map((line) => line.noticed_by);
      // A look may be on its way at that moment, but not six times. What iptables-legacy does no program tells.
      const wanted = backend === "iptables-legacy" ? "look" : "kernel";
      holds(noticed.includes(wanted), `noticed by ${noticed.join(", ")}`);
    });
    await check("A4 with a node running, remove refuses", async () => {
      const refused = stage.fairlead("capture", "remove");
      equal([refused.code, /a node is running here/.test(refused.text)], [1, true], refused.text);
    });
    await check("A4 the next start replaces the rules of a killed node, with no moment between", async () => {
      node.process.signal("SIGKILL");
      await node.process.exited;
      const next = stage.node(place.vm);
      const answers = new Set<string>();
      const calls = eventually("ready", async () => {
        answers.add(await caller.call(vm.ip, applicationPort));
        return readiness(next) === 200;
      });
      await Promise.all([next.ready(), calls]);
      node = next;
      equal(
        [...answers].filter((answer) => answer !== "ECONNREFUSED" && answer !== "reset"),
        [],
        "answers meanwhile",
      );
    });
    await check(this.cases[flushes.length + 1] ?? "", async () => {
      node.process.signal("SIGKILL");
      await node.process.exited;
      const status = stage.fairlead("capture", "status");
      equal([status.code, /^left behind: /.test(status.text)], [1, true], status.text);
      const url = `http://${vm.ip}:${applicationPort}/`;
      const refused = Bun.spawnSync(place.outside.command(["curl", "-s", "-m", "3", url]));
      // The target of iptables drops what has no listener; all others refuse.
      const isDropped = stage.method === "tproxy" && backend !== "nftables";
      equal(refused.exitCode, isDropped ? 28 : 7, "curl's code of a call that is captured without a node");
      const removed = stage.fairlead("capture", "remove");
      equal(removed.code, 0, removed.text);
      equal(stage.loaded(), { nftables: 0, iptables: 0, "iptables-legacy": 0 }, "rules afterwards");
      equal(await caller.call(vm.ip, applicationPort), `you are ${outside.ip}`, "a plain call afterwards");
      equal(stage.fairlead("capture", "status").text.startsWith("none"), true, "status afterwards");
    });
    await check("A2 a node that ends takes every rule along", async () => {
      const next = await stage.node(place.vm).ready();
      equal(await next.stop(), 0, "exit code");
      equal(stage.loaded(), { nftables: 0, iptables: 0, "iptables-legacy": 0 }, "rules afterwards");
      const rules =
        runToEnd(place.vm.command(["ip", "rule"])) + runToEnd(place.vm.command(["ip", "-6", "rule"]));
      holds(!/0x11[123]/.test(rules), rules);
    });
  },
};

function readiness(node: NodeProcess): number {
  const url = "http://127.0.0.1:15021/healthz/ready";
  const argv = ["curl", "-s", "-m", "60", "-o", "/dev/null", "-w", "%{http_code}", url];
  return Number(Bun.spawnSync(node.host.command(argv)).stdout.toString());
}

function repairs(node: NodeProcess): number {
  return node.metric("fairlead_capture_repairs_total");
}
