import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { IpAddress, type SocketAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Host, Socket } from "../host.ts";
import { hostContract } from "../testing/contract.ts";
import { testAuthority } from "../testing/credentials.ts";
import { Recorder } from "../testing/recorder.ts";
import { hashText } from "./random.ts";
import { MemoryWorld } from "./world.ts";

function at(ip: string, port: number): SocketAddress {
  const parsed = IpAddress.parse(ip);
  if (parsed === null) throw new Error(ip);
  return { ip: parsed, port };
}

const text = (words: string) => new TextEncoder().encode(words);

function twoHosts(seed = 1) {
  const world = new MemoryWorld(seed);
  const client = world.machine("client", { addresses: ["10.0.0.1"] });
  const server = world.machine("server", { addresses: ["10.0.0.2"] });
  return { world, client: client.start(), server: server.start(), machines: { client, server } };
}

/** A connection from one to the other, with no handler yet. */
async function sockets(world: MemoryWorld, client: Host, server: Host) {
  const accepted: Socket[] = [];
  const listener = server.net.listen({ address: at("10.0.0.2", 0) }, (socket) => accepted.push(socket));
  const near = await world.settle(client.net.connect({ to: listener.address, timeoutMs: 1000 }));
  await world.runUntil(() => accepted.length > 0, world.nowMs + 100);
  listener.close();
  const [far] = accepted;
  if (far === undefined) throw new Error("not accepted");
  return { near, far };
}

async function pair(world: MemoryWorld, client: Host, server: Host) {
  const { near, far } = await sockets(world, client, server);
  return { near: new Recorder(near), far: new Recorder(far) };
}

async function failure(world: MemoryWorld, promise: Promise<unknown>): Promise<MeshError> {
  try {
    await world.settle(promise);
  } catch (error) {
    if (error instanceof MeshError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

describe("connections", () => {
  test("bytes arrive in order, whatever is split and delayed", async () => {
    const { world, client, server } = twoHosts();
    Object.assign(world.conditions, { splitRate: 0.7, jitterMs: 5 });
    const { near, far } = await pair(world, client, server);
    let sent = "";
    for (let index = 0; index < 50; index++) {
      const word = `word ${index} `;
      sent += word;
      near.socket.write(text(word));
    }
    await world.runUntilQuiet();
    expect(far.text).toBe(sent);
    expect(far.chunks.length).toBeGreaterThan(10);
  });

  test("either end may close its half first, and both learn of the end once", async () => {
    for (const first of ["near", "far"] as const) {
      const { world, client, server } = twoHosts();
      const ends = await pair(world, client, server);
      const [early, late] = first === "near" ? [ends.near, ends.far] : [ends.far, ends.near];
      early.socket.end();
      await world.runUntilQuiet();
      expect([late.ends, early.closes, late.closes]).toEqual([1, 0, 0]);
      late.socket.write(text("still here"));
      late.socket.end();
      await world.runUntilQuiet();
      expect(early.text).toBe("still here");
      expect([early.closes, late.closes, early.error, late.error]).toEqual([1, 1, null, null]);
      expect([client.openDescriptors, server.openDescriptors]).toEqual([0, 0]);
    }
  });

  test("a reader that pauses holds the writer back, within the bound", async () => {
    const { world, client, server } = twoHosts();
    const { near, far } = await pair(world, client, server);
    far.socket.pause();
    let taken = 0;
    for (let more = 1; more > 0; taken += more) more = near.socket.write(new Uint8Array(10_000));
    expect(taken).toBe(world.conditions.bufferBytes);
    await world.runUntilQuiet();
    expect([far.byteCount, near.drains]).toEqual([0, 0]);
    far.socket.resume();
    await world.runUntilQuiet();
    expect([far.byteCount, near.drains > 0]).toEqual([taken, true]);
  });

  test("nothing is lost before the first handler", async () => {
    const { world, client, server } = twoHosts();
    const { near, far } = await sockets(world, client, server);
    near.write(text("early"));
    near.end();
    await world.run(world.nowMs + 50);
    const late = new Recorder(far);
    await world.runUntilQuiet();
    expect([late.text, late.ends]).toEqual(["early", 1]);
  });

  test("a reset is an error to the peer and an orderly end to its author", async () => {
    const { world, client, server } = twoHosts();
    const { near, far } = await pair(world, client, server);
    near.socket.reset();
    await world.runUntilQuiet();
    expect([near.closes, near.error]).toEqual([1, null]);
    expect([far.error?.code, far.error?.blame]).toEqual(["connection_reset", "peer"]);
    expect(far.socket.write(text("x"))).toBe(0);
  });

  test("close sends what was written, then lingers until the peer has ended too", async () => {
    const { world, client, server } = twoHosts();
    const { near, far } = await pair(world, client, server);
    near.socket.write(text("last words"));
    near.socket.close();
    await world.runUntilQuiet();
    expect([near.closes, near.error, far.text, far.ends]).toEqual([1, null, "last words", 1]);
    expect(client.openDescriptors).toBe(1);
    far.socket.write(text("too late"));
    await world.run(world.nowMs + hostLimits.lingerMs + 1);
    expect([client.openDescriptors, near.byteCount]).toEqual([0, 0]);
    far.socket.write(text("into the void"));
    await world.runUntilQuiet();
    expect(far.error?.code).toBe("connection_reset");
  });

  test("a cut is a reset to both", async () => {
    const { world, client, server } = twoHosts();
    const { near, far } = await pair(world, client, server);
    for (const link of world.links) link.cut();
    await world.runUntilQuiet();
    expect([near.error?.code, far.error?.code]).toEqual(["connection_reset", "connection_reset"]);
    expect(world.links.size).toBe(0);
  });

  test("who takes a socket over while its last words are told is told of its end", async () => {
    const { world, client, server } = twoHosts();
    const { near, far } = await sockets(world, client, server);
    const heard: string[] = [];
    const listener = (name: string, onData: () => void) => ({
      onData: () => {
        heard.push(`${name}: data`);
        onData();
      },
      onDrain() {},
      onEnd() {},
      onClose: () => void heard.push(`${name}: closed`),
    });
    far.write(text("last words"));
    far.resetAfterSent();
    await world.run(world.nowMs + 100);
    near.setHandler(listener("first", () => near.setHandler(listener("second", () => {}))));
    await world.run(world.nowMs + 100);
    expect(heard).toEqual(["first: data", "second: closed"]);
  });

  test("the end of another partition lets nothing of this one overtake", async () => {
    const { world, client, server } = twoHosts();
    const { near, far } = await pair(world, client, server);
    const other = world.host("other", { addresses: ["10.0.0.3"] });
    expect(other.openDescriptors).toBe(0);
    world.partition("client", "server");
    world.partition("other", "server");
    near.socket.write(text("one "));
    await world.run(world.nowMs + 100);
    world.heal("other", "server");
    // Retransmissions after a healing take up to a fifth of a second: within that time more is sent.
    for (const word of ["two ", "three ", "four "]) {
      near.socket.write(text(word));
      await world.run(world.nowMs + 40);
    }
    await world.run(world.nowMs + 1_000);
    expect(far.text).toBe("");
    world.heal();
    await world.run(world.nowMs + 1_000);
    expect(far.text).toBe("one two three four ");
  });

  test("a partition holds everything back, and healing brings it in order", async () => {
    const { world, client, server } = twoHosts();
    const { near, far } = await pair(world, client, server);
    world.partition("client", "server");
    near.socket.write(text("one "));
    await world.run(world.nowMs + 5000);
    near.socket.write(text("two "));
    await world.run(world.nowMs + 5000);
    world.heal("client", "somebody else");
    await world.run(world.nowMs + 500);
    expect(far.text).toBe("");
    world.heal("client", "server");
    near.socket.write(text("three"));
    await world.run(world.nowMs + 1000);
    expect(far.text).toBe("one two three");
  });

  test("a killed process resets what it had; its files stay", async () => {
    const { world, client, server, machines } = twoHosts();
    const { near } = await pair(world, client, server);
    await world.settle(server.files.makeDirectory("/state", 0o700));
    await world.settle(server.files.writeAtomic("/state/a", text("kept"), 0o600));
    server.clock.setTimer(10, () => {
      throw new Error("a timer of a dead process ran");
    });
    server.kill();
    await world.run(world.nowMs + 100);
    expect(near.error?.code).toBe("connection_reset");
    const next = machines.server.start();
    expect(await world.settle(next.files.readText("/state/a"))).toBe("kept");
  });
});

describe("connecting", () => {
  test("says what is wrong", async () => {
    const { world, client, server, machines } = twoHosts();
    const connect = (ip: string, timeoutMs = 5000) =>
      failure(world, client.net.connect({ to: at(ip, 80), timeoutMs }));
    expect((await connect("10.0.0.2")).code).toBe("connect_refused");
    expect((await connect("10.9.9.9")).code).toBe("connect_unreachable");
    world.partition("client", "server");
    const timedOut = await connect("10.0.0.2", 2000);
    expect([timedOut.code, timedOut.blame]).toEqual(["connect_timeout", "upstream"]);
    client.descriptorLimit = 0;
    const exhausted = await connect("10.0.0.2");
    expect([exhausted.code, exhausted.blame]).toEqual(["descriptors_exhausted", "local"]);
    server.net.listen({ address: machines.server.at(80) }, () => {});
    expect(() => server.net.listen({ address: machines.server.at(80) }, () => {})).toThrow("EADDRINUSE");
    expect(() => server.net.listen({ address: at("10.0.0.1", 81) }, () => {})).toThrow("EADDRNOTAVAIL");
    expect([client.openDescriptors, server.openDescriptors]).toEqual([0, 1]);
  });

  test("without descriptors connections wait in the backlog", async () => {
    const { world, client, server, machines } = twoHosts();
    const accepted: Socket[] = [];
    server.net.listen({ address: machines.server.at(80) }, (socket) => accepted.push(socket));
    server.descriptorLimit = 2;
    for (let index = 0; index < 3; index++)
      await world.settle(client.net.connect({ to: machines.server.at(80), timeoutMs: 100 }));
    await world.run(world.nowMs + 50);
    expect(accepted.length).toBe(1);
    accepted[0]?.reset();
    await world.run(world.nowMs + 50);
    expect(accepted.length).toBe(2);
    server.descriptorLimit = Number.POSITIVE_INFINITY;
    await world.run(world.nowMs + 50);
    expect(accepted.length).toBe(3);
  });

  test("capture redirects applications, but neither the tunnel's own traffic nor excluded ports", async () => {
    const { world, client, server, machines } = twoHosts();
    const capture = { outboundPort: 15001, inboundPort: 15006, mark: 1337, excludedPorts: new Set([22]) };
    machines.client.capture = capture;
    machines.server.capture = capture;
    const seen: string[] = [];
    const listen = (host: Host, name: string, address: SocketAddress) =>
      host.net.listen({ address }, (socket) => {
        const to = host.net.originalDestination(socket);
        seen.push(`${name} ${to === null ? "direct" : `${to.ip.text}:${to.port}`}`);
      });
    listen(client, "outbound", at("0.0.0.0", 15001));
    listen(server, "inbound", at("0.0.0.0", 15006));
    listen(server, "ssh", machines.server.at(22));
    for (const [port, mark] of [[80], [80, 1337], [22]])
      await world.settle(
        client.net.connect({
          to: machines.server.at(port ?? 0),
          timeoutMs: 100,
          ...(mark === undefined ? {} : { mark }),
        }),
      );
    await world.runUntilQuiet();
    expect(seen).toEqual(["outbound 10.0.0.2:80", "inbound 10.0.0.2:80", "ssh direct"]);
  });

  test("a source that is not ours needs the privilege", async () => {
    const world = new MemoryWorld(1);
    const plain = world.host("plain", { addresses: ["10.0.0.1"], privileged: false });
    const root = world.host("root", { addresses: ["10.0.0.2"] });
    const seen: string[] = [];
    root.net.listen({ address: at("10.0.0.2", 80) }, (socket) => seen.push(socket.remote.ip.text));
    const from = { ip: at("10.7.7.7", 0).ip, port: 0, transparent: true };
    const refused = await failure(world, plain.net.connect({ to: at("10.0.0.2", 80), timeoutMs: 100, from }));
    expect(refused.code).toBe("permission_denied");
    await world.settle(root.net.connect({ to: at("10.0.0.2", 80), timeoutMs: 100, from }));
    await world.runUntilQuiet();
    expect(seen).toEqual(["10.7.7.7"]);
  });
});

describe("TLS", () => {
  test("no peer shows a certificate without its key", async () => {
    const { client: own, server: theirs } = await testAuthority();
    const { world, client, server } = twoHosts();
    const { near, far } = await sockets(world, client, server);
    const thief = { ...theirs.credentials, privateKeyPem: own.credentials.privateKeyPem };
    const [shown, seen] = await world.settle(
      Promise.allSettled([
        client.net.tlsClient(near, { credentials: thief, alpn: ["h2"], timeoutMs: 1000 }),
        server.net.tlsServer(far, { credentials: theirs.credentials, alpn: ["h2"], timeoutMs: 1000 }),
      ]),
    );
    expect([shown?.status, seen?.status]).toEqual(["rejected", "rejected"]);
  });

  test("what is said under TLS is not seen on the wire", async () => {
    const { client: own, server: theirs } = await testAuthority();
    const { world, client, server } = twoHosts();
    const { near, far } = await sockets(world, client, server);
    const wire = new Recorder(far);
    const options = { alpn: ["h2"], timeoutMs: 1000 };
    const shaking = client.net.tlsClient(near, { credentials: own.credentials, ...options });
    shaking.catch(() => {});
    // The far end answers with a hello of its own making, as the server would.
    const other = twoHosts(2);
    const ends = await sockets(other.world, other.client, other.server);
    const served = other.server.net.tlsServer(ends.far, { credentials: theirs.credentials, ...options });
    const hello = new Recorder(ends.near);
    await world.run(world.nowMs + 10);
    ends.near.write(wire.bytes);
    await other.world.settle(served);
    await other.world.runUntilQuiet();
    far.write(hello.bytes);
    const tls = await world.settle(shaking);
    const before = wire.byteCount;
    new Recorder(tls);
    tls.write(text("the secret"));
    await world.runUntilQuiet();
    expect(wire.byteCount - before).toBeGreaterThan(10);
    expect(new TextDecoder("latin1").decode(wire.bytes)).not.toContain("secret");
  });
});

describe("clock, files, process", () => {
  test("timers fire in order, deferred work after everything of its instant, promises between events", async () => {
    const world = new MemoryWorld(1);
    const host = world.host("a", { addresses: ["10.0.0.1"] });
    const seen: string[] = [];
    host.clock.setTimer(10, () => {
      host.clock.defer(() => seen.push("deferred"));
      Promise.resolve().then(() => seen.push("promise"));
    });
    host.clock.setTimer(10, () => seen.push("same instant"));
    host.clock.setTimer(5, () => seen.push("first"));
    host.clock.setTimer(7, () => seen.push("never")).cancel();
    await world.run(20);
    expect(seen).toEqual(["first", "promise", "same instant", "deferred"]);
    expect(host.clock.now()).toBe(20);
  });

  test("the wall clock jumps, the monotonic one does not", async () => {
    const world = new MemoryWorld(1);
    const machine = world.machine("a", { addresses: ["10.0.0.1"] });
    const { clock } = machine.start();
    const before = clock.wallMs();
    machine.jumpWall(-3_600_000);
    expect([clock.wallMs() - before, clock.now()]).toEqual([-3_600_000, 0]);
  });

  test("a watcher hears of changes once for a burst; a full disk keeps the old file", async () => {
    const world = new MemoryWorld(1);
    const machine = world.machine("a", { addresses: ["10.0.0.1"] });
    const { files } = machine.start();
    let changes = 0;
    const stop = files.watch("/mesh", () => changes++);
    machine.disk.write("/mesh/a.yaml", "half");
    machine.disk.write("/mesh/a.yaml", "whole");
    await world.run(1000);
    expect(changes).toBe(1);
    machine.disk.full = true;
    const error = await failure(world, files.writeAtomic("/mesh/a.yaml", text("new"), 0o644));
    expect(error.message).toBe("/mesh/a.yaml: ENOSPC");
    expect(await world.settle(files.readText("/mesh/a.yaml"))).toBe("whole");
    expect((await world.settle(files.list("/mesh")))?.map((entry) => entry.path)).toEqual(["/mesh/a.yaml"]);
    expect(await world.settle(files.list("/mesh/a.yaml"))).toBeNull();
    stop();
    machine.disk.remove("/mesh");
    await world.run(2000);
    expect([changes, await world.settle(files.exists("/mesh/a.yaml"))]).toEqual([1, false]);
  });
});

test("the same seed gives the same run, another seed another", async () => {
  const trace = async (seed: number): Promise<number> => {
    const { world, client, server } = twoHosts(seed);
    Object.assign(world.conditions, { splitRate: 0.5, jitterMs: 3 });
    const { near, far } = await pair(world, client, server);
    for (let index = 0; index < 100; index++) near.socket.write(new Uint8Array(1000));
    near.socket.end();
    await world.runUntilQuiet();
    return hashText(`${world.nowMs} ${far.chunks.map((chunk) => chunk.length)}`);
  };
  const first = await trace(7);
  expect(await trace(7)).toBe(first);
  expect(await trace(8)).not.toBe(first);
});

hostContract("memory", async () => {
  const world = new MemoryWorld(1);
  const machine = world.machine("a", { addresses: ["10.0.0.1"] });
  const silent = world.machine("silent", { addresses: ["10.0.0.2"] });
  world.partition("a", "silent");
  const host = machine.start();
  machine.disk.makeFolder("/state");
  return {
    host,
    address: machine.at(0).ip,
    blackhole: silent.at(80),
    directory: "/state",
    until: async (condition, what) => {
      if (!(await world.runUntil(condition, world.nowMs + 8_000)))
        throw new Error(`waited in vain for ${what}`);
    },
    settled: (promise) => world.settle(promise),
    pass: (milliseconds) => world.run(world.nowMs + milliseconds),
    close: async () => host.kill(),
  };
});
