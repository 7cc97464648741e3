import { beforeEach, expect, test } from "bun:test";
import { serveAdministration } from "../../src/app/node/administration.ts";
import { formatSocketAddress, type SocketAddress } from "../../src/base/ip.ts";
import { LogWriter } from "../../src/host/log_writer.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import { PassthroughFlow } from "../../src/proxy/passthrough.ts";
import { at, FlowLab, type LabNode, labConfig, serviceEntry, shopId, workloadEntry } from "./lab.ts";
import { HbonePeer, svidOf } from "./peer.ts";

const noActions = {
  drain: () => {},
  upgrades: {
    status: async () => ({ version: "1", pid: 1, executable: null, step: null }),
    run: () => Promise.reject(new Error("no upgrade is asked for")),
  },
};

const mesh =
  workloadEntry("cart", "10.0.0.1") +
  workloadEntry("db", "10.0.0.2") +
  serviceEntry("cart", "10.88.0.1", 8080, 8080) +
  serviceEntry("db", "10.88.0.2", 5432, 15432);

/** Every way in that a node can be told to open, each at an address that an inbound call can be for. */
const everything = {
  localPorts: "10.0.0.2:8080=cart.shop:8080",
  socks5: "10.0.0.2:1080",
  httpConnect: "10.0.0.2:3128",
  admin: "0.0.0.0:15000",
  metrics: "10.0.0.2:15020",
  readiness: "[::]:15021",
} as const;

let lab: FlowLab;
let db: LabNode;
let host: MemoryHost;
let peer: HbonePeer;

beforeEach(async () => {
  lab = await FlowLab.create();
  db = await lab.node("two", ["10.0.0.2"], mesh, everything);
  host = lab.world.machine("peer", { addresses: ["10.0.0.1"] }).start();
  peer = await HbonePeer.dial(lab, host, "10.0.0.2:15008", await svidOf(lab, host, shopId("cart")));
});

/** The listeners of the whole node as `10.0.0.2:PORT`; the test serves administration. */
async function opened(): Promise<readonly string[]> {
  const administration: SocketAddress[] = [];
  const serving = serveAdministration(
    db.host,
    db.node,
    labConfig(everything),
    new LogWriter(db.host.clock, () => true, "json", "info"),
    {
      // Something listens there: a call that got through would be seen.
      serve: (address) => {
        if (address === null) return null;
        const listener = db.host.net.listen({ address }, () => {});
        administration.push(listener.address);
        return listener.address;
      },
      onClose: () => {},
    },
    noActions,
  );
  await lab.world.settle(serving);
  const ports = [...db.node.tunnel.listeners.addresses, ...administration].map(({ port }) => port);
  return ports.map((port) => `10.0.0.2:${port}`);
}

test("no listener of this process is a target of a CONNECT, whatever opened it", async () => {
  const targets = await opened();
  expect(targets.length).toBe(7);
  const calls = targets.map((target) => peer.connect(target));
  await lab.until(() => calls.every(({ log }) => log.status !== null), "the answers");
  expect(calls.map(({ log }) => log.status)).toEqual(targets.map(() => "503"));
  const errors = db.access().map((line) => String(line.error).split(":")[0]);
  expect(errors).toEqual(targets.map(() => "self_call"));
});

test("nor of captured plain TCP", async () => {
  const targets = await opened();
  const flow = new PassthroughFlow(db.node.context);
  for (const target of targets) {
    const front = db.host.net.listen(
      { address: at("10.0.0.2:0") },
      (socket) => void flow.carry(socket, at(target)),
    );
    const client = await lab.connect(host, formatSocketAddress(front.address));
    await lab.until(() => client.closes === 1, target);
    front.close();
  }
  const errors = db.access().map((line) => String(line.error).split(":")[0]);
  expect(errors).toEqual(targets.map(() => "self_call"));
});

test("nor of an application tunnel or a mapped application that leads to one", async () => {
  lab = await FlowLab.create(2);
  const annotated = mesh.replace(
    /(name: db\n {2}namespace: shop\n {2}labels: \{app: db\}\n {2}annotations: \{ambient.istio.io\/redirection: enabled)/,
    "$1, ambient.istio.io/waypoint-inbound-binding: PROXY/1080",
  );
  db = await lab.node("two", ["10.0.0.2"], annotated, {
    socks5: "127.0.0.1:1080",
    applications: "10.0.0.2:7000=127.0.0.1:1080",
  });
  host = lab.world.machine("peer", { addresses: ["10.0.0.1"] }).start();
  peer = await HbonePeer.dial(lab, host, "10.0.0.2:15008", await svidOf(lab, host, shopId("cart")));
  const calls = [peer.connect("10.0.0.2:15432"), peer.connect("10.0.0.2:7000")];
  await lab.until(() => calls.every(({ log }) => log.status !== null), "the answers");
  expect(calls.map(({ log }) => log.status)).toEqual(["503", "503"]);
  expect(db.access().map((line) => String(line.error).split(":")[0])).toEqual(["self_call", "self_call"]);
});

test("an application at the same port of another address is reached", async () => {
  lab = await FlowLab.create(3);
  db = await lab.node("two", ["10.0.0.2"], mesh, { socks5: "127.0.0.1:15432" });
  const served = lab.application(db.host, "10.0.0.2:15432");
  host = lab.world.machine("peer", { addresses: ["10.0.0.1"] }).start();
  peer = await HbonePeer.dial(lab, host, "10.0.0.2:15008", await svidOf(lab, host, shopId("cart")));
  const { log } = peer.connect("db.shop:5432");
  await lab.until(() => log.status !== null, "the answer");
  expect([log.status, served.length]).toEqual(["200", 1]);
});

test("a local client cannot have an entry call another entry of ours", async () => {
  const client = await lab.connect(db.host, "10.0.0.2:3128");
  client.socket.write(new TextEncoder().encode("CONNECT 10.0.0.2:1080 HTTP/1.1\r\nHost: x\r\n\r\n"));
  await lab.until(() => client.text.includes("\r\n"), "the answer");
  expect(client.text.split("\r\n")[0]).toContain("403");
});
