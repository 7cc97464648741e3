/** Calls by names that the mesh does not know, as `ALL_PROXY=socks5h://` makes them. */
import { beforeEach, expect, test } from "bun:test";
import { proxyLimits } from "../../src/base/limits/proxy.ts";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import { FlowLab, type LabNode, serviceEntry, shopId, withPort, workloadEntry } from "./lab.ts";
import { HbonePeer, svidOf } from "./peer.ts";

const mesh =
  workloadEntry("cart", "10.0.0.1") +
  workloadEntry("db", "10.0.0.2") +
  serviceEntry("db", "10.88.0.2", 5432, 15432);

let lab: FlowLab;
let cart: LabNode;

beforeEach(async () => {
  lab = await FlowLab.create();
  cart = await lab.node("one", ["10.0.0.1", "fd00::1"], mesh, {
    socks5: "10.0.0.1:1080",
    httpConnect: "10.0.0.1:3128",
  });
});

/** A SOCKS5 client that asks for `name` at port 80. */
async function ask(name: string): Promise<Recorder> {
  const client = await lab.connect(cart.host, "10.0.0.1:1080");
  const host = new TextEncoder().encode(name);
  client.socket.write(Uint8Array.from([5, 1, 0, 5, 1, 0, 3, host.length, ...host, 0, 80]));
  return client;
}

/** The reply of the request, after that of the method. */
async function reply(client: Recorder): Promise<number | undefined> {
  await lab.until(() => client.byteCount >= 4, "the reply");
  return client.bytes[3];
}

function outside(...addresses: readonly string[]): readonly Recorder[] {
  const host = lab.world.machine(`outside ${addresses}`, { addresses }).start();
  const [address] = addresses;
  return lab.application(host, withPort(address ?? "", 80));
}

test("a name outside the mesh is reached as its address is, and the record says which", async () => {
  const served = outside("192.0.2.9");
  lab.world.setName("web.example", ["192.0.2.9"]);
  const client = await ask("web.example");
  expect(await reply(client)).toBe(0);
  await lab.until(() => served.length === 1, "the application");
  client.socket.reset();
  await lab.until(() => cart.access().length === 1, "the record");
  expect(cart.access()[0]?.["dst.addr"]).toBe("192.0.2.9:80");
});

test("a name whose address is a workload's goes through the mesh", async () => {
  const server = lab.world.machine("server", { addresses: ["10.0.0.2"] }).start();
  const seen: string[] = [];
  await HbonePeer.listen(
    lab,
    server,
    "10.0.0.2:15008",
    await svidOf(lab, server, shopId("db")),
    (stream, headers) => {
      seen.push(String(headers[3]));
      stream.sendHeaders([":status", "200"], false);
    },
  );
  lab.world.setName("db.corp.example", ["192.0.2.9", "10.0.0.2"]);
  const client = await ask("db.corp.example");
  expect(await reply(client)).toBe(0);
  expect(seen).toEqual(["10.0.0.2:80"]);
  client.socket.reset();
  await lab.until(() => cart.access().length === 1, "the record");
  expect(cart.access()[0]?.["dst.identity"]).toBe("spiffe://cluster.local/ns/shop/sa/db");
});

test("of A and AAAA with one dead, every call comes through in a moment", async () => {
  const served = outside("192.0.2.9");
  lab.world.setName("web.example", ["2001:db8::9", "192.0.2.9"]);
  for (let call = 1; call <= 12; call++) {
    const from = lab.world.nowMs;
    const client = await ask("web.example");
    expect(await reply(client)).toBe(0);
    expect(lab.world.nowMs - from).toBeLessThan(2 * proxyLimits.attemptDelayMs);
    await lab.run(1);
    expect(served.length).toBe(call);
  }
});

test("a workload that is known by name and has one dead address is reached over the other", async () => {
  const named = mesh.replace("address: 10.0.0.2", "address: db.internal");
  cart = await lab.node("two", ["10.0.0.3"], named.replace("10.0.0.1", "10.0.0.3"), {
    localPorts: "10.0.0.3:8080=db.shop:5432",
  });
  const server = lab.world.machine("server", { addresses: ["10.0.0.2"] }).start();
  const peers = await HbonePeer.listen(
    lab,
    server,
    "10.0.0.2:15008",
    await svidOf(lab, server, shopId("db")),
    (stream) => stream.sendHeaders([":status", "200"], false),
  );
  lab.world.setName("db.internal", ["10.0.0.77", "10.0.0.2"]);
  await lab.connect(cart.host, "10.0.0.3:8080");
  await lab.until(() => peers.length === 1, "the tunnel", 2_000);
});

test("a name that does not resolve is told and recorded; one that leads to ourselves is refused", async () => {
  expect(await reply(await ask("nowhere.example"))).toBe(4);
  const proxy = await lab.connect(cart.host, "10.0.0.1:3128");
  proxy.socket.write(new TextEncoder().encode("CONNECT nowhere.example:80 HTTP/1.1\r\nHost: x\r\n\r\n"));
  await lab.until(() => proxy.text.includes("\r\n"), "the answer");
  expect(proxy.text).toContain(
    "name_not_found: no service of the mesh has the name nowhere.example, and it does not resolve: nowhere.example: no such name",
  );
  lab.world.setName("self.example", ["10.0.0.1"]);
  const self = await lab.connect(cart.host, "10.0.0.1:3128");
  self.socket.write(new TextEncoder().encode("CONNECT self.example:1080 HTTP/1.1\r\nHost: x\r\n\r\n"));
  await lab.until(() => self.text.includes("\r\n"), "the answer");
  expect(self.text).toStartWith("HTTP/1.1 403");
  const codes = cart.access().map((line) => [line["dst.addr"], String(line.error).split(":")[0]]);
  expect(codes).toEqual([
    ["nowhere.example:80", "name_not_found"],
    ["nowhere.example:80", "name_not_found"],
    ["self.example:1080", "self_call"],
  ]);
});

test("a call is registered before its name is looked up: it is seen, and a client that leaves ends it", async () => {
  cart.node.context.net.resolve = () => new Promise(() => {});
  const client = await ask("slow.example");
  await lab.run(100);
  expect(cart.node.context.connections.size).toBe(1);
  client.socket.reset();
  await lab.until(() => cart.node.context.connections.size === 0, "its end");
  expect(cart.access().map((line) => line["dst.addr"])).toEqual(["slow.example:80"]);
  const from = lab.world.nowMs;
  expect(await reply(await ask("slow.example"))).toBe(4);
  expect(lab.world.nowMs - from).toBeLessThanOrEqual(proxyLimits.nameTimeoutMs);
});
