/** Many requests at one time through a waypoint while one of three endpoints fails: each is tried again elsewhere, and none is lost. */
import { expect, test } from "bun:test";
import { FlowLab, withPort, workloadEntry } from "./lab.ts";
import { answering, bytes, ok, waypointEntry, webService } from "./waypoint_lab.ts";

const documents = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop]
  http:
  - route: [{destination: {host: web.shop}}]
    retries: {attempts: 2, retryOn: 5xx}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web.shop
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
---
`;

function web(name: string, address: string): string {
  return workloadEntry(name, address)
    .replace("labels: {", "labels: {app: web, ")
    .replace(/labels: \{app: web, app: [^,}]*/, "labels: {app: web");
}

test("thirty at one time, ten of them first to the broken one: thirty answers", async () => {
  const lab = await FlowLab.create();
  const mesh =
    workloadEntry("cart", "10.0.0.1") +
    web("web-1", "10.0.0.3") +
    web("web-2", "10.0.0.4") +
    web("web-3", "10.0.0.5") +
    waypointEntry +
    webService("HTTP", documents);
  const cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=web.shop:80" });
  const waypoint = await lab.node("waypoint", ["10.0.0.9"], mesh, { waypoints: "shop/waypoint" });
  for (const [name, address, answer] of [
    ["two", "10.0.0.3", ok("good")],
    ["three", "10.0.0.4", ok("good")],
    ["four", "10.0.0.5", "HTTP/1.1 503 Broken\r\nContent-Length: 6\r\n\r\nbroken"],
  ] as const) {
    const node = await lab.node(name, [address], mesh);
    lab.application(
      node.host,
      withPort(address, 8080),
      answering(() => answer),
    );
  }
  await lab.run(200);
  for (let round = 0; round < 3; round++) {
    const clients = await Promise.all(
      Array.from({ length: 30 }, () => lab.connect(cart.host, "10.0.0.1:8080")),
    );
    for (const client of clients)
      client.socket.write(bytes("GET / HTTP/1.1\r\nHost: web.shop\r\nConnection: close\r\n\r\n"));
    await lab.run(3_000);
    const statuses = clients.map(({ text }) => text.slice(9, 12));
    expect(statuses).toEqual(clients.map(() => "200"));
  }
  expect(
    waypoint.access().filter((line) => JSON.stringify(line).includes('"attempts":2')).length,
  ).toBeGreaterThan(20);
});
