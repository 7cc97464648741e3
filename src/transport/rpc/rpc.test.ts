/** Server and channel on simulated hosts: time, loss and refusals at will. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { IpAddress, type SocketAddress } from "../../base/ip.ts";
import { doorLimits } from "../../base/limits/door.ts";
import { hostLimits } from "../../base/limits/host.ts";
import { grpcLimits } from "../../base/limits/rpc.ts";
import { type Logger, silentLogger } from "../../base/log.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import { writeMetrics } from "../../base/metrics_text.ts";
import type { Host, Listener, Socket } from "../../host/host.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { type TestAuthority, testAuthority } from "../../host/testing/credentials.ts";
import { Recorder } from "../../host/testing/recorder.ts";
import { GrpcService } from "../../wire/grpc/server.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import { Answers, bytesOf, echoMethod, textOf } from "../../wire/grpc/testing/calls.ts";
import { H2Connection } from "../../wire/h2/connection.ts";
import { clientPreface } from "../../wire/h2/frame.ts";
import { headerValue } from "../../wire/h2/headers.ts";
import { RecordedStream } from "../../wire/h2/testing/wired.ts";
import { RpcChannel } from "./channel.ts";
import type { ChannelTls } from "./client_connection.ts";
import type { RpcLimits } from "./rpc_limits.ts";
import { type RpcPeer, RpcServer, type RpcServerOptions } from "./server.ts";

const authority: TestAuthority = await testAuthority();
const streamMethod = { ...echoMethod, path: "/test.Echo/Stream" };

function at(ip: string, port: number): SocketAddress {
  const parsed = IpAddress.parse(ip);
  if (parsed === null) throw new Error(ip);
  return { ip: parsed, port };
}

/** Closed by the other end, in order or not. */
function gone(recorder: Recorder): boolean {
  return recorder.ends + recorder.closes > 0;
}

class Lab {
  readonly world = new MemoryWorld(1);
  readonly near: Host;
  readonly far: Host;
  readonly peers: RpcPeer[] = [];
  readonly service = new GrpcService<RpcPeer>();
  /** How much time each call had left when it arrived; null for no end. */
  readonly timesLeft: (number | null)[] = [];
  readonly verified: number[] = [];
  verdict: MeshError | null = null;
  /** Whether a caller has proven itself by calling. */
  believes = true;
  server: RpcServer;
  listener: Listener;

  constructor(server: Partial<RpcServerOptions> = {}) {
    this.near = this.world.machine("near", { addresses: ["10.0.0.1"] }).start();
    this.far = this.world.machine("far", { addresses: ["10.0.0.2"] }).start();
    this.service.unary(echoMethod, async (message, call) => {
      this.peers.push(call.peer);
      this.timesLeft.push(call.deadlineMs === null ? null : call.deadlineMs - this.far.clock.now());
      if (this.believes) call.peer.proven();
      return message;
    });
    this.service.stream(streamMethod, (stream) => ({
      onMessage: (message) => void stream.send(message.slice()),
      onHalfClose: () => stream.end(),
      onWritable() {},
      onClose() {},
    }));
    this.server = this.newServer(server);
    this.listener = this.server.listen(at("10.0.0.2", 15012));
  }

  newServer(options: Partial<RpcServerOptions> = {}): RpcServer {
    return new RpcServer({
      host: this.far,
      logger: silentLogger,
      service: this.service,
      credentials: () => authority.server.credentials,
      ...options,
    });
  }

  channel(
    limits: Partial<RpcLimits> = {},
    tls: Partial<ChannelTls> = {},
    host: Host = this.near,
  ): RpcChannel {
    return new RpcChannel({
      host,
      logger: silentLogger,
      target: { host: "10.0.0.2", port: 15012 },
      limits: { backoffJitter: 0, ...limits },
      tls: () => ({
        credentials: authority.anonymous,
        serverName: "control.test",
        verify: async (chain) => {
          this.verified.push(chain.length);
          if (this.verdict !== null) throw this.verdict;
        },
        ...tls,
      }),
    });
  }

  async echo(channel: RpcChannel, text = "hello"): Promise<string> {
    return textOf(await this.world.settle(channel.unary(echoMethod, bytesOf(text))));
  }

  async failure(promise: Promise<unknown>): Promise<MeshError | GrpcError> {
    const error = await this.world.settle(
      promise.then(
        () => null,
        (thrown: unknown) => thrown,
      ),
    );
    if (error instanceof MeshError || error instanceof GrpcError) return error;
    throw new Error(`it did not fail as it should: ${error}`);
  }

  run(ms: number): Promise<void> {
    return this.world.run(this.world.nowMs + ms);
  }

  /** A TCP connection that says nothing. */
  async dial(): Promise<Recorder> {
    const to = at("10.0.0.2", 15012);
    const socket: Socket = await this.world.settle(this.near.net.connect({ to, timeoutMs: 1_000 }));
    return new Recorder(socket);
  }

  /** A TLS connection whose HTTP/2 is up to the test. */
  async dialTls(): Promise<Recorder> {
    const to = at("10.0.0.2", 15012);
    const socket = await this.world.settle(this.near.net.connect({ to, timeoutMs: 1_000 }));
    const { anonymous } = authority;
    const options = { credentials: anonymous, alpn: ["h2"], timeoutMs: 1_000 };
    return new Recorder(await this.world.settle(this.near.net.tlsClient(socket, options)));
  }
}

let lab: Lab;
beforeEach(() => {
  lab = new Lab();
});
afterEach(() => {
  lab.server.close();
});

describe("a connection", () => {
  test("is made at the first call, used by the next ones, and shows who calls", async () => {
    const channel = lab.channel({}, { credentials: authority.client.credentials });
    expect(channel.connected).toBe(false);
    expect(await lab.echo(channel)).toBe("hello");
    expect(await lab.echo(channel, "again")).toBe("again");
    expect(lab.server.connections).toBe(1);
    expect(lab.peers[0]?.chain.map((each) => each.length)).toEqual(
      authority.client.chain.map((each) => each.length),
    );
    expect(lab.peers[0]).toBe(lab.peers[1] as RpcPeer);
    expect(lab.peers[0]?.credentials).toBeNull();
    expect(lab.peers[0]?.remote.ip.text).toBe("10.0.0.1");
  });

  test("needs no client certificate", async () => {
    expect(await lab.echo(lab.channel())).toBe("hello");
    expect(lab.peers[0]?.chain).toEqual([]);
  });

  test("is made once for calls that come together", async () => {
    const channel = lab.channel();
    const calls = Array.from({ length: 50 }, (_, index) => channel.unary(echoMethod, bytesOf(String(index))));
    const answers = await lab.world.settle(Promise.all(calls));
    expect(answers.map((each) => textOf(each))).toEqual(calls.map((_, index) => String(index)));
    expect([lab.server.connections, lab.verified.length]).toEqual([1, 1]);
  });

  test("to a server that is not who it should be carries not a byte of ours", async () => {
    lab.server.close();
    const received: Recorder[] = [];
    lab.far.net.listen({ address: at("10.0.0.2", 15012), tls: true }, (socket) => {
      const { credentials } = authority.server;
      const options = { credentials, alpn: ["h2"], timeoutMs: 1_000, clientCertificate: "request" } as const;
      void lab.far.net.tlsServer(socket, options).then((tls) => received.push(new Recorder(tls)));
    });
    lab.verdict = new MeshError("certificate_untrusted", "peer", "not our control plane");
    expect(await lab.failure(lab.channel().unary(echoMethod, bytesOf("the token")))).toBe(lab.verdict);
    await lab.run(100);
    expect(received.length).toBe(1);
    expect(received[0]?.bytes.length).toBe(0);
    expect(received[0]?.closes).toBe(1);
  });

  test("that is being made when credentials change is made again with those of now, before it carries a call", async () => {
    const { anonymous, client } = authority;
    let credentials = anonymous;
    let verified = 0;
    const channel: RpcChannel = new RpcChannel({
      host: lab.near,
      logger: silentLogger,
      target: { host: "10.0.0.2", port: 15012 },
      tls: () => ({
        credentials,
        serverName: "control.test",
        verify: async () => {
          // The first handshake has shown what was before, and is not over.
          if (verified++ > 0) return;
          credentials = client.credentials;
          channel.renew();
        },
      }),
    });
    const answers = [lab.echo(channel, "one"), lab.echo(channel, "two")];
    expect(await Promise.all(answers)).toEqual(["one", "two"]);
    expect(lab.peers.map(({ chain }) => chain.length)).toEqual([client.chain.length, client.chain.length]);
    expect(verified).toBe(2);
    await lab.run(100);
    expect(lab.server.connections).toBe(1);
    channel.renew();
    expect(await lab.echo(channel, "three")).toBe("three");
    expect(verified).toBe(3);
    channel.close();
  });

  test("that is lost ends its calls with UNAVAILABLE, and the next call makes another", async () => {
    const channel = lab.channel();
    const answers = new Answers();
    await lab.world.settle(channel.stream(streamMethod, answers));
    lab.server.close();
    await lab.run(100);
    expect(answers.code).toBe(grpcCode.unavailable);
    expect(channel.connected).toBe(false);
    lab.server = lab.newServer();
    lab.server.listen(at("10.0.0.2", 15012));
    expect(await lab.echo(channel)).toBe("hello");
  });

  test("is sent away by GOAWAY: what is open goes on, what is new goes elsewhere", async () => {
    const channel = lab.channel();
    const answers = new Answers();
    const stream = await lab.world.settle(channel.stream(streamMethod, answers));
    const old = lab.server;
    const drained = old.drain();
    await lab.run(50);
    lab.server = lab.newServer();
    lab.server.listen(at("10.0.0.2", 15012));
    expect(await lab.echo(channel)).toBe("hello");
    expect([old.connections, lab.server.connections]).toEqual([1, 1]);
    stream.send(bytesOf("still here"));
    stream.end();
    await lab.world.settle(drained);
    await lab.run(50);
    expect([answers.messages.map((each) => textOf(each)), answers.code]).toEqual([["still here"], 0]);
    expect(old.connections).toBe(0);
  });

  test("without an answer to its PING is given up after thirty and ten seconds", async () => {
    const channel = lab.channel();
    const answers = new Answers();
    await lab.world.settle(channel.stream(streamMethod, answers));
    await lab.run(100);
    lab.world.partition("near", "far");
    await lab.run(39_000);
    expect(answers.end).toBeNull();
    await lab.run(3_000);
    expect(answers.end?.error).toMatchObject({ code: 14, cause: { code: "h2_keepalive_timeout" } });
  });
});

describe("a server that cannot be reached", () => {
  test("fails the calls that wait, with what kept it", async () => {
    lab.server.close();
    const channel = lab.channel();
    expect(await lab.failure(channel.unary(echoMethod, bytesOf("x")))).toMatchObject({
      code: "connect_refused",
    });
    expect(await lab.failure(channel.stream(echoMethod, new Answers()))).toMatchObject({
      code: "connect_refused",
    });
  });

  test("is tried later and later, up to fifteen seconds", async () => {
    lab.server.close();
    const channel = lab.channel();
    const waits: number[] = [];
    for (let attempt = 0; attempt < 14; attempt++) {
      const startedMs = lab.world.nowMs;
      await lab.failure(channel.unary(echoMethod, bytesOf("x")));
      waits.push(lab.world.nowMs - startedMs);
    }
    const rounded = waits.map((ms) => Math.round(ms / 10) * 10);
    expect(rounded.slice(0, 5)).toEqual([0, 10, 20, 40, 80]);
    expect(rounded.at(-1)).toBe(15_000);
  });

  test("costs a call no more than its deadline, and the attempt goes on for others", async () => {
    lab.world.partition("near", "far");
    const channel = lab.channel();
    const startedMs = lab.world.nowMs;
    const error = await lab.failure(channel.unary(echoMethod, bytesOf("x"), { timeoutMs: 500 }));
    expect(error).toMatchObject({ code: grpcCode.deadlineExceeded });
    expect(lab.world.nowMs - startedMs).toBeLessThan(600);
    const abort = new AbortController();
    const cancelled = lab.failure(channel.unary(echoMethod, bytesOf("x"), { signal: abort.signal }));
    abort.abort();
    expect(await cancelled).toMatchObject({ code: grpcCode.cancelled });
    // One that was given up before it began waits for nothing.
    const beforeMs = lab.world.nowMs;
    const late = channel.unary(echoMethod, bytesOf("x"), { signal: AbortSignal.abort() });
    expect(await lab.failure(late)).toMatchObject({ code: grpcCode.cancelled });
    expect(lab.world.nowMs - beforeMs).toBeLessThan(1);
  });

  test("takes of a call's time what it was waited for", async () => {
    lab.server.close();
    const channel = lab.channel({ backoffStartMs: 300 });
    await lab.failure(channel.unary(echoMethod, bytesOf("x")));
    lab.server = lab.newServer();
    lab.server.listen(at("10.0.0.2", 15012));
    await lab.world.settle(channel.unary(echoMethod, bytesOf("x"), { timeoutMs: 1_000 }));
    await lab.world.settle(channel.unary(echoMethod, bytesOf("x"), { timeoutMs: 1_000 }));
    const [waited = 0, went = 0] = lab.timesLeft;
    expect(waited).toBeLessThanOrEqual(700);
    expect(went).toBeGreaterThan(900);
  });

  test("is tried again soon after a connection that lived, and later after one that did not", async () => {
    const bounds = { backoffStartMs: 100, backoffResetMs: 5_000 };
    const waitedFor = async (livedMs: number): Promise<number> => {
      const channel = lab.channel(bounds);
      // Fails four times: without a connection that lives the fifth attempt is 1.6 seconds away.
      lab.server.close();
      for (let attempt = 0; attempt < 4; attempt++)
        await lab.failure(channel.unary(echoMethod, bytesOf("x")));
      lab.server = lab.newServer();
      lab.server.listen(at("10.0.0.2", 15012));
      await lab.echo(channel);
      await lab.run(livedMs);
      lab.server.close();
      await lab.run(50);
      lab.server = lab.newServer();
      lab.server.listen(at("10.0.0.2", 15012));
      const startedMs = lab.world.nowMs;
      await lab.echo(channel);
      return lab.world.nowMs - startedMs;
    };
    expect(await waitedFor(bounds.backoffResetMs)).toBeLessThan(200);
    expect(await waitedFor(bounds.backoffResetMs - 1_000)).toBeGreaterThan(1_000);
  });

  test("that takes connections only to drop them is backed off from", async () => {
    lab.server.close();
    let accepted = 0;
    lab.far.net.listen({ address: at("10.0.0.2", 15012), tls: true }, (socket) => {
      accepted++;
      const { credentials } = authority.server;
      const options = { credentials, alpn: ["h2"], timeoutMs: 1_000, clientCertificate: "request" } as const;
      void lab.far.net.tlsServer(socket, options).then((tls) => tls.close());
    });
    const channel = lab.channel();
    let calls = 0;
    const until = lab.world.nowMs + 10_000;
    while (lab.world.nowMs < until && calls < 10_000) {
      await lab.failure(channel.unary(echoMethod, bytesOf("x"), { timeoutMs: 20_000 }));
      calls++;
    }
    expect(accepted).toBeLessThan(15);
  });

  test("does not gather calls without bound", async () => {
    lab.world.partition("near", "far");
    const channel = lab.channel({ maxWaitingCalls: 2 });
    const waiting = [1, 2].map(() => lab.failure(channel.unary(echoMethod, bytesOf("x"))));
    expect(await lab.failure(channel.unary(echoMethod, bytesOf("x")))).toMatchObject({
      code: grpcCode.resourceExhausted,
    });
    for (const each of waiting) expect(await each).toMatchObject({ code: "connect_timeout" });
    // Those that have failed wait no longer.
    const again = [1, 2].map(() => lab.failure(channel.unary(echoMethod, bytesOf("x"))));
    for (const each of again) expect(await each).toMatchObject({ code: "connect_timeout" });
  });

  test("is not waited for by a channel that is closed", async () => {
    lab.server.close();
    const channel = lab.channel({ backoffStartMs: 5_000 });
    await lab.failure(channel.unary(echoMethod, bytesOf("x")));
    const waiting = channel.unary(echoMethod, bytesOf("x")).catch((error: unknown) => error);
    await lab.run(10);
    channel.close();
    expect(await waiting).toMatchObject({ code: "stopped" });
    expect(await lab.failure(channel.unary(echoMethod, bytesOf("x")))).toMatchObject({ code: "stopped" });
  });

  test("that has sent a connection away loses its calls, too, when the channel is closed", async () => {
    const channel = lab.channel();
    const answers = new Answers();
    await lab.world.settle(channel.stream(streamMethod, answers));
    void lab.server.drain();
    await lab.run(50);
    expect([channel.connected, answers.end, lab.server.connections]).toEqual([false, null, 1]);
    channel.close();
    await lab.run(50);
    expect([answers.code, lab.server.connections]).toEqual([grpcCode.unavailable, 0]);
  });
});

describe("bounds of the server", () => {
  const bounded = (limits: Partial<RpcLimits>) => {
    lab.server.close();
    lab.server = lab.newServer({ limits });
    lab.listener = lab.server.listen(at("10.0.0.2", 15012));
  };

  test("connections of one address, and all", async () => {
    for (const limits of [{ maxConnectionsPerAddress: 2 }, { maxConnections: 2 }]) {
      bounded(limits);
      await lab.echo(lab.channel());
      await lab.echo(lab.channel());
      expect(await lab.failure(lab.channel().unary(echoMethod, bytesOf("x")))).toBeInstanceOf(MeshError);
      expect(lab.server.connections).toBe(2);
    }
  });

  test("a connection that ends makes room, also one whose handshake fails", async () => {
    bounded({ maxConnectionsPerAddress: 1 });
    for (let round = 0; round < 3; round++) {
      const channel = lab.channel();
      await lab.echo(channel);
      channel.close();
      const raw = await lab.dial();
      raw.socket.write(bytesOf("GET / HTTP/1.1\r\n\r\n"));
      await lab.run(15_000);
      expect(gone(raw)).toBe(true);
    }
    expect(lab.server.connections).toBe(0);
  });

  test("silent connections make room at once, the oldest first, for one that means well", async () => {
    bounded({ maxUnproven: 2 });
    const silent = [await lab.dial(), await lab.dial()];
    await lab.run(5);
    expect(await lab.echo(lab.channel())).toBe("hello");
    expect(silent.map(gone)).toEqual([true, false]);
  });

  test("of one address, which leaves room for the others, and is charged for its own alone", async () => {
    bounded({ maxUnprovenPerAddress: 2, maxUnproven: 3 });
    const silent = [await lab.dial(), await lab.dial()];
    await lab.run(doorLimits.graceMs);
    const other = lab.world.machine("other", { addresses: ["10.0.0.3"] }).start();
    expect(await lab.echo(lab.channel({}, {}, other))).toBe("hello");
    expect(silent.map(gone)).toEqual([false, false]);
    silent.push(await lab.dial());
    await lab.run(5);
    expect(silent.map(gone)).toEqual([true, false, false]);
  });

  test("a caller that is known is never in the way; one with TLS that said nothing to believe is a stranger still", async () => {
    bounded({ maxUnprovenPerAddress: 2 });
    const known = lab.channel();
    await lab.echo(known);
    lab.believes = false;
    const strangers = [lab.channel(), lab.channel()];
    for (const stranger of strangers) await lab.echo(stranger);
    // They have only just come, and spoken.
    expect(await lab.failure(lab.channel().unary(echoMethod, bytesOf("x")))).toBeInstanceOf(MeshError);
    await lab.run(doorLimits.graceMs);
    lab.believes = true;
    expect(await lab.echo(lab.channel())).toBe("hello");
    expect([known, ...strangers].map(({ connected }) => connected)).toEqual([true, false, true]);
    for (let round = 0; round < 20; round++) await lab.dial();
    await lab.run(doorLimits.graceMs);
    expect([known.connected, await lab.echo(lab.channel())]).toEqual([true, "hello"]);
  });

  test("one warning a minute says how many made room, and a counter all of them", async () => {
    lab.server.close();
    const metrics = new MetricRegistry();
    const lines: string[] = [];
    const logger: Logger = {
      log: (level, target, message) => void (level === "warn" && lines.push(`${target}: ${message}`)),
    };
    lab.server = lab.newServer({ limits: { maxUnproven: 1 }, metrics, logger });
    lab.listener = lab.server.listen(at("10.0.0.2", 15012));
    for (let round = 0; round < 5; round++) {
      await lab.dial();
      await lab.run(doorLimits.graceMs);
    }
    expect(lines).toEqual(["door: connections that proved nothing were closed or refused to keep room"]);
    expect(writeMetrics(metrics, "prometheus")).toContain(
      'fairlead_unproven_connections_total{door="control",outcome="closed"} 4',
    );
  });

  test("of IPv6 a whole /64 is one neighbour", async () => {
    lab.server.close();
    const far = lab.world.machine("six", { addresses: ["2001:db8::2"] }).start();
    const server = lab.newServer({ host: far, limits: { maxUnprovenPerAddress: 1 } });
    server.listen(at("2001:db8::2", 15012));
    const dialled = async (from: string): Promise<Recorder> => {
      const host = lab.world.machine(from, { addresses: [from] }).start();
      const socket = await lab.world.settle(
        host.net.connect({ to: at("2001:db8::2", 15012), timeoutMs: 1_000 }),
      );
      const recorder = new Recorder(socket);
      await lab.run(10);
      return recorder;
    };
    const first = await dialled("2001:db8:1:2::1");
    const other = await dialled("2001:db8:1:3::1");
    const second = await dialled("2001:db8:1:2:ffff::1");
    expect([first, other, second].map(gone)).toEqual([true, false, false]);
    server.close();
  });

  test("handlers that run, of one connection and of one address: one more is refused, and has room when one ends", async () => {
    const elsewhere = lab.world.machine("else", { addresses: ["10.0.0.3"] }).start();
    const gates: (() => void)[] = [];
    const slow = { ...echoMethod, path: "/test.Echo/Slow" };
    lab.service.unary(slow, async (message) => {
      await new Promise<void>((resolve) => gates.push(resolve));
      return message;
    });
    const bounds = [
      { limits: { maxHandlersPerConnection: 3, maxHandlersPerAddress: 100 }, other: lab.near },
      { limits: { maxHandlersPerConnection: 100, maxHandlersPerAddress: 3 }, other: elsewhere },
    ];
    for (const { limits, other } of bounds) {
      bounded(limits);
      gates.length = 0;
      const channels = [lab.channel(), lab.channel({}, {}, other)] as const;
      const calls = Array.from({ length: 3 }, () => channels[0].unary(slow, bytesOf("x")));
      await lab.run(1_000);
      expect(gates.length).toBe(3);
      expect(await lab.failure(channels[0].unary(slow, bytesOf("x")))).toMatchObject({
        code: grpcCode.resourceExhausted,
      });
      const free = channels[1].unary(slow, bytesOf("y"));
      await lab.run(1_000);
      expect(gates.length).toBe(4);
      gates[0]?.();
      await lab.world.settle(calls[0] ?? Promise.reject(new Error("no call")));
      const after = channels[0].unary(slow, bytesOf("z"));
      await lab.run(1_000);
      for (const open of gates) open();
      await lab.world.settle(Promise.all([...calls, free, after]));
      expect(gates.length).toBe(5);
    }
  });

  test("of one address are counted on as its connections come and go, while one of them is there", async () => {
    bounded({ maxHandlersPerConnection: 100, maxHandlersPerAddress: 1 });
    const slow = { ...echoMethod, path: "/test.Echo/Slow" };
    const gate = Promise.withResolvers<void>();
    lab.service.unary(slow, async (message) => {
      await gate.promise;
      return message;
    });
    const [first, second] = [lab.channel(), lab.channel()];
    await lab.echo(second);
    const call = first.unary(slow, bytesOf("x"));
    await lab.run(100);
    second.close();
    await lab.run(100);
    expect(await lab.failure(lab.channel().unary(slow, bytesOf("y")))).toMatchObject({
      code: grpcCode.resourceExhausted,
    });
    gate.resolve();
    await lab.world.settle(call);
  });

  test("bytes of requests that are not whole, of one connection and of one address", async () => {
    const elsewhere = lab.world.machine("else", { addresses: ["10.0.0.3"] }).start();
    // What its first frame brings waits for the second: a frame less the five bytes before a message.
    const size = grpcLimits.maxFrameBytes - 5;
    const whole = new Uint8Array(size + 1_000);
    for (const bound of ["maxAssembledBytesPerConnection", "maxAssembledBytesPerAddress"] as const) {
      const others = {
        maxAssembledBytesPerConnection: 10 * size,
        maxAssembledBytesPerAddress: 10 * size,
      };
      const answered = async (bytes: number): Promise<boolean> => {
        bounded({ ...others, [bound]: bytes });
        const channel = lab.channel();
        await lab.echo(channel);
        // Only a socket that took much is given a whole frame of this size at once.
        const small = Array.from({ length: 16 }, () =>
          channel.unary(echoMethod, new Uint8Array(hostLimits.blockedBatchBytes / 4)),
        );
        await lab.world.settle(Promise.all(small));
        const outcome = channel.unary(echoMethod, whole).then(
          () => true,
          (thrown: unknown) => {
            expect(thrown).toMatchObject({ code: grpcCode.resourceExhausted });
            return false;
          },
        );
        return await lab.world.settle(outcome);
      };
      expect([bound, await answered(size), await answered(size - 1)]).toEqual([bound, true, false]);
      // Who is elsewhere has a room of its own.
      expect(
        (await lab.world.settle(lab.channel({}, {}, elsewhere).unary(echoMethod, bytesOf("x")))).length,
      ).toBe(1);
    }
  });

  test("calls of one connection: the channel is told UNAVAILABLE before it opens one too many", async () => {
    bounded({ maxStreamsPerConnection: 3 });
    const channel = lab.channel();
    await lab.echo(channel);
    for (let index = 0; index < 3; index++)
      await lab.world.settle(channel.stream(streamMethod, new Answers()));
    expect(await lab.failure(channel.stream(streamMethod, new Answers()))).toMatchObject({
      code: grpcCode.unavailable,
    });
  });

  test("a connection without calls is drained, one with a call is not", async () => {
    const [idle, busy] = [lab.channel(), lab.channel()];
    await lab.echo(idle);
    const answers = new Answers();
    await lab.world.settle(busy.stream(streamMethod, answers));
    await lab.run(11 * 60_000);
    expect([lab.server.connections, idle.connected, busy.connected]).toEqual([1, false, true]);
    expect(answers.end).toBeNull();
    expect(await lab.echo(idle)).toBe("hello");
  });

  test("a client that says nothing after the handshake, or no HTTP/2, is not kept", async () => {
    const silent = await lab.dialTls();
    const other = await lab.dialTls();
    other.socket.write(bytesOf("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    const half = await lab.dialTls();
    half.socket.write(clientPreface.slice(0, 10));
    await lab.run(60_000);
    expect([silent, other, half].map(gone)).toEqual([true, true, true]);
    expect(lab.server.connections).toBe(0);
  });
});

describe("the end", () => {
  test("drain waits for calls, but not for ever", async () => {
    const channel = lab.channel();
    const answers = new Answers();
    await lab.world.settle(channel.stream(streamMethod, answers));
    const startedMs = lab.world.nowMs;
    await lab.world.settle(lab.server.drain());
    expect(lab.world.nowMs - startedMs).toBeGreaterThanOrEqual(5_000);
    await lab.run(100);
    expect([answers.code, lab.server.connections]).toEqual([grpcCode.unavailable, 0]);
  });

  test("drain of a server without connections is over at once", async () => {
    const startedMs = lab.world.nowMs;
    await lab.world.settle(lab.server.drain());
    expect(lab.world.nowMs - startedMs).toBeLessThan(1);
    expect(await lab.failure(lab.channel().unary(echoMethod, bytesOf("x")))).toMatchObject({
      code: "connect_refused",
    });
  });

  test("a connection whose handshake was under way when the drain began is not kept", async () => {
    lab.server.close();
    const server = lab.newServer({
      credentials: () => {
        void server.drain();
        return authority.server.credentials;
      },
    });
    server.listen(at("10.0.0.2", 15012));
    const channel = lab.channel();
    const ended = channel.unary(echoMethod, bytesOf("x")).then(
      () => null,
      () => null,
    );
    await lab.run(2_000);
    expect([server.connections, channel.connected]).toEqual([0, false]);
    await ended;
  });

  test("an idle connection closes at once when the server drains", async () => {
    const channel = lab.channel();
    await lab.echo(channel);
    await lab.world.settle(lab.server.drain(), lab.world.nowMs + 2_000);
    expect(lab.server.connections).toBe(0);
  });
});

describe("what is not gRPC", () => {
  async function get(): Promise<string | null> {
    const recorder = await lab.dialTls();
    const { socket } = recorder;
    const events = new RecordedStream();
    const connection = new H2Connection(
      { role: "client", now: 0 },
      { onRequest() {}, onOutputReady() {}, onClose() {} },
    );
    const fields = [":method", "GET", ":scheme", "https", ":path", "/api", ":authority", "a"];
    connection.request(fields, true, events);
    while (connection.wantsOutput)
      for (const chunk of connection.takeOutput(1e6)) socket.write(chunk.slice());
    await lab.run(100);
    connection.receive(recorder.bytes, 0);
    return headerValue(events.headers[0] ?? [], ":status");
  }

  test("is 404 without a fallback, and otherwise the fallback's, with its peer", async () => {
    expect(await get()).toBe("404");
    const seen: RpcPeer[] = [];
    lab.server.close();
    lab.server = lab.newServer({
      fallback: (stream, headers, endStream, peer) => {
        expect([headerValue(headers, ":path"), endStream]).toEqual(["/api", true]);
        seen.push(peer);
        stream.events = new RecordedStream();
        stream.sendHeaders([":status", "204"], true);
      },
    });
    lab.server.listen(at("10.0.0.2", 15012));
    expect(await get()).toBe("204");
    expect(seen[0]?.remote.ip.text).toBe("10.0.0.1");
  });
});
