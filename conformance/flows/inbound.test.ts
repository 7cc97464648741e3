import { beforeEach, describe, expect, test } from "bun:test";
import { doorLimits } from "../../src/base/limits/door.ts";
import { policyLimits } from "../../src/base/limits/policy.ts";
import { proxyLimits } from "../../src/base/limits/proxy.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import type { Svid } from "../../src/pki/svid/svid.ts";
import { at, FlowLab, isIpv6, type LabNode, serviceEntry, shopId, workloadEntry } from "./lab.ts";
import { HbonePeer, svidOf, tlsWith } from "./peer.ts";

const mesh =
  workloadEntry("cart", "10.0.0.1") +
  workloadEntry("db", "10.0.0.2") +
  serviceEntry("db", "10.88.0.2", 5432, 15432);
const bytes = (text: string) => new TextEncoder().encode(text);

let lab: FlowLab;
let db: LabNode;
let host: MemoryHost;
let svid: Svid;
let served: readonly Recorder[];

beforeEach(async () => {
  lab = await FlowLab.create();
  db = await lab.node("two", ["10.0.0.2"], mesh);
  served = lab.application(db.host, "10.0.0.2:15432");
  host = lab.world.machine("peer", { addresses: ["10.0.0.1"] }).start();
  svid = await svidOf(lab, host, shopId("cart"));
});

const dial = () => HbonePeer.dial(lab, host, "10.0.0.2:15008", svid);

describe("an HBONE server answers as ztunnel does", () => {
  test("200 only when the application is connected, with our baggage; half-close each way", async () => {
    const peer = await dial();
    const { stream, log } = peer.connect("10.0.0.2:15432");
    await lab.until(() => log.status !== null, "the answer");
    expect([log.status, served.length]).toEqual(["200", 1]);
    expect(log.headers.join(" ")).toContain("k8s.namespace.name=shop");
    stream.sendData(bytes("question"), true);
    await lab.until(() => served[0]?.ends === 1, "the end");
    served[0]?.socket.write(bytes("answer"));
    served[0]?.socket.end();
    await lab.until(() => log.closed, "the end of the stream");
    expect([served[0]?.text, log.text]).toEqual(["question", "answer"]);
  });

  test("data that comes before the answer reaches the application", async () => {
    const peer = await dial();
    const { stream } = peer.connect("10.0.0.2:15432");
    stream.sendData(bytes("early "), false);
    stream.sendData(bytes("bird"), true);
    await lab.until(() => served[0]?.ends === 1, "the data");
    expect(served[0]?.text).toBe("early bird");
  });

  test("400: no CONNECT, an authority that is none, an address that is not ours", async () => {
    const peer = await dial();
    const wrong = [
      peer.request([":method", "GET", ":scheme", "http", ":authority", "10.0.0.2:15432", ":path", "/"]),
      peer.connect("10.0.0.2"),
      peer.connect("10.0.0.2:99999"),
      peer.connect("10.0.0.77:15432"),
    ];
    await lab.until(() => wrong.every(({ log }) => log.status !== null), "the answers");
    expect(wrong.map(({ log }) => log.status)).toEqual(["400", "400", "400", "400"]);
    expect([served.length, db.access().length]).toEqual([0, 4]);
    expect(db.access().every((line) => line.message === "connection failed")).toBe(true);
  });

  test("503: our own ports, an unknown host name, an application that does not listen", async () => {
    const peer = await dial();
    const wrong = ["10.0.0.2:15001", "10.0.0.2:15006", "10.0.0.2:15008", "nobody.shop:80", "10.0.0.2:9"].map(
      (authority) => peer.connect(authority),
    );
    await lab.until(() => wrong.every(({ log }) => log.status !== null), "the answers");
    expect(wrong.map(({ log }) => log.status)).toEqual(["503", "503", "503", "503", "503"]);
  });

  test("a service's name and port lead to its target port", async () => {
    const peer = await dial();
    const { log } = peer.connect("db.shop:5432");
    await lab.until(() => log.status !== null, "the answer");
    expect([log.status, served.length]).toEqual(["200", 1]);
  });

  test("a caller that leaves before its answer costs nothing and is recorded once", async () => {
    const peer = await dial();
    const { stream } = peer.connect("10.0.0.2:15432");
    stream.reset(8);
    await lab.run(1_000);
    expect([db.node.context.connections.size, db.access().length]).toEqual([0, 1]);
  });

  test("the application's PROXY header comes first and names caller, destination and identity", async () => {
    lab = await FlowLab.create(2);
    const sandwich = mesh.replace(
      /(name: db\n {2}namespace: shop\n {2}labels: \{app: db\}\n {2}annotations: \{ambient.istio.io\/redirection: enabled)/,
      "$1, ambient.istio.io/waypoint-inbound-binding: PROXY/15088",
    );
    db = await lab.node("two", ["10.0.0.2"], sandwich);
    const proxied = lab.application(db.host, "127.0.0.1:15088");
    host = lab.world.machine("peer", { addresses: ["10.0.0.1"] }).start();
    const peer = await HbonePeer.dial(lab, host, "10.0.0.2:15008", await svidOf(lab, host, shopId("cart")));
    const { stream, log } = peer.connect("10.0.0.2:15432");
    stream.sendData(bytes("payload"), false);
    await lab.until(() => proxied[0]?.text.endsWith("payload") === true, "the payload");
    await lab.until(() => log.status === "200", "the answer");
    const head = Buffer.from(proxied[0]?.bytes ?? []).toString("hex");
    expect(head.startsWith(`0d0a0d0a000d0a515549540a21${isIpv6 ? "21" : "11"}`)).toBe(true);
    expect(proxied[0]?.text).toContain("spiffe://cluster.local/ns/shop/sa/cartpayload");
  });
});

describe("bounds of an HBONE server", () => {
  test("a peer that leaves while it is verified leaves nothing behind, and a drain does not wait for it", async () => {
    const { net } = db.node.context;
    const tlsServer = net.tlsServer.bind(net);
    // The host tells of an end as soon as there is a handler to tell, in a microtask.
    net.tlsServer = async (socket, options) => {
      const tls = await tlsServer(socket, options);
      tls.setHandler = (handler) => queueMicrotask(() => handler.onClose(null));
      return tls;
    };
    for (let index = 0; index < 3; index++) await dial();
    await lab.run(1_000);
    expect([db.node.tunnel.tunnelCount.inbound, db.access()]).toEqual([0, []]);
    const from = lab.world.nowMs;
    await lab.world.settle(db.node.drain());
    expect(lab.world.nowMs - from).toBeLessThan(500);
  });

  test("a connection for an address that no workload has is closed after a bounded wait, and recorded", async () => {
    const wildcard = await lab.node("three", ["10.0.0.3"], mesh, { bindInbound: "wildcard" });
    const client = await lab.connect(host, "10.0.0.3:15008");
    const from = lab.world.nowMs;
    await lab.until(() => client.closes === 1, "the close");
    expect(lab.world.nowMs - from).toBeGreaterThanOrEqual(proxyLimits.workloadWaitMs - 5);
    expect(lab.world.nowMs - from).toBeLessThan(proxyLimits.workloadWaitMs + 100);
    expect(wildcard.access().map((line) => String(line.error).split(":")[0])).toEqual(["unknown_workload"]);
  });

  test("a policy that the workload names and that is not here: a bounded wait, then 401 — or without it, where the operator says so", async () => {
    for (const missingPolicy of ["deny", "skip"] as const) {
      lab = await FlowLab.create();
      db = await lab.node("two", ["10.0.0.2"], mesh, { missingPolicy });
      served = lab.application(db.host, "10.0.0.2:15432");
      host = lab.world.machine("peer", { addresses: ["10.0.0.1"] }).start();
      svid = await svidOf(lab, host, shopId("cart"));
      const { store } = db.node.context;
      const [workload] = [...store.workloads()].filter((one) => one.name === "db");
      if (workload === undefined) throw new Error("no db");
      store.apply({ workloads: { upsert: [{ ...workload, authorizationPolicies: ["shop/not-here"] }] } });
      const peer = await dial();
      const from = lab.world.nowMs;
      const { log } = peer.connect("10.0.0.2:15432");
      await lab.until(() => log.status !== null, "the answer");
      expect(lab.world.nowMs - from).toBeGreaterThanOrEqual(
        missingPolicy === "deny" ? proxyLimits.policyWaitMs : 0,
      );
      expect([log.status, served.length]).toEqual(missingPolicy === "deny" ? ["401", 0] : ["200", 1]);
      if (missingPolicy === "deny")
        expect(String(db.access().at(-1)?.error)).toContain("policy_missing: policy shop/not-here");
    }
  });

  test("one source may hold so many tunnels and no more; a place that becomes free is given again", async () => {
    const peers: HbonePeer[] = [];
    for (let index = 0; index < proxyLimits.maxTunnelsPerSource; index++) peers.push(await dial());
    const refused = await lab.connect(host, "10.0.0.2:15008");
    await lab.until(() => refused.closes === 1, "the refusal", 200);
    expect(String(db.access().at(-1)?.error)).toContain("limit_reached");
    peers[0]?.connection.goAway(0);
    await lab.run(100);
    const { log } = (await dial()).connect("10.0.0.2:15432");
    await lab.until(() => log.status === "200", "one more connection");
  }, 300_000);

  test("silent sockets keep no caller out, from one address or from many: the oldest make room", async () => {
    const known = await dial();
    const silent: Recorder[] = [];
    const open = async (from: typeof host) => {
      silent.push(await lab.connect(from, "10.0.0.2:15008"));
      if (silent.length % 100 === 0) await lab.run(doorLimits.graceMs);
    };
    for (let index = 0; index < 4 * doorLimits.maxUnprovenPerAddress; index++) await open(host);
    const others = Array.from({ length: 20 }, (_none, index) =>
      lab.world.machine(`silent ${index}`, { addresses: [`10.7.${index}.9`] }).start(),
    );
    for (const other of others)
      for (let index = 0; index < doorLimits.maxUnprovenPerAddress; index++) await open(other);
    await lab.run(doorLimits.graceMs);
    expect(silent.filter(({ closes }) => closes === 0).length).toBeLessThanOrEqual(doorLimits.maxUnproven);
    for (const peer of [known, await dial()]) {
      const { log } = peer.connect("10.0.0.2:15432");
      await lab.until(() => log.status === "200", "a connection beside silent sockets");
    }
  }, 300_000);

  test("a handshake that does not end is ended", async () => {
    const silent = await lab.connect(host, "10.0.0.2:15008");
    const from = lab.world.nowMs;
    await lab.until(() => silent.ends === 1, "the end", 20_000);
    expect(lab.world.nowMs - from).toBeGreaterThan(proxyLimits.handshakeTimeoutMs - 100);
    await lab.run(10);
    expect(db.access().length).toBe(1);
  });
});

describe("trust", () => {
  test("a certificate of another CA is refused before a byte, and recorded once, two hundred times", async () => {
    const foreign = await FlowLab.create(9);
    const stranger = foreign.world.machine("stranger", { addresses: ["10.9.9.9"] }).start();
    const forged = await svidOf(foreign, stranger, shopId("cart"));
    for (let index = 0; index < 200; index++) {
      const socket = await lab.world.settle(host.net.connect({ to: at("10.0.0.2:15008"), timeoutMs: 5_000 }));
      const tls = await lab.world.settle(host.net.tlsClient(socket, tlsWith(lab, forged)).catch(() => null));
      tls?.setHandler({ onData: () => {}, onDrain: () => {}, onEnd: () => {}, onClose: () => {} });
      await lab.run(20);
    }
    expect([served.length, db.node.tunnel.tunnelCount.inbound]).toEqual([0, 0]);
    expect(db.access().length).toBe(200);
    expect(db.access().every((line) => String(line.error).startsWith("certificate_untrusted"))).toBe(true);
  });

  test("a root that is taken away cuts what rests on it, with its own reason", async () => {
    const peer = await dial();
    const { log } = peer.connect("10.0.0.2:15432");
    await lab.until(() => log.status === "200", "the connection");
    const other = await FlowLab.create(10);
    db.node.context.trust.setRoots(other.authority.rootsPem, "signer");
    db.node.context.trust.setRoots(other.authority.rootsPem);
    await lab.until(() => peer.gone && served[0]?.closes === 1, "the cut", 1_000);
    expect(db.access().map((line) => String(line.error).split(":")[0])).toEqual(["certificate_untrusted"]);
  });
});

describe("drain", () => {
  test("a renewed SVID ends the tunnels of the old one with their last stream; what is open goes on", async () => {
    const peer = await dial();
    const open = peer.connect("10.0.0.2:15432");
    await lab.until(() => open.log.status === "200", "the answer");
    db.node.context.secrets.renewAll("a test");
    await lab.until(() => peer.goAways === 2, "both GOAWAYs");
    expect(peer.gone).toBe(false);
    open.stream.sendData(bytes("still here"), true);
    await lab.until(() => served[0]?.ends === 1, "the data");
    expect(served[0]?.text).toBe("still here");
    served[0]?.socket.end();
    await lab.until(() => peer.gone, "the end of the tunnel");
  });

  test("GOAWAY in two steps: the first does not refuse streams that are on their way", async () => {
    const peer = await dial();
    const { log } = peer.connect("10.0.0.2:15432");
    await lab.until(() => log.status === "200", "the connection");
    const drained = db.node.drain();
    const crossing = peer.connect("10.0.0.2:15432");
    await lab.until(() => peer.goAways === 2 && crossing.log.status !== null, "both GOAWAYs and the answer");
    expect(crossing.log.status).toBe("200");
    await lab.world.settle(drained);
    await lab.until(() => peer.gone, "the end of the tunnel", 100);
  });
});

describe("policies that are too many to be compiled in one turn", () => {
  const many = (name: string, ...callers: readonly string[]) =>
    Array.from(
      { length: policyLimits.maxValuesAtOnce / 2 + 1 },
      (_, at) =>
        `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}-${at}, namespace: shop}
spec: {rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/${callers[at] ?? `${name}-${at}`}]}}]}]}
`,
    ).join("---\n");

  test("decide the first connection and each after it, and cut one that they leave out", async () => {
    await db.documents("many.yaml", many("first", "cart"));
    const peer = await dial();
    const { log } = peer.connect("10.0.0.2:15432");
    await lab.until(() => log.status !== null, "the answer");
    expect([log.status, served.length]).toEqual(["200", 1]);
    await db.documents("many.yaml", many("second", "web"));
    await lab.run(1_000);
    const after = peer.connect("10.0.0.2:15432");
    await lab.until(() => after.log.status !== null && log.resetCode !== null, "the answer, and the end");
    expect([after.log.status, served.length]).toEqual(["401", 1]);
    const ends = db.access().map(({ error }) => `${error}`.replace(/:.*/, ""));
    expect(ends.toSorted()).toEqual(["policy_changed", "policy_denied"]);
  }, 60_000);
});
