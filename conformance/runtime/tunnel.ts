/**
 * The tunnel between a node under Node or Deno and one under Bun. Either calls the other and is called by it, so that each runtime has both
 * roles of the same mutual TLS.
 */
import { join } from "node:path";
import { forgeCertificate } from "../demo/forged.ts";
import { callWithCertificate } from "../demo/visitor.ts";
import { bulkHangMs, eventually } from "../peer/lab/eventually.ts";
import { bulk, bulkBytes } from "./tunnel_application.ts";
import { judgeThieves } from "./tunnel_thieves.ts";
import { type Caller, type TunnelNode, TunnelWorld } from "./tunnel_world.ts";

const root = join(import.meta.dir, "../..");

export interface TunnelOutcome {
  passed: number;
  readonly failures: string[];
}

/** @param command runs the program under the other runtime. @param node the program of Node, for peers that Bun cannot play. */
export async function judgeTunnel(
  runtime: string,
  command: readonly string[],
  corner: string,
  node: string,
): Promise<TunnelOutcome> {
  const outcome: TunnelOutcome = { passed: 0, failures: [] };
  const commands = { other: command, bun: [process.execPath, join(root, "src/main.ts")] };
  const world = await TunnelWorld.create(corner, commands);
  const check = async (what: string, holds: () => Promise<unknown>): Promise<void> => {
    try {
      if ((await holds()) === false) throw new Error("it does not hold");
      outcome.passed++;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      outcome.failures.push(`the tunnel with ${runtime}: ${what}: ${why}`);
    }
  };
  try {
    const { other, bun } = world.nodes;
    await check("both nodes become ready", () => world.ready());
    if (outcome.failures.length > 0) return outcome;
    for (const [from, to] of [
      [other, bun],
      [bun, other],
    ] as const) {
      const way = from === bun ? "as server" : "as client";
      await judgeWay(world, from, to, (what, holds) => check(`${way}: ${what}`, holds));
    }
    await judgeStrangers(world, other, check);
    await judgeThieves(world, other, node, check);
    await check("the command line reads and is answered at its Unix socket", async () => {
      const { exitCode, output } = await world.processes.run([
        ...commands.bun,
        ...["get", "workloads", "--admin", `unix:${other.socket}`],
      ]);
      if (exitCode !== 0 || !output.includes("second")) throw new Error(output);
    });
    await judgeRevocation(world, other, bun, check);
    await judgeDrain(world, other, bun, check);
    return outcome;
  } finally {
    await world.close();
  }
}

type Check = (what: string, holds: () => Promise<unknown>) => Promise<void>;

async function judgeWay(world: TunnelWorld, from: TunnelNode, to: TunnelNode, check: Check): Promise<void> {
  await check("SOCKS5 by name, and who called is known by certificate", async () => {
    const caller = await world.bySocks(from, to);
    await echoes(caller, "by socks");
    caller.socket.end();
    await caller.ended();
    const inbound = await world.line(to, '"direction":"inbound"', world.identity(from));
    return inbound.includes(world.identity(to));
  });
  await check("a mapped port; one side ends, and still hears the other", async () => {
    const caller = await world.byMap(from);
    caller.send("echo\nlast words");
    caller.socket.end();
    return await caller.says("last words");
  });
  await check("who no policy lets in is denied, and the application hears nothing of it", async () => {
    const before = to.application.connections;
    const caller = await world.byMap(from, "outsider");
    caller.send("echo\nlet me in");
    const heard = await caller.ended();
    await world.line(to, '"direction":"inbound"', `sa/${from.place.outsider}`, "policy_denied");
    if (heard !== 0 || to.application.connections !== before) throw new Error(`${heard} bytes came back`);
  });
  await check(
    "64 MB down: a caller that does not read holds the application back, and loses nothing",
    async () => {
      const caller = await world.byMap(from);
      caller.socket.pause();
      caller.send("send\n");
      await standsStill(() => to.application.sentBytes);
      if (to.application.sentBytes >= bulkBytes) throw new Error("all of it was taken from the application");
      caller.socket.resume();
      return await caller.takesBulk();
    },
  );
  await check(
    "64 MB up: an application that does not read holds its caller back, and loses nothing",
    async () => {
      to.application.holdsBack = true;
      const caller = await world.bySocks(from, to);
      let sent = 0;
      const pump = (): void => {
        while (sent < bulkBytes) {
          const chunk = bulk().subarray(sent, sent + 65_536);
          sent += chunk.length;
          if (!caller.socket.write(chunk)) return void caller.socket.once("drain", pump);
        }
        caller.socket.end();
      };
      caller.send("take\n");
      pump();
      await standsStill(() => sent);
      const held = sent;
      to.application.holdsBack = false;
      if (held >= bulkBytes) throw new Error("all of it was taken from the caller");
      await eventually(
        "all of it is sent",
        () => sent === bulkBytes,
        () => `${sent} bytes`,
        bulkHangMs,
      );
      return await caller.says("whole\n");
    },
  );
}

/** Certificates of a CA that the mesh does not know, and none. */
async function judgeStrangers(world: TunnelWorld, node: TunnelNode, check: Check): Promise<void> {
  const { host, port } = world.hboneOf(node);
  await check("a forged certificate gets no frame of HTTP/2", async () => {
    const answer = await callWithCertificate(host, port, await forgeCertificate("second"));
    if (answer.body !== "") throw new Error(`${answer.body.length} bytes came back`);
    await world.line(node, "certificate_untrusted");
  });
  await check("no certificate gets no frame of HTTP/2", async () => {
    const answer = await callWithCertificate(host, port, { cert: "", key: "" });
    if (answer.body !== "") throw new Error(`${answer.body.length} bytes came back`);
    await world.line(node, "certificate_missing");
  });
}

/** The other runtime's node is told: it cuts what is open, as server and as client, and takes nothing new. */
async function judgeRevocation(
  world: TunnelWorld,
  other: TunnelNode,
  bun: TunnelNode,
  check: Check,
): Promise<void> {
  await check(
    "a certificate that is revoked while in use is cut, whichever side showed it, and no other",
    async () => {
      const [called, calls, unharmed] = [
        await world.byThird(bun),
        await world.byThird(other),
        await world.byMap(bun),
      ];
      for (const caller of [called, calls, unharmed]) await echoes(caller, "open");
      world.revokeAt(other, await world.certificateOfThird());
      await Promise.all([called.ended(), calls.ended()]);
      await world.line(other, "certificate_revoked", '"direction":"inbound"');
      await world.line(other, "certificate_revoked", '"direction":"outbound"');
      for (const late of [await world.byThird(bun), await world.byThird(other)]) {
        late.send("echo\nonce more");
        if ((await late.ended()) !== 0) throw new Error("a new connection was served");
      }
      unharmed.send("still here");
      const isHeard = await unharmed.says("still here");
      unharmed.close();
      return isHeard;
    },
  );
}

/** What is open goes on after SIGTERM, what is new does not begin, and the process ends with the last connection. */
async function judgeDrain(
  world: TunnelWorld,
  other: TunnelNode,
  bun: TunnelNode,
  check: Check,
): Promise<void> {
  await check("drain at SIGTERM", async () => {
    const callers = [await world.byMap(other), await world.byMap(bun)];
    for (const caller of callers) await echoes(caller, "before");
    world.processes.kill(other.running.name, "SIGTERM");
    await eventually("its ways in are closed", async () => {
      const late = await world.byMap(other).catch(() => null);
      late?.close();
      return late === null;
    });
    for (const caller of callers) {
      caller.send("after");
      if (!(await caller.says("after"))) throw new Error("an open connection did not go on");
    }
    for (const caller of callers) {
      caller.socket.end();
      await caller.ended();
    }
    await world.line(other, "(ended with exit code 0)");
  });
}

async function echoes(caller: Caller, text: string): Promise<void> {
  caller.send(`echo\n${text}`);
  if (!(await caller.says(text))) throw new Error(`${text} did not come back`);
}

/** Waits until it no longer changes: what is between has a bound. */
async function standsStill(value: () => number): Promise<void> {
  let last = -1;
  let since = performance.now();
  await eventually("it stands still", () => {
    if (value() !== last) since = performance.now();
    last = value();
    return last > 0 && performance.now() - since > 300;
  });
}
