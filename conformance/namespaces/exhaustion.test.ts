/** What a host runs out of: descriptors and disk. It is said aloud, and over when there is some again. */
import { afterEach, describe, expect } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../peer/lab/eventually.ts";
import type { Peer } from "./application.ts";
import { hookLimitMs, namespaceTest } from "./available.ts";
import { cart, db, Lab } from "./lab.ts";

const port = 7300;
const opened: Lab[] = [];

function open(label: string): Lab {
  const lab = new Lab(label);
  opened.push(lab);
  return lab;
}

afterEach(async () => {
  for (let one = opened.pop(); one !== undefined; one = opened.pop()) await one.close();
}, hookLimitMs);

describe("without descriptors", () => {
  const limit = 160;
  const attempts = 200;
  const limited = { wrap: (argv: readonly string[]) => ["prlimit", `--nofile=${limit}:${limit}`, ...argv] };

  for (const side of ["client", "server"] as const) {
    namespaceTest(`the ${side}'s node refuses aloud, keeps what it has, and serves again`, async () => {
      const lab = open(`descriptors-${side}`);
      const start = (name: "client" | "server") =>
        lab.node(lab.hosts[name], ["--capture", "redirect"], name === side ? limited : {}).ready();
      const [client, server] = await Promise.all([start("client"), start("server")]);
      await lab.application(lab.hosts.server).listen(db.ip, port, { kind: "greet" });
      const caller = lab.application(lab.hosts.client);

      const first = caller.connect(db.ip, port, { from: cart.ip });
      await first.line();
      const peers: Peer[] = Array.from({ length: attempts }, () =>
        caller.connect(db.ip, port, { from: cart.ip }),
      );
      const settled = (peer: Peer) => peer.text !== "" || peer.closed !== null;
      await eventually("an outcome of each", () => peers.every(settled));
      const served = peers.filter((peer) => peer.closed === null);
      const refused = peers.filter((peer) => peer.closed !== null);
      console.log(`${side}: ${served.length} served, ${refused.length} refused with ${limit} descriptors`);
      expect(served.length).toBeGreaterThan(20);
      expect(refused.length).toBeGreaterThan(20);
      const node = side === "client" ? client : server;
      await node.line({ scope: "access", error: /^descriptors_exhausted: / });
      first.send("still here");
      expect(await first.read(`you are ${cart.ip}\nstill here`.length)).toEndWith("still here");
      // It can still be asked.
      expect(node.metric("istio_tcp_sockets_open")).toBeGreaterThan(20);

      for (const peer of served) peer.end();
      await eventually("the end of each", () => served.every((peer) => peer.closed !== null));
      await eventually("to be served again", async () => {
        return (await caller.call(db.ip, port, cart.ip)) === `you are ${cart.ip}`;
      });
      first.end();
    });
  }
});

describe("without disk", () => {
  namespaceTest(
    "a CA that cannot be written whole is a refusal to start, with nothing half there",
    async () => {
      const lab = open("disk-state");
      const disk = lab.disk(64);
      disk.fill();
      const state = join(disk.path, "ca");
      const words = ["up", "-f", lab.meshPath, "--state-directory", state];
      const refused = lab.run(lab.hosts.server, words);
      expect(await refused.process.exited).toBe(1);
      expect(refused.process.log()).toMatch(
        /fairlead: cannot write .*disk-0\/ca\S*: the disk is full \(ENOSPC\) \(io\)/,
      );
      expect(existsSync(join(state, "authority.pem"))).toBe(false);
      disk.free();
      const node = await lab.run(lab.hosts.server, words).ready();
      expect(existsSync(join(state, "authority.pem"))).toBe(true);
      expect(await node.stop()).toBe(0);
    },
  );

  namespaceTest("a log that cannot be written stops no connection; what was lost is counted", async () => {
    const lab = open("disk-log");
    const disk = lab.disk(64);
    const logPath = join(disk.path, "server.log");
    const [server] = await Promise.all([
      lab.node(lab.hosts.server, ["--capture", "redirect"], { logPath }).ready(),
      lab.node(lab.hosts.client, ["--capture", "redirect"]).ready(),
    ]);
    await lab.application(lab.hosts.server).listen(db.ip, port, { kind: "greet" });
    const caller = lab.application(lab.hosts.client);
    const call = () => caller.call(db.ip, port, cart.ip);
    expect(await call()).toBe(`you are ${cart.ip}`);
    await server.line({ direction: "inbound" });
    disk.fill();
    // The last block of the log has room for some lines yet.
    for (let calls = 0; calls < 20; calls++) expect(await call()).toBe(`you are ${cart.ip}`);
    await eventually("lines lost", () => server.metric("fairlead_log_lines_lost_total") > 0);
    disk.free();
    const before = server.process.lines().length;
    expect(await call()).toBe(`you are ${cart.ip}`);
    await eventually("a line again", () => server.process.lines().length > before);
    // The one that was cut off by the end of the disk stands alone, and does not spoil the next.
    const broken = server.process.lines().filter((line) => !isJson(line));
    expect(broken.length).toBeLessThanOrEqual(1);
    expect(isJson(server.process.lines().at(-1) ?? "")).toBe(true);
    expect(await server.stop()).toBe(0);
  });
});

function isJson(line: string): boolean {
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}
