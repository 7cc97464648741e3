/** The pool by itself: the tunnels' connections are in memory, and each handshake ends when the test says so. */
import { beforeEach, describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import type { Timer } from "../../host/host.ts";
import type { H2StreamEvents } from "../../wire/h2/stream.ts";
import type { ClientTunnel, TunnelTarget } from "./client_tunnel.ts";
import { TunnelPool } from "./pool.ts";
import { at, shopId, TunnelScene, type WireSocket } from "./testing/tunnel_scene.ts";

const connect = [":method", "CONNECT", ":authority", "10.0.0.2:80"];
const quiet: H2StreamEvents = {
  onHeaders() {},
  onData() {},
  onTrailers() {},
  onReset() {},
  onWritable() {},
  onClose() {},
};

const target: TunnelTarget = {
  dial: at("10.0.0.2", 15008),
  source: shopId("cart"),
  expected: [shopId("db")],
  from: null,
};

const sweepMs = 250;

let scene: TunnelScene;
let pool: TunnelPool;
/** Our ends of the connections that were dialled. */
let nears: WireSocket[];
/** Looks at idle tunnels that are to come. */
let sweeps: Set<Timer>;

beforeEach(() => {
  scene = new TunnelScene();
  nears = [];
  sweeps = new Set();
  const context = scene.context({ poolUnusedMs: 4 * sweepMs });
  const dial = context.net.connect.bind(context.net);
  context.net.connect = async (options) => {
    const socket = await dial(options);
    nears.push(socket as WireSocket);
    return socket;
  };
  const setTimer = scene.clock.setTimer.bind(scene.clock);
  scene.clock.setTimer = (delayMs, callback) => {
    const timer = setTimer(delayMs, () => {
      sweeps.delete(told);
      callback();
    });
    const told: Timer = {
      cancel: () => {
        sweeps.delete(told);
        timer.cancel();
      },
    };
    if (delayMs === sweepMs) sweeps.add(told);
    return told;
  };
  pool = new TunnelPool(context);
});

/** How they were given up. */
const fates = () => nears.map(({ given }) => given);

/** What a call has come to by now. */
interface Call {
  tunnel: ClientTunnel | null;
  error: MeshError | null;
}

function call(to: TunnelTarget = target): Call {
  const outcome: Call = { tunnel: null, error: null };
  Promise.resolve(pool.acquire(to)).then(
    (tunnel) => {
      outcome.tunnel = tunnel;
    },
    (error) => {
      outcome.error = error;
    },
  );
  return outcome;
}

async function opened(to: TunnelTarget = target): Promise<ClientTunnel> {
  const one = call(to);
  await scene.settle();
  if (one.tunnel === null) throw new Error(`no tunnel: ${one.error}`);
  return one.tunnel;
}

/** A stream of a tunnel, which stays open. */
function use(tunnel: ClientTunnel) {
  const stream = tunnel.request(connect, quiet);
  if (stream === null) throw new Error("the tunnel has no room");
  return stream;
}

describe("who shares a tunnel", () => {
  test("one that has room is given at once, and no other is dialled", async () => {
    const tunnel = await opened();
    expect(pool.acquire(target)).toBe(tunnel);
    expect(scene.dialled.length).toBe(1);
  });

  test("as many callers wait for one as it will have room for, and the next one is dialled beside it", async () => {
    scene.handshakes.close();
    for (let count = 0; count < 5; count++) call();
    await scene.settle();
    expect(scene.dialled.length).toBe(3);
  });

  test("only who accepts the same identities, in whatever order they are said", async () => {
    const expected = (...names: [string, ...string[]]): TunnelTarget => ({
      ...target,
      expected: names.map(shopId) as unknown as TunnelTarget["expected"],
    });
    const both = await opened(expected("db", "web"));
    expect(await opened(expected("web", "db"))).toBe(both);
    for (const other of [expected("db"), expected("db", "cache"), expected("web")])
      expect(await opened(other)).not.toBe(both);
    expect(pool.size).toBe(4);
  });

  test("of one source address, where it is bound", async () => {
    const bound = await opened({ ...target, from: at("10.0.0.7", 0).ip });
    expect(await opened()).not.toBe(bound);
    expect(scene.dialled.map(({ from }) => from?.ip.text ?? null)).toEqual(["10.0.0.7", null]);
  });
});

describe("what is dialled", () => {
  const bound = { ...target, from: at("10.0.0.7", 0).ip };
  const failing = (code: "io" | "connect_refused" | "connect_timeout") => {
    const error = new MeshError(code, "upstream", code);
    scene.dialFails = error;
    return error;
  };
  const sources = () => scene.dialled.map(({ from }) => from?.ip.text ?? null);

  test("an address that has left this host is dialled from whatever the kernel chooses; nothing else is tried again", async () => {
    const refused = failing("connect_refused");
    const other = call(bound);
    await scene.settle();
    expect([other.error, sources()]).toEqual([refused, ["10.0.0.7"]]);
    const gone = failing("io");
    const one = call(bound);
    await scene.settle();
    expect([one.error, sources().slice(1)]).toEqual([gone, ["10.0.0.7", null]]);
    const plain = call();
    await scene.settle();
    expect([plain.error, sources().length]).toEqual([gone, 4]);
  });

  test("without an answer the port is named, which a firewall may block; another failure is told as it is", async () => {
    const timeout = failing("connect_timeout");
    const one = call();
    await scene.settle();
    expect([one.error?.cause, one.error?.message]).toEqual([
      timeout,
      "no answer from 10.0.0.2:15008: is a firewall blocking HBONE port 15008?",
    ]);
    const bug = new TypeError("a bug");
    scene.dialFails = bug;
    const other = call();
    await scene.settle();
    expect(other.error).toBe(bug as never);
  });
});

describe("while a tunnel opens", () => {
  test("it closes: the call fails, and is not made again and again; nothing is kept", async () => {
    scene.handshakes.close();
    const one = call();
    await scene.settle();
    nears[0]?.close();
    scene.dialFails = new MeshError("connect_refused", "upstream", "a second one");
    scene.handshakes.open();
    await scene.settle();
    expect([one.error?.code, scene.dialled.length]).toEqual(["connection_closed", 1]);
    expect([pool.size, pool.tunnels.length]).toEqual([0, 0]);
  });

  test("its certificate is renewed: it is closed, and the call goes over one that shows the new one", async () => {
    scene.handshakes.close();
    const one = call();
    await scene.settle();
    expect(scene.handshakes.waiting).toBe(1);
    scene.renew(shopId("cart"));
    scene.handshakes.open();
    await scene.settle();
    await scene.settle();
    expect(one.tunnel?.svid).toBe(scene.current(shopId("cart")) as never);
    expect([scene.dialled.length, fates()]).toEqual([2, ["closed", null]]);
    expect(pool.tunnels).toEqual(one.tunnel === null ? [] : [one.tunnel]);
  });

  test("its certificate is gone, with none in its place yet: that is no renewal", async () => {
    scene.handshakes.close();
    const one = call();
    await scene.settle();
    scene.forget(shopId("cart"));
    scene.handshakes.open();
    await scene.settle();
    expect([one.tunnel === null, scene.dialled.length, fates()]).toEqual([false, 1, [null]]);
  });

  test("trust in its peer ends: the call fails with the reason, and the connection is cut", async () => {
    scene.handshakes.close();
    const one = call();
    await scene.settle();
    scene.distrust = new MeshError("certificate_revoked", "peer", "revoked meanwhile");
    scene.handshakes.open();
    await scene.settle();
    expect([one.error?.code, fates(), pool.size]).toEqual(["certificate_revoked", ["reset"], 0]);
  });

  test("the pool closes: nothing watches for what is idle, and the next call is refused", async () => {
    scene.handshakes.close();
    const one = call();
    await scene.settle();
    pool.close();
    scene.handshakes.open();
    await scene.settle();
    expect([one.tunnel === null, sweeps.size]).toEqual([false, 0]);
    expect(() => pool.acquire(target)).toThrow("this node is shutting down");
  });

  test("a failure is the call's alone: the next one dials again, beside the tunnel that is full", async () => {
    const full = await opened();
    for (let count = 0; count < 2; count++) use(full);
    scene.dialFails = new MeshError("connect_refused", "upstream", "refused");
    const one = call();
    await scene.settle();
    expect(one.error?.code).toBe("connect_refused");
    scene.dialFails = null;
    const next = call();
    await scene.settle();
    expect([next.error, next.tunnel === full, scene.dialled.length]).toEqual([null, false, 3]);
    expect([pool.size, pool.tunnels.length]).toEqual([1, 2]);
  });

  test("who waits for one has that one, and who came too late for it the next", async () => {
    scene.handshakes.close();
    const calls = [call(), call(), call()];
    await scene.settle();
    expect(scene.dialled.length).toBe(2);
    scene.handshakes.open();
    await scene.settle();
    expect(calls.map(({ tunnel }) => pool.tunnels.indexOf(tunnel as never))).toEqual([0, 0, 1]);
  });

  test("one that is told to be gone leaves the other of its target in the pool", async () => {
    scene.handshakes.close();
    for (let count = 0; count < 3; count++) call();
    await scene.settle();
    scene.handshakes.open();
    await scene.settle();
    const [first, second] = pool.tunnels;
    first?.abort();
    await scene.settle();
    expect([pool.tunnels.length, pool.tunnels[0] === second, pool.size]).toEqual([1, true, 1]);
    second?.abort();
    await scene.settle();
    expect(pool.size).toBe(0);
  });
});

describe("a new certificate", () => {
  test("ends idle tunnels of its identity at once, used ones with their last stream, and no others", async () => {
    const idle = await opened();
    const other = await opened({ ...target, source: shopId("web") });
    scene.renew(shopId("cart"));
    await scene.settle();
    expect([idle.closed, other.hasRoom]).toEqual([true, true]);
    const used = await opened();
    use(used);
    scene.renew(shopId("cart"));
    await scene.settle();
    expect([used.closed, used.hasRoom, other.hasRoom]).toEqual([false, false, true]);
  });
});

describe("an idle tunnel", () => {
  test("is closed when it has been idle for so long, to the moment, and nothing is watched for after the last", async () => {
    await opened();
    await scene.clock.advance(4 * sweepMs - 1);
    expect([fates(), sweeps.size]).toEqual([[null], 1]);
    await scene.clock.advance(1);
    expect([fates(), pool.size]).toEqual([["closed"], 0]);
    await scene.clock.advance(2 * sweepMs);
    expect(sweeps.size).toBe(0);
  });

  test("is one without streams: a used one is not closed, and counts as idle from its last stream on", async () => {
    const tunnel = await opened();
    const stream = use(tunnel);
    await scene.clock.advance(9 * sweepMs + 100);
    expect(fates()).toEqual([null]);
    stream.reset(8);
    await scene.clock.advance(3 * sweepMs);
    expect(fates()).toEqual([null]);
    await scene.clock.advance(sweepMs);
    expect(fates()).toEqual(["closed"]);
  });

  test("is watched for by one timer, however many there are", async () => {
    await opened();
    await opened({ ...target, source: shopId("web") });
    await opened({ ...target, source: shopId("api") });
    expect(sweeps.size).toBe(1);
    pool.close();
    expect(sweeps.size).toBe(0);
  });
});
