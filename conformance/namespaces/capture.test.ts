/** Applications that know of nothing are carried over HBONE, and nothing else crosses the cable. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { eventually } from "../peer/lab/eventually.ts";
import { runToEnd } from "../peer/lab/subprocess.ts";
import type { Application } from "./application.ts";
import { hookLimitMs, namespaceTest, unavailable } from "./available.ts";
import { onlyFrom } from "./documents.ts";
import { cart, db, dbService, Lab } from "./lab.ts";
import { fromSource, type LogLine, type NodeProcess } from "./node_process.ts";

describe("captured TCP", () => {
  let lab: Lab;
  let nodes: { readonly client: NodeProcess; readonly server: NodeProcess };
  let caller: Application;

  beforeAll(async () => {
    if (unavailable !== null) return;
    lab = new Lab("capture");
    caller = lab.application(lab.hosts.client);
    const server = lab.application(lab.hosts.server);
    for (const ip of [db.ip, db.ip6]) {
      await server.listen(ip, dbService.targetPort, { kind: "greet" });
      await server.listen(ip, 8080, { kind: "http" });
    }
    await server.listen("10.78.0.2", 22, { kind: "greet" });
    nodes = await lab.nodes();
  }, hookLimitMs);
  afterAll(() => lab?.close(), hookLimitMs);

  /** What a node wrote since it had `before` records, once there is something. */
  async function written(node: NodeProcess, before: number): Promise<readonly LogLine[]> {
    await eventually("an access line", () => node.records.length > before);
    return node.records.slice(before);
  }

  const { port, targetPort } = dbService;
  const ways = [
    { name: "a service, IPv4", to: dbService.ip, port, from: cart.ip, at: db.ip, service: "db.shop.mesh" },
    {
      name: "a service, IPv6",
      to: dbService.ip6,
      port,
      from: cart.ip6,
      at: `[${db.ip6}]`,
      service: "db-6.shop.mesh",
    },
    { name: "a workload, IPv4", to: db.ip, port: targetPort, from: cart.ip, at: db.ip, service: undefined },
    {
      name: "a workload, IPv6",
      to: db.ip6,
      port: targetPort,
      from: cart.ip6,
      at: `[${db.ip6}]`,
      service: undefined,
    },
  ];
  for (const { name, to, port, from, at, service } of ways) {
    namespaceTest(`to ${name}: the caller's address is seen, both identities are on record`, async () => {
      const before = { client: nodes.client.records.length, server: nodes.server.records.length };
      const peer = caller.connect(to, port, { from });
      const greeting = `you are ${from}\n`;
      expect(await peer.read(greeting.length)).toBe(greeting);
      peer.send("hello");
      expect(await peer.read(greeting.length + 5)).toBe(`${greeting}hello`);
      peer.end();
      expect(await peer.untilClosed()).toBe("orderly");
      const both = {
        message: "connection complete",
        "src.identity": cart.id,
        "dst.identity": db.id,
        "dst.hbone_addr": `${at}:${targetPort}`,
      };
      const client = await written(nodes.client, before.client);
      const counts = { bytes_sent: 5, bytes_recv: greeting.length + 5 };
      expect(client).toMatchObject([{ ...both, direction: "outbound", ...counts }]);
      expect(client[0]?.["dst.service"]).toBe(service);
      const counted = { bytes_sent: greeting.length + 5, bytes_recv: 5 };
      expect(await written(nodes.server, before.server)).toMatchObject([
        { ...both, direction: "inbound", ...counted },
      ]);
    });
  }

  namespaceTest("curl gets its page, and the server sees curl's own address", async () => {
    for (const [from, url] of [
      [cart.ip, `http://${db.ip}:8080/`],
      [cart.ip6, `http://[${db.ip6}]:8080/`],
    ] as const) {
      const words = ["curl", "-s", "-g", "-m", "60", "--interface", from, url];
      expect(runToEnd(lab.hosts.client.command(words))).toBe(`you are ${from}\n`);
    }
  });

  namespaceTest("a destination without a listener is refused, not left open", async () => {
    const peer = caller.connect(db.ip, 9, { from: cart.ip });
    await peer.opened();
    expect(await peer.untilClosed()).toBe("reset");
    expect(await nodes.server.line({ error: /^connect_refused: .*ECONNREFUSED/ })).toMatchObject({
      "src.identity": cart.id,
    });
  });

  namespaceTest("a port that the service does not have is refused here, not tried in the clear", async () => {
    expect(await caller.call(dbService.ip, dbService.port + 1, cart.ip)).toBe("reset");
    const { error } = await nodes.client.line({ "dst.addr": `${dbService.ip}:${dbService.port + 1}` });
    expect(error).toMatch(/^no_/);
  });

  namespaceTest("an open connection ends when policy changes, and its record says why", async () => {
    const peer = caller.connect(db.ip, dbService.targetPort, { from: cart.ip });
    await peer.line();
    lab.publish("callers", onlyFrom("db", "somebody-else"));
    expect(await peer.untilClosed()).toBe("reset");
    const line = await nodes.server.line({ error: /^policy_changed: / });
    expect(line).toMatchObject({ "src.identity": cart.id, direction: "inbound" });
    expect(line.error).toContain("shop/db-callers");
    expect(await caller.call(db.ip, dbService.targetPort, cart.ip)).toBe("reset");
    lab.publish("callers", onlyFrom("db", "cart"));
    await eventually("to be let in again", async () => {
      return (await caller.call(db.ip, dbService.targetPort, cart.ip)) === `you are ${cart.ip}`;
    });
  });

  namespaceTest("`fairlead get traffic` says who talked to whom, and how safely", async () => {
    const words = [...fromSource, "get", "traffic", "-o", "json"];
    const rows = JSON.parse(runToEnd(lab.hosts.server.command(words))) as {
      source: string;
      denied: number;
    }[];
    const row = rows.find(({ source }) => source === "shop/cart");
    expect(row).toMatchObject({ destination: "shop/db", security: "mutual_tls", reporter: "destination" });
    expect(row?.denied).toBeGreaterThanOrEqual(2);
  });

  namespaceTest(
    "nothing but port 15008 crossed the cable; what should cross beside it is counted",
    async () => {
      const { hbone, other } = lab.hosts.crossing();
      expect(other).toBe(0);
      expect(hbone).toBeGreaterThan(30);
      // The counter can count: SSH is left alone.
      expect(await caller.call("10.78.0.2", 22)).toBe("you are 10.78.0.1");
      expect(lab.hosts.crossing().other).toBeGreaterThan(2);
    },
  );
});
