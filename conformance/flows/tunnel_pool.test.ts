import { beforeEach, expect, test } from "bun:test";
import { pkiLimits } from "../../src/base/limits/pki.ts";
import type { Socket } from "../../src/host/host.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import { Recorder } from "../../src/host/testing/recorder.ts";
import { at, FlowLab, type LabNode, serviceEntry, shopId, workloadEntry } from "./lab.ts";
import { HbonePeer, svidOf, tlsWith } from "./peer.ts";

const mesh =
  workloadEntry("cart", "10.0.0.1") +
  workloadEntry("db", "10.0.0.2") +
  serviceEntry("db", "10.88.0.2", 5432, 15432);

let lab: FlowLab;
let cart: LabNode;
let server: MemoryHost;

beforeEach(async () => {
  lab = await FlowLab.create();
  cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=db.shop:5432" });
  server = lab.world.machine("server", { addresses: ["10.0.0.2"] }).start();
});

const call = () => lab.connect(cart.host, "10.0.0.1:8080");
/** Without waiting for anything. */
const begin = (): void =>
  void cart.host.net.connect({ to: at("10.0.0.1:8080"), timeoutMs: 5_000 }).then((socket) => {
    new Recorder(socket);
  });
const pooled = () => [cart.node.tunnel.poolEntries, cart.node.tunnel.tunnelCount.outbound];

test("of a tunnel that closes while it opens nothing is kept", async () => {
  const tls = tlsWith(lab, await svidOf(lab, server, shopId("db")));
  let handshakes = 0;
  server.net.listen({ address: at("10.0.0.2:15008"), tls: true }, (socket: Socket) => {
    void server.net.tlsServer(socket, tls).then((secured) => {
      handshakes++;
      secured.end();
      secured.reset();
    });
  });
  const client = await call();
  await lab.until(() => client.closes === 1, "the failure");
  await lab.run(50);
  expect(handshakes).toBeGreaterThan(0);
  expect(pooled()).toEqual([0, 0]);
});

test("a tunnel that is opened again, for its SVID was renewed meanwhile, is shared with whoever calls then", async () => {
  lab.world.conditions.latencyMs = 20;
  const svid = await svidOf(lab, server, shopId("db"));
  const peers = HbonePeer.listen(lab, server, "10.0.0.2:15008", svid, (stream) =>
    stream.sendHeaders([":status", "200"], false),
  );
  const { secrets } = cart.node.context;
  // One that has just come is not renewed at once.
  await lab.run(2 * pkiLimits.backoffStartMs);
  const before = secrets.current(shopId("cart"));
  begin();
  // In the middle of the first handshake.
  await lab.run(60);
  secrets.renewAll("test");
  await lab.until(() => secrets.current(shopId("cart")) !== before, "the new SVID");
  await lab.until(() => peers.length === 1, "the tunnel with the old one");
  await lab.run(1);
  expect(pooled()).toEqual([1, 0]);
  for (let count = 0; count < 5; count++) {
    begin();
    await lab.run(10);
  }
  await lab.until(() => cart.node.context.connections.size === 6, "all calls");
  await lab.run(500);
  const open = peers.filter(({ gone }) => !gone).length;
  expect(pooled()).toEqual([1, open]);
});
