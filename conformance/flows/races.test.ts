/**
 * What ends, or changes, while a flow waits for an application, a tunnel, a handshake or a policy. Each wait is held open, the event comes,
 * and then what was waited for comes all the same: too late, and so for nothing.
 */
import { beforeEach, describe, expect, test } from "bun:test";
import { MeshError } from "../../src/base/errors.ts";
import { proxyLimits } from "../../src/base/limits/proxy.ts";
import type { Network } from "../../src/host/host.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import type { Svid } from "../../src/pki/svid/svid.ts";
import type { TrustVerifier } from "../../src/pki/trust/verifier.ts";
import {
  allowOnly,
  FlowLab,
  type LabNode,
  serviceEntry,
  shopId,
  strictMutualTls,
  workloadEntry,
} from "./lab.ts";
import { HbonePeer, StreamLog, svidOf } from "./peer.ts";
import { waypointLab, webService } from "./waypoint_lab.ts";

const mesh =
  workloadEntry("cart", "10.0.0.1") +
  workloadEntry("db", "10.0.0.2") +
  serviceEntry("db", "10.88.0.2", 5432, 15432);

interface Held {
  /** How many were made, and are kept back. */
  readonly made: () => number;
  release(): void;
}

/** Every result of `net[name]` from now on is kept back until it is let go. */
function held<Name extends "connect" | "tlsServer" | "tlsClient">(
  net: Pick<Network, Name>,
  name: Name,
  isHeld: (...args: Parameters<Network[Name]>) => boolean = () => true,
): Held {
  const { promise, resolve } = Promise.withResolvers<void>();
  let count = 0;
  const make = net[name].bind(net) as (...args: Parameters<Network[Name]>) => Promise<unknown>;
  net[name] = (async (...args: Parameters<Network[Name]>) => {
    const result = await make(...args);
    if (!isHeld(...args)) return result;
    count++;
    await promise;
    return result;
  }) as Network[Name];
  return { made: () => count, release: resolve };
}

/** As if the peer's certificate had been revoked since it was verified, and no change had been told yet. */
function distrust(trust: TrustVerifier): void {
  trust.recheck = () => new MeshError("certificate_revoked", "peer", "revoked meanwhile");
}

const codes = (node: LabNode) => node.access().map(({ error }) => String(error).split(":")[0]);
/** Connections on record as open, and those that are counted as such. */
const open = (node: LabNode) => node.node.context.connections.size;

async function anotherRoot(node: LabNode): Promise<void> {
  const { rootsPem } = (await FlowLab.create(10)).authority;
  node.node.context.trust.setRoots(rootsPem, "signer");
  node.node.context.trust.setRoots(rootsPem);
}

describe("into a workload", () => {
  let lab: FlowLab;
  let db: LabNode;
  let host: MemoryHost;
  let svid: Svid;
  let served: readonly Recorder[];
  beforeEach(async () => {
    lab = await FlowLab.create();
    db = await lab.node("two", ["10.0.0.2", "10.9.0.2"], mesh, {
      applications: "10.0.0.2:15432=10.9.0.2:15432",
    });
    served = lab.application(db.host, "10.9.0.2:15432");
    host = lab.world.machine("peer", { addresses: ["10.0.0.1"] }).start();
    svid = await svidOf(lab, host, shopId("cart"));
  });
  const dial = () => HbonePeer.dial(lab, host, "10.0.0.2:15008", svid);

  /** The workload names a policy that is not here; or none any more. */
  function wants(policies: readonly string[]): void {
    const { store } = db.node.context;
    for (const one of [...store.workloads()].filter(({ name }) => name === "db"))
      store.apply({ workloads: { upsert: [{ ...one, authorizationPolicies: [...policies] }] } });
  }

  test.each([
    ["its caller leaves", null, "h2_reset"],
    ["policy changes", "401", "policy_changed"],
    ["its caller's root goes", null, "certificate_untrusted"],
  ] as const)(
    "an application that is dialled while %s gets a reset and not a byte",
    async (what, status, code) => {
      const dialled = held(db.node.context.applications, "connect");
      const peer = await dial();
      const { stream, log } = peer.connect("10.0.0.2:15432");
      stream.sendData(new TextEncoder().encode("early"), false);
      await lab.until(() => dialled.made() === 1, "the application");
      if (what === "its caller leaves") stream.reset(8);
      else if (what === "policy changes") await db.documents("policy.yaml", allowOnly("db", "frontend"));
      else await anotherRoot(db);
      await lab.until(() => open(db) === 0, "the end of the connection");
      dialled.release();
      await lab.until(() => served[0]?.closes === 1, "the reset", 1_000);
      await lab.run(100);
      expect([served[0]?.byteCount, served[0]?.error?.code]).toEqual([0, "connection_reset"]);
      expect([log.status, codes(db)]).toEqual([status, [code]]);
    },
  );

  test("an application that does not answer a caller who has left is no second failure", async () => {
    const peer = await dial();
    const { stream } = peer.connect("10.0.0.2:9");
    stream.reset(8);
    await lab.run(1_000);
    expect(codes(db)).toEqual(["h2_reset"]);
  });

  test("plain text: an application that is dialled while the caller leaves, or policy changes, gets a reset", async () => {
    const outsider = lab.world.machine("outsider", { addresses: ["10.0.0.9"] }).start();
    const dialled = held(db.node.context.applications, "connect");
    const leaves = await lab.connect(outsider, "10.0.0.2:15432");
    await lab.until(() => dialled.made() === 1, "the application");
    leaves.socket.reset();
    const refused = await lab.connect(outsider, "10.0.0.2:15432");
    await lab.until(() => dialled.made() === 2, "the application again");
    await db.documents("strict.yaml", strictMutualTls);
    await lab.until(() => refused.closes === 1 && open(db) === 0, "the end of both");
    dialled.release();
    await lab.until(() => served.every(({ closes }) => closes === 1), "the resets", 1_000);
    expect(served.map(({ byteCount, error }) => [byteCount, error?.code])).toEqual([
      [0, "connection_reset"],
      [0, "connection_reset"],
    ]);
    expect(codes(db)).toEqual(["connection_reset", "policy_changed"]);
  });

  test("a caller that leaves while policies are waited for is not connected when they come", async () => {
    const outsider = lab.world.machine("outsider", { addresses: ["10.0.0.9"] }).start();
    wants(["shop/not-here"]);
    const peer = await dial();
    const { stream } = peer.connect("10.0.0.2:15432");
    const plain = await lab.connect(outsider, "10.0.0.2:15432");
    await lab.until(() => open(db) === 2, "both");
    stream.reset(8);
    plain.socket.reset();
    await lab.until(() => open(db) === 0, "the end of both");
    wants([]);
    await lab.run(2 * proxyLimits.policyWaitMs);
    expect([served.length, codes(db).sort()]).toEqual([0, ["connection_reset", "h2_reset"]]);
  });

  test("policies that come are waited for no longer; of a workload that goes meanwhile nothing is allowed", async () => {
    wants(["shop/not-here"]);
    const peer = await dial();
    const { log } = peer.connect("10.0.0.2:15432");
    await lab.run(500);
    // A change of something else is not what it waits for.
    db.node.context.store.apply({ services: { remove: ["shop/none.shop"] } });
    await lab.run(500);
    expect([log.status, open(db)]).toEqual([null, 1]);
    wants([]);
    await lab.until(() => log.status === "200", "the answer", 100);
    wants(["shop/not-here"]);
    const gone = peer.connect("10.0.0.2:15432");
    // The first is decided again, and ends; the second waits.
    await lab.until(() => codes(db).length === 1 && open(db) === 1, "the second");
    const uids = [...db.node.context.store.workloads()]
      .filter(({ name }) => name === "db")
      .map(({ uid }) => uid);
    db.node.context.store.apply({ workloads: { remove: uids } });
    await lab.until(() => gone.log.status !== null, "the refusal", proxyLimits.policyWaitMs + 100);
    expect([gone.log.status, served.length, codes(db)]).toEqual([
      "503",
      1,
      ["policy_changed", "workload_changed"],
    ]);
  });

  test("a peer that is not believed any more, and was not told of yet, gets nothing more over its tunnel", async () => {
    const peer = await dial();
    distrust(db.node.context.trust);
    const { log } = peer.connect("10.0.0.2:15432");
    await lab.until(() => log.status !== null, "the refusal");
    expect([log.status, served.length, codes(db)]).toEqual(["401", 0, ["certificate_revoked"]]);
  });

  test("a peer that is not believed any more when its handshake is through has no tunnel", async () => {
    distrust(db.node.context.trust);
    const handshake = held(db.node.context.net, "tlsServer");
    const peer = await dial();
    await lab.until(() => handshake.made() === 1, "the handshake");
    handshake.release();
    await lab.until(() => peer.gone, "the cut", 1_000);
    await lab.run(100);
    expect([db.node.tunnel.tunnelCount.inbound, peer.goAways, codes(db)]).toEqual([0, 0, []]);
  });

  test("a tunnel whose SVID was renewed, or whose node drains, since its handshake began takes no request", async () => {
    for (const event of ["renewed", "drains"] as const) {
      const handshake = held(db.node.context.net, "tlsServer");
      const peer = await dial();
      const { secrets } = db.node.context;
      const before = secrets.current(shopId("db"));
      await lab.until(() => handshake.made() === 1, "the handshake");
      if (event === "renewed") {
        secrets.renewAll("a test");
        await lab.until(() => secrets.current(shopId("db")) !== before, "the new SVID");
      } else void db.node.drain();
      await lab.run(100);
      handshake.release();
      await lab.until(() => peer.gone, "the end", 1_000);
      await lab.run(100);
      expect([event, peer.goAways > 0, db.node.tunnel.tunnelCount.inbound, codes(db)]).toEqual([
        event,
        true,
        0,
        [],
      ]);
    }
  });
});

describe("out of a workload", () => {
  let lab: FlowLab;
  let cart: LabNode;
  let server: MemoryHost;
  let streams: StreamLog[];
  let answers: boolean;
  beforeEach(async () => {
    lab = await FlowLab.create();
    cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=db.shop:5432" });
    server = lab.world.machine("server", { addresses: ["10.0.0.2"] }).start();
    streams = [];
    answers = true;
  });

  async function listen(): Promise<readonly HbonePeer[]> {
    return HbonePeer.listen(
      lab,
      server,
      "10.0.0.2:15008",
      await svidOf(lab, server, shopId("db")),
      (stream) => {
        const log = new StreamLog();
        stream.events = log;
        streams.push(log);
        if (answers) stream.sendHeaders([":status", "200"], false);
      },
    );
  }
  const call = () => lab.connect(cart.host, "10.0.0.1:8080");
  const tunnels = () => cart.node.tunnel.tunnelCount.outbound;

  test("a client that leaves while its tunnel opens: no CONNECT is sent, and the tunnel is there for the next", async () => {
    await listen();
    const handshake = held(cart.node.context.net, "tlsClient");
    const client = await call();
    await lab.until(() => handshake.made() === 1, "the handshake");
    client.socket.reset();
    await lab.until(() => open(cart) === 0, "the end of the connection");
    handshake.release();
    await lab.until(() => tunnels() === 1, "the tunnel");
    await lab.run(500);
    expect([streams.length, codes(cart)]).toEqual([0, ["connection_reset"]]);
    await call();
    await lab.until(() => streams.length === 1, "the next call");
    expect(tunnels()).toBe(1);
  });

  test("a client that leaves while its CONNECT is unanswered: the stream is cancelled, once on record", async () => {
    answers = false;
    await listen();
    const client = await call();
    await lab.until(() => streams.length === 1, "the CONNECT");
    client.socket.reset();
    await lab.until(() => streams[0]?.resetCode === 8, "the cancel", 1_000);
    await lab.run(2 * proxyLimits.answerTimeoutMs);
    expect([tunnels(), open(cart), codes(cart)]).toEqual([1, 0, ["connection_reset"]]);
  });

  test("a client that leaves while an address outside the mesh is dialled: what answers is reset", async () => {
    lab = await FlowLab.create();
    cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=203.0.113.5:80" });
    const outside = lab.world.machine("outside", { addresses: ["203.0.113.5"] }).start();
    const served = lab.application(outside, "203.0.113.5:80");
    const dialled = held(cart.node.context.net, "connect", ({ to }) => to.port === 80);
    const client = await call();
    await lab.until(() => dialled.made() === 1, "the connection");
    client.socket.reset();
    await lab.until(() => open(cart) === 0, "the end");
    dialled.release();
    await lab.until(() => served[0]?.closes === 1, "the reset", 1_000);
    expect([served[0]?.error?.code, codes(cart)]).toEqual(["connection_reset", ["connection_reset"]]);
  });

  test("a peer that is not believed any more when its tunnel is there: nothing is sent, nothing kept", async () => {
    const peers = await listen();
    distrust(cart.node.context.trust);
    const client = await call();
    await lab.until(() => client.closes === 1, "the failure");
    await lab.until(() => peers[0]?.gone === true, "the cut");
    expect([streams.length, cart.node.tunnel.poolEntries, codes(cart)]).toEqual([
      0,
      0,
      ["certificate_revoked"],
    ]);
  });

  test("an idle tunnel ends when trust in its peer does, and outlives other changes", async () => {
    const peers = await listen();
    const client = await call();
    await lab.until(() => streams.length === 1, "the call");
    client.socket.reset();
    await lab.until(() => open(cart) === 0, "its end");
    const { trust } = cart.node.context;
    trust.setRoots(lab.authority.rootsPem);
    await lab.run(100);
    expect([tunnels(), peers[0]?.gone]).toEqual([1, false]);
    await anotherRoot(cart);
    await lab.until(() => peers[0]?.gone === true, "the cut", 1_000);
    expect([tunnels(), cart.node.tunnel.poolEntries]).toEqual([0, 0]);
  });

  test("a renewed SVID: an idle tunnel of the old one ends at once, a used one with its last stream, and new calls are of the new one", async () => {
    const peers = await listen();
    const { secrets } = cart.node.context;
    const idle = await call();
    await lab.until(() => streams.length === 1, "the first call");
    idle.socket.reset();
    await lab.until(() => open(cart) === 0, "its end");
    const renew = async () => {
      // One that has just come is not renewed at once.
      await lab.run(60_000);
      const before = secrets.current(shopId("cart"));
      secrets.renewAll("a test");
      await lab.until(() => secrets.current(shopId("cart")) !== before, "the new SVID");
      await lab.run(100);
    };
    await renew();
    expect([peers.length, peers[0]?.gone, tunnels()]).toEqual([1, true, 0]);
    const used = await call();
    await lab.until(() => streams.length === 2, "the second call");
    await renew();
    expect([peers[1]?.gone, used.closes]).toEqual([false, 0]);
    await call();
    await lab.until(() => streams.length === 3 && peers.length === 3, "the third, over a tunnel of its own");
    expect(tunnels()).toBe(2);
    used.socket.reset();
    await lab.until(() => peers[1]?.gone === true, "the end of the old one", proxyLimits.poolUnusedMs);
    expect([tunnels(), peers[2]?.gone]).toEqual([1, false]);
  });

  test("a node that stops opens no further tunnel, and says so", async () => {
    await listen();
    const client = await call();
    await lab.until(() => streams.length === 1, "the call");
    const drained = cart.node.drain();
    await lab.run(50);
    expect(client.closes).toBe(0);
    client.socket.reset();
    await lab.world.settle(drained);
    expect([tunnels(), cart.node.tunnel.poolEntries]).toEqual([0, 0]);
  });
});

test("a waypoint's caller that is not believed any more, and was not told of yet, has no connection through it", async () => {
  const { lab, waypoint, web, call } = await waypointLab(webService("TCP"));
  const first = await call();
  first.socket.write(new TextEncoder().encode("one"));
  await lab.until(() => web.node.context.connections.size === 1, "the first");
  distrust(waypoint.node.context.trust);
  const second = await call();
  second.socket.write(new TextEncoder().encode("two"));
  await lab.until(() => second.closes === 1, "the refusal");
  expect([first.closes, codes(waypoint), web.node.context.connections.size]).toEqual([
    0,
    ["certificate_revoked"],
    1,
  ]);
});
