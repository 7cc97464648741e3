/** Several workloads on one host: each shows its own identity and is called by it, in both directions. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { eventually } from "../peer/lab/eventually.ts";
import type { Application } from "./application.ts";
import { hookLimitMs, namespaceTest, unavailable } from "./available.ts";
import { onlyFrom, workload } from "./documents.ts";
import { Lab } from "./lab.ts";
import type { NodeProcess } from "./node_process.ts";

const hosts = {
  client: { cart: "10.78.0.11", web: "10.78.0.12" },
  server: { db: "10.78.0.21", cache: "10.78.0.22" },
} as const;
const all: Readonly<Record<string, string>> = { ...hosts.client, ...hosts.server };
const port = 7000;

describe("several workloads on one host", () => {
  let lab: Lab;
  const nodes = new Map<string, NodeProcess>();
  const applications = new Map<string, Application>();

  beforeAll(async () => {
    if (unavailable !== null) return;
    const workloads = Object.entries(all).map(([name, ip]) => workload(name, ip));
    lab = new Lab("identities", [...workloads, onlyFrom("db", "cart"), onlyFrom("web", "cache")].join(""));
    for (const [side, own] of Object.entries(hosts)) {
      const host = side === "client" ? lab.hosts.client : lab.hosts.server;
      const application = lab.application(host);
      for (const [name, ip] of Object.entries(own)) {
        await application.listen(ip, port, { kind: "greet" });
        applications.set(name, application);
      }
    }
    const { client, server } = await lab.nodes();
    for (const name of Object.keys(all)) nodes.set(name, name in hosts.client ? client : server);
  }, hookLimitMs);
  afterAll(() => lab?.close(), hookLimitMs);

  function of<T>(map: ReadonlyMap<string, T>, name: string): T {
    const found = map.get(name);
    if (found === undefined) throw new Error(`there is no ${name}`);
    return found;
  }

  const calls = [
    { from: "cart", to: "db", allowed: true },
    { from: "web", to: "db", allowed: false },
    { from: "cart", to: "cache", allowed: true },
    { from: "web", to: "cache", allowed: true },
    { from: "db", to: "cart", allowed: true },
    { from: "cache", to: "web", allowed: true },
    { from: "db", to: "web", allowed: false },
  ];
  for (const { from, to, allowed } of calls) {
    namespaceTest(`${from} calls ${to}: ${allowed ? "permitted" : "refused by policy"}`, async () => {
      const source = all[from] ?? "";
      const answer = await of(applications, from).call(all[to] ?? "", port, source);
      expect(answer).toBe(allowed ? `you are ${source}` : "reset");
      const identities = { "src.workload": from, "src.identity": shopId(from), "dst.workload": to };
      const line = await of(nodes, to).line({
        direction: "inbound",
        "dst.identity": shopId(to),
        ...identities,
      });
      expect(line).toMatchObject({ "src.identity": shopId(from), "dst.identity": shopId(to) });
      if (!allowed) expect(line.error).toContain(`shop/${to}-callers`);
      const reported = await of(nodes, from).line({ direction: "outbound", ...identities });
      expect(reported["dst.identity"]).toBe(shopId(to));
    });
  }

  namespaceTest("a host has the certificates of its own workloads and of no others", async () => {
    for (const [side, own] of Object.entries(hosts)) {
      const node = of(nodes, side === "client" ? "cart" : "db");
      const names = await eventually("both certificates", () => {
        const shown = node.certificates().map(({ identity }) => identity);
        return shown.length === 2 && shown;
      });
      expect([...names].sort()).toEqual(Object.keys(own).map(shopId).sort());
    }
  });
});

function shopId(account: string): string {
  return `spiffe://cluster.local/ns/shop/sa/${account}`;
}
