/** What a node does until it has drained, with peers that speak HBONE by hand. */
import { expect, test } from "bun:test";
import { proxyLimits } from "../../src/base/limits/proxy.ts";
import { FlowLab, serviceEntry, shopId, workloadEntry } from "./lab.ts";
import { HbonePeer, svidOf } from "./peer.ts";
import { answering, bytes, ok, waypointLab, webService } from "./waypoint_lab.ts";

const mesh =
  workloadEntry("cart", "10.0.0.1") +
  workloadEntry("db", "10.0.0.2") +
  workloadEntry("web", "10.0.0.3") +
  serviceEntry("db", "10.88.0.2", 5432, 15432) +
  serviceEntry("web", "10.88.0.3", 80, 8080);

test("a node's idle tunnels end at once, and those with connections with the last of these; then it has drained, long before its deadline", async () => {
  const lab = await FlowLab.create();
  const cart = await lab.node("one", ["10.0.0.1"], mesh, {
    ...{ localPorts: "10.0.0.1:8080=db.shop:5432", httpConnect: "10.0.0.1:3128" },
  });
  const server = lab.world.machine("server", { addresses: ["10.0.0.2", "10.0.0.3"] }).start();
  for (const [name, address] of [
    ["db", "10.0.0.2:15008"],
    ["web", "10.0.0.3:15008"],
  ] as const)
    HbonePeer.listen(lab, server, address, await svidOf(lab, server, shopId(name)), (stream) =>
      stream.sendHeaders([":status", "200"], false),
    );
  const [used, idle] = [
    await lab.connect(cart.host, "10.0.0.1:8080"),
    await lab.connect(cart.host, "10.0.0.1:3128"),
  ];
  idle.socket.write(bytes("CONNECT web.shop:80 HTTP/1.1\r\n\r\n"));
  await lab.until(() => cart.node.tunnel.tunnelCount.outbound === 2, "both tunnels");
  idle.socket.reset();
  await lab.until(() => cart.node.context.connections.size === 1, "the end of one");
  const from = lab.world.nowMs;
  let drainedMs: number | null = null;
  const drained = cart.node.drain().then(() => {
    drainedMs = lab.world.nowMs - from;
  });
  await lab.run(100);
  expect([cart.node.tunnel.tunnelCount.outbound, used.closes, drainedMs]).toEqual([1, 0, null]);
  used.socket.reset();
  await lab.world.settle(drained);
  expect(drainedMs).toBeLessThan(proxyLimits.drainDeadlineMs / 2);
});

test("a peer without connections is told in order, and not cut", async () => {
  const lab = await FlowLab.create();
  const db = await lab.node("two", ["10.0.0.2"], mesh);
  const host = lab.world.machine("peer", { addresses: ["10.0.0.1"] }).start();
  const peer = await HbonePeer.dial(lab, host, "10.0.0.2:15008", await svidOf(lab, host, shopId("cart")));
  await lab.run(100);
  const from = lab.world.nowMs;
  await lab.world.settle(db.node.drain());
  expect(lab.world.nowMs - from).toBeLessThan(proxyLimits.drainDeadlineMs / 2);
  await lab.until(() => peer.gone, "its end", 100);
  expect([peer.goAways > 0, peer.error]).toEqual([true, null]);
});

test("a request that a draining waypoint still takes gets on from there, and then the waypoint has drained", async () => {
  const { lab, waypoint, web } = await waypointLab(
    webService("HTTP"),
    answering(() => ok("from web")),
  );
  const host = lab.world.machine("peer", { addresses: ["10.0.0.77"] }).start();
  const peer = await HbonePeer.dial(lab, host, "10.0.0.9:15008", await svidOf(lab, host, shopId("cart")));
  await lab.run(100);
  expect(waypoint.node.context.connections.size).toBe(0);
  const from = lab.world.nowMs;
  const drained = waypoint.node.drain();
  // The first GOAWAY has not come yet: no tunnel to web is there, and none may be refused.
  const { stream, log } = peer.connect("10.88.0.3:80");
  stream.sendData(bytes("GET / HTTP/1.1\r\nHost: web.shop\r\n\r\n"), false);
  await lab.until(() => log.text.includes("from web"), "the answer");
  expect([log.status, log.text.split("\r\n")[0]]).toEqual(["200", "HTTP/1.1 200 OK"]);
  stream.sendData(new Uint8Array(0), true);
  await lab.world.settle(drained);
  expect(lab.world.nowMs - from).toBeLessThan(proxyLimits.drainDeadlineMs / 2);
  expect([waypoint.node.tunnel.tunnelCount, web.node.context.connections.size]).toEqual([
    { inbound: 0, outbound: 0 },
    0,
  ]);
});
