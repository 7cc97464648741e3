/** Applications that know nothing of the mesh, on two hosts whose TCP is captured. Root only. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { canMakeNamespaces } from "../../src/host/testing/namespaces.ts";
import { TwoHosts } from "./two_hosts.ts";

const vip = "10.99.0.5";
const timeoutMs = 60_000;

function documents({ addresses }: TwoHosts): string {
  const entry = (name: string, ip: string) => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: shop, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${ip}, serviceAccount: ${name}, labels: {app: ${name}}}
---
`;
  return `${entry("cart", addresses.cart)}${entry("db", addresses.db)}apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.shop.mesh]
  addresses: [${vip}]
  resolution: STATIC
  ports: [{number: 80, name: tcp, protocol: TCP, targetPort: 5432}]
  workloadSelector: {labels: {app: db}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
`;
}

function onlyFrom(serviceAccount: string): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: shop}
spec:
  selector: {matchLabels: {app: db}}
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/${serviceAccount}]}}]}]
`;
}

if (!canMakeNamespaces) console.warn("skipped: network namespaces need root on Linux");

describe.skipIf(!canMakeNamespaces)("two hosts with capture (needs root and network namespaces)", () => {
  let hosts: TwoHosts;

  beforeAll(async () => {
    hosts = await TwoHosts.create(60 + (process.pid % 100));
    await hosts.publish("mesh.yaml", documents(hosts));
    await hosts.serve("db", 5432);
    await hosts.serve("db", 22);
    await hosts.startNode("cart");
    await hosts.startNode("db");
  }, timeoutMs);
  afterAll(() => hosts?.close(), timeoutMs);

  test(
    "a call to the workload's address is carried over mutual TLS, and the server sees its caller's own address",
    async () => {
      const answer = await hosts.call("cart", hosts.addresses.db, 5432);
      expect(answer).toEqual({ text: `you are ${hosts.addresses.cart}\nhello\n`, ending: "closed" });
      const rows = hosts.get("db", "traffic");
      expect(rows).toMatchObject([
        { source: "shop/cart", destination: "shop/db", security: "mutual_tls", opened: 1, denied: 0 },
      ]);
    },
    timeoutMs,
  );

  test(
    "a call to the service's VIP reaches the target port",
    async () => {
      const answer = await hosts.call("cart", vip, 80);
      expect(answer).toEqual({ text: `you are ${hosts.addresses.cart}\nhello\n`, ending: "closed" });
    },
    timeoutMs,
  );

  test(
    "the first packet of a connection that is not the node's never leaves in the clear",
    async () => {
      // Whatever port of the VIP: a service without that port is refused here, not tried out there.
      const answer = await hosts.call("cart", vip, 81);
      expect(answer.text).toBe("");
      expect(answer.ending).not.toBe("timed out");
    },
    timeoutMs,
  );

  test(
    "port 22 is never captured: nobody is locked out",
    async () => {
      const answer = await hosts.call("cart", hosts.addresses.db, 22);
      expect(answer.text).toBe(`you are ${hosts.addresses.cart}\nhello\n`);
    },
    timeoutMs,
  );

  test(
    "an open connection ends when the policy changes, and a new one is refused",
    async () => {
      await hosts.publish("callers.yaml", onlyFrom("cart"));
      const held = await hosts.hold("cart", hosts.addresses.db, 5432);
      await hosts.publish("callers.yaml", onlyFrom("somebody-else"));
      expect(await held.ended).toMatchObject({ value: "ended" });
      const answer = await hosts.call("cart", hosts.addresses.db, 5432);
      expect(answer.text).toBe("");
      await hosts.publish("callers.yaml", onlyFrom("cart"));
    },
    timeoutMs,
  );

  test(
    "a node that stops leaves no rule behind, and without it STRICT refuses its host",
    async () => {
      expect(await hosts.stopNode("cart")).toBe(0);
      // iptables leaves its own empty tables behind whenever it is called; a rule or a name of ours is another thing.
      expect(hosts.run("cart", ["nft", "list", "ruleset"]).output).not.toMatch(
        /fairlead|redirect|mark|jump/i,
      );
      expect(hosts.run("cart", ["ip", "rule"]).output).not.toContain("fwmark");
      // Now in the clear, and captured at the other end.
      const answer = await hosts.call("cart", hosts.addresses.db, 5432);
      expect(answer.text).toBe("");
      const rows = hosts.get("db", "traffic");
      expect(rows).toContainEqual(
        expect.objectContaining({ source: "shop/cart", security: "unknown", denied: 1 }),
      );
    },
    timeoutMs,
  );
});
