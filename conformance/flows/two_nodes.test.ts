import { describe, expect, test } from "bun:test";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import { allowOnly, FlowLab, type LabNode, serviceEntry, strictMutualTls, workloadEntry } from "./lab.ts";

const mesh =
  workloadEntry("cart", "10.0.0.1") +
  workloadEntry("db", "10.0.0.2") +
  serviceEntry("db", "10.88.0.2", 5432, 15432);
const bytes = (text: string) => new TextEncoder().encode(text);

interface Shop {
  readonly lab: FlowLab;
  readonly cart: LabNode;
  readonly db: LabNode;
  readonly served: readonly Recorder[];
  /** A client of cart, through the local port that leads to the service db. */
  call(): Promise<Recorder>;
}

async function shop(
  settings: Parameters<FlowLab["node"]>[3] = {},
  onAccept?: (peer: Recorder) => void,
): Promise<Shop> {
  const lab = await FlowLab.create();
  const cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=db.shop:5432" });
  const db = await lab.node("two", ["10.0.0.2"], mesh, settings);
  const served = lab.application(db.host, "10.0.0.2:15432", onAccept);
  return { lab, cart, db, served, call: () => lab.connect(cart.host, "10.0.0.1:8080") };
}

/** What is said of a connection besides addresses and times. */
function said(line: Readonly<Record<string, string | number>> | undefined) {
  if (line === undefined) return null;
  const { direction, error } = line;
  return { direction, source: line["src.identity"], destination: line["dst.identity"], error };
}

const cartId = "spiffe://cluster.local/ns/shop/sa/cart";
const dbId = "spiffe://cluster.local/ns/shop/sa/db";

describe("two nodes", () => {
  test("a client reaches the application over HBONE; both records name both identities", async () => {
    const { lab, cart, db, served, call } = await shop();
    const client = await call();
    client.socket.write(bytes("ping"));
    await lab.until(() => served[0]?.text === "ping", "the application");
    served[0]?.socket.write(bytes("pong"));
    served[0]?.socket.end();
    await lab.until(() => client.ends === 1, "the client's end");
    expect(client.text).toBe("pong");
    client.socket.end();
    await lab.until(() => client.closes === 1 && served[0]?.closes === 1, "the close");
    expect(cart.access().map(said)).toEqual([
      { direction: "outbound", source: cartId, destination: dbId, error: undefined },
    ]);
    expect(db.access().map(said)).toEqual([
      { direction: "inbound", source: cartId, destination: dbId, error: undefined },
    ]);
    const [line] = db.access();
    expect(String(line?.["tls.suite"])).toStartWith("TLS_AES_");
    expect([line?.["dst.addr"], line?.["dst.hbone_addr"], line?.bytes_recv, line?.bytes_sent]).toEqual([
      "10.0.0.2:15008",
      "10.0.0.2:15432",
      4,
      4,
    ]);
  });

  test("an application that answers and closes with unread input has answered, through every end on the way", async () => {
    const { lab, cart, db, call } = await shop({}, (peer) => {
      peer.socket.pause();
      peer.socket.write(bytes("413 too large"));
      peer.socket.resetAfterSent();
    });
    const upload = new Uint8Array(64 * 1024);
    for (let round = 0; round < 40; round++) {
      const client = await call();
      for (let index = 0; index < 20 && client.closes === 0; index++) {
        client.socket.write(upload);
        await lab.run(0.5);
      }
      await lab.until(() => client.closes === 1, "the close");
      expect([client.text, client.ends, client.error?.code]).toEqual([
        "413 too large",
        0,
        "connection_reset",
      ]);
    }
    expect(
      new Set([...cart.access(), ...db.access()].map((line) => String(line.error).split(":")[0])),
    ).toEqual(new Set(["h2_reset", "connection_reset"]));
  });

  test("many connections share one tunnel", async () => {
    const { lab, cart, served, call } = await shop();
    for (let index = 0; index < 20; index++) await call();
    await lab.until(() => served.length === 20, "twenty connections");
    expect(cart.node.tunnel.tunnelCount).toEqual({ inbound: 0, outbound: 1 });
  });

  test("the hundred and first goes over a second tunnel, and an unused one is closed after five minutes", async () => {
    const { lab, cart, served, call } = await shop();
    const clients: Recorder[] = [];
    for (let index = 0; index < 101; index++) clients.push(await call());
    await lab.until(() => served.length === 101, "101 connections");
    expect(cart.node.tunnel.tunnelCount.outbound).toBe(2);
    for (const client of clients) client.socket.reset();
    await lab.run(4 * 60_000);
    expect(cart.node.tunnel.tunnelCount.outbound).toBe(2);
    await lab.run(3 * 60_000);
    expect(cart.node.tunnel.tunnelCount.outbound).toBe(0);
  });

  test("an application that refuses: the client's connection is reset, and both sides say why", async () => {
    const lab = await FlowLab.create();
    const cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=db.shop:5432" });
    const db = await lab.node("two", ["10.0.0.2"], mesh);
    const client = await lab.connect(cart.host, "10.0.0.1:8080");
    await lab.until(() => client.closes === 1, "the close");
    expect(client.error?.code).toBe("connection_reset");
    await lab.run(100);
    expect(said(cart.access()[0])?.error).toContain("hbone_status: the tunnel answered 503");
    expect(said(db.access()[0])?.error).toContain("connect_refused");
    expect([cart.access().length, db.access().length]).toEqual([1, 1]);
  });

  test("an application that resets: the client sees a reset, not an end", async () => {
    const { lab, db, call } = await shop({}, (peer) => {
      peer.socket.write(bytes("half"));
      peer.socket.reset();
    });
    const client = await call();
    await lab.until(() => client.closes === 1, "the close");
    expect([client.ends, client.error?.code]).toEqual([0, "connection_reset"]);
    await lab.run(100);
    expect(db.access().length).toBe(1);
  });

  test("a slow reader holds the sender back, end to end, and gets everything in the end", async () => {
    const { lab, served, call } = await shop();
    const client = await call();
    await lab.until(() => served.length === 1, "the connection");
    served[0]?.socket.pause();
    const chunk = new Uint8Array(256 * 1024).fill(7);
    let sent = 0;
    for (let tries = 0; tries < 400; tries++) {
      sent += client.socket.write(chunk);
      await lab.run(2);
    }
    // Kernel buffers on the way, two stream windows' worth and the high-water marks; far below the 100 MiB that were offered.
    expect(sent).toBeLessThan(16 * 1024 * 1024);
    served[0]?.socket.resume();
    client.socket.end();
    await lab.until(() => served[0]?.ends === 1, "the end");
    expect(served[0]?.byteCount).toBe(sent);
  });
});

describe("policy", () => {
  test("a caller that is not listed gets 401; the record names policy and line", async () => {
    const { lab, db, cart, call } = await shop();
    await db.documents("policy.yaml", allowOnly("db", "frontend"));
    const client = await call();
    await lab.until(() => client.closes === 1, "the close");
    await lab.run(100);
    expect(said(cart.access()[0])?.error).toContain("401");
    expect(said(db.access()[0])).toEqual({
      direction: "inbound",
      source: cartId,
      destination: dbId,
      error: expect.stringMatching(
        /^policy_denied: not allowed by any rule of shop\/db-callers \(\/mesh\/policy\.yaml:\d+:\d+\)$/,
      ),
    });
  });

  test("an open connection is cut in under a second when policy changes, with its own reason", async () => {
    const { lab, db, served, call } = await shop();
    const client = await call();
    await lab.until(() => served.length === 1, "the connection");
    await db.documents("policy.yaml", allowOnly("db", "frontend"));
    const changedAt = lab.world.nowMs;
    await lab.until(() => client.closes === 1 && served[0]?.closes === 1, "the cut", 1_000);
    expect(lab.world.nowMs - changedAt).toBeLessThan(1_000);
    expect(said(db.access()[0])?.error).toContain(
      "policy_changed: closed by a policy change: not allowed by any rule of shop/db-callers",
    );
    expect([db.access().length, client.error?.code]).toEqual([1, "connection_reset"]);
  });

  test("STRICT: plain text is refused without a byte, HBONE goes on", async () => {
    const lab = await FlowLab.create();
    const cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=db.shop:5432" });
    // The node fronts the application: what comes in the clear to the workload's address is decided by policy too.
    const db = await lab.node("two", ["10.0.0.2", "10.9.0.2"], mesh, {
      applications: "10.0.0.2:15432=10.9.0.2:15432",
    });
    const served = lab.application(db.host, "10.9.0.2:15432");
    const outsider = lab.world.machine("outsider", { addresses: ["10.0.0.9"] }).start();
    const before = await lab.connect(outsider, "10.0.0.2:15432");
    await lab.until(() => served.length === 1, "plain text while it is permitted");
    await db.documents("strict.yaml", strictMutualTls);
    await lab.until(() => before.closes === 1, "the cut of what was open in the clear");
    const after = await lab.connect(outsider, "10.0.0.2:15432");
    await lab.until(() => after.closes === 1, "the refusal");
    expect([after.byteCount, served.length]).toEqual([0, 1]);
    await lab.connect(cart.host, "10.0.0.1:8080");
    await lab.until(() => served.length === 2, "HBONE");
    expect(db.access().map((line) => said(line)?.error)).toEqual([
      expect.stringContaining("policy_changed"),
      expect.stringContaining(
        "denied by istio-system/istio_converted_static_strict rule 0 (/mesh/strict.yaml",
      ),
    ]);
  });
});

describe("life cycle", () => {
  test("drain: open connections finish, new ones are not taken, nothing is left", async () => {
    const { lab, db, served, call } = await shop();
    const client = await call();
    await lab.until(() => served.length === 1, "the connection");
    const drained = db.node.drain();
    await lab.run(500);
    client.socket.write(bytes("still"));
    await lab.until(() => served[0]?.text === "still", "data during the drain");
    const late = await call();
    await lab.until(() => late.closes === 1, "the refusal of a new connection");
    served[0]?.socket.end();
    client.socket.end();
    await lab.world.settle(drained);
    expect(db.access().at(-1)?.error).toBeUndefined();
    expect(db.node.context.connections.size).toBe(0);
  });

  test("drain: at the deadline the rest is cut, and says so", async () => {
    const { lab, db, served, call } = await shop({ drainDeadline: "3s" });
    const client = await call();
    await lab.until(() => served.length === 1, "the connection");
    const startedAt = lab.world.nowMs;
    await lab.world.settle(db.node.drain());
    expect(lab.world.nowMs - startedAt).toBeGreaterThanOrEqual(3_000);
    expect(lab.world.nowMs - startedAt).toBeLessThan(3_500);
    await lab.until(() => client.closes === 1, "the cut");
    expect(db.access().map((line) => line.error)).toEqual(["draining: cut at the end of the drain"]);
    await lab.run(100);
    // The application that the test plays holds its listener; the node holds nothing.
    expect(db.host.openDescriptors).toBe(1);
  });
});
