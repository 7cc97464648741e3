/** What capture takes, what it leaves alone, and that its rules come and go with the node. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { eventually } from "../peer/lab/eventually.ts";
import type { Application, Listening } from "./application.ts";
import { hookLimitMs, namespaceTest, unavailable } from "./available.ts";
import { strictMutualTls, workload } from "./documents.ts";
import { cart, db, Lab, shop } from "./lab.ts";
import type { NodeProcess } from "./node_process.ts";

/** A workload of the server's host that the client's host calls past its own node, in plain text. */
const open = "10.78.0.22";

describe("what is captured and what is not", () => {
  let lab: Lab;
  let client: NodeProcess;
  let server: NodeProcess;
  let caller: Application;
  let answerer: Application;

  beforeAll(async () => {
    if (unavailable !== null) return;
    lab = new Lab("rules", `${shop}${workload("open", open)}`);
    caller = lab.application(lab.hosts.client);
    answerer = lab.application(lab.hosts.server);
    client = lab.node(lab.hosts.client, ["--capture", "redirect", "--capture-exclude", `${open}/32`]);
    server = lab.node(lab.hosts.server, ["--capture", "redirect", "--capture-exclude-port", "9000"]);
    await Promise.all([client.ready(), server.ready()]);
  }, hookLimitMs);
  afterAll(() => lab?.close(), hookLimitMs);

  namespaceTest("port 22 is reached directly from outside and from inside, also of a workload", async () => {
    for (const ip of ["10.78.0.2", "fd78::2", db.ip]) await answerer.listen(ip, 22, { kind: "greet" });
    expect(await caller.call("10.78.0.2", 22)).toBe("you are 10.78.0.1");
    expect(await caller.call("fd78::2", 22, "fd78::1")).toBe("you are fd78::1");
    expect(await caller.call(db.ip, 22, cart.ip)).toBe(`you are ${cart.ip}`);
    expect([...client.records, ...server.records]).toEqual([]);
  });

  namespaceTest("loopback, and a host's own addresses, are reached directly", async () => {
    for (const ip of ["127.0.0.1", "::1", "10.78.0.1"]) {
      await caller.listen(ip, 8081, { kind: "greet" });
      expect(await caller.call(ip, 8081)).toBe(`you are ${ip}`);
    }
    expect(client.records).toEqual([]);
  });

  namespaceTest("what the node itself sends is not captured again: one connection, one record", async () => {
    const outside = await answerer.listen("10.78.0.2", 9000, { kind: "greet" });
    const peer = caller.connect("10.78.0.2", 9000, { from: cart.ip });
    expect(await peer.line()).toStartWith("you are 10.78.0.");
    peer.end();
    expect(await peer.untilClosed()).toBe("orderly");
    const record = await client.line({ scope: "access", "dst.addr": "10.78.0.2:9000" });
    expect(record).toMatchObject({ direction: "outbound", "src.workload": "cart" });
    expect(record["dst.hbone_addr"]).toBeUndefined();
    expect(client.records.length).toBe(1);
    expect(outside.accepted).toBe(1);
  });

  namespaceTest(
    "the capture ports themselves refuse whoever calls them, from here and from there",
    async () => {
      const calls = ["127.0.0.1", "10.78.0.1", "::1", open].flatMap((ip) =>
        [15001, 15006].map((port) => ({ ip, port })),
      );
      for (const { ip, port } of calls) {
        const peer = caller.connect(ip, port);
        peer.send("hello");
        expect([ip, port, await peer.untilClosed()]).toEqual([ip, port, "reset"]);
        expect(peer.text).toBe("");
      }
      const refusals = (node: NodeProcess) =>
        node.records.filter(({ error }) => String(error).startsWith("self_call"));
      await eventually(
        "a record of each",
        () => refusals(client).length === 6 && refusals(server).length === 2,
      );
    },
  );

  namespaceTest("plain text from outside is permitted, and under STRICT refused without a byte", async () => {
    const listening = await answerer.listen(open, 8080, { kind: "greet" });
    const permitted = caller.connect(open, 8080, { from: cart.ip });
    expect(await permitted.line()).toBe(`you are ${cart.ip}`);
    lab.publish("strict", strictMutualTls);
    // What is open falls under it as well.
    expect(await permitted.untilClosed()).toBe("reset");
    const cut = await server.line({ error: /^policy_changed: / });
    expect(cut).toMatchObject({ direction: "inbound", "dst.workload": "open", "src.workload": "cart" });
    expect(cut["src.identity"]).toBeUndefined();
    const refused = caller.connect(open, 8080, { from: cart.ip });
    refused.send("hello");
    expect(await refused.untilClosed()).toBe("reset");
    expect(refused.text).toBe("");
    await server.line({ error: /^policy_denied: .*strict/i });
    expect(listening.accepted).toBe(1);
  });
});

describe("the rules of a node", () => {
  let lab: Lab;
  let listening: Listening;
  let caller: Application;
  const settings = ["--capture", "redirect"];

  beforeAll(async () => {
    if (unavailable !== null) return;
    lab = new Lab("rule-life");
    caller = lab.application(lab.hosts.client);
    listening = await lab.application(lab.hosts.server).listen("10.78.0.2", 9000, { kind: "greet" });
  }, hookLimitMs);
  afterAll(() => lab?.close(), hookLimitMs);

  namespaceTest("are gone after SIGTERM, and after two of them, and plain TCP flows again", async () => {
    for (const signals of [1, 2]) {
      const node = await lab.node(lab.hosts.client, settings).ready();
      expect(node.captureRules()).not.toEqual([]);
      for (let sent = 0; sent < signals; sent++) node.process.signal("SIGTERM");
      expect(await node.process.exited).toBe(0);
      expect(node.captureRules()).toEqual([]);
      expect(await caller.call("10.78.0.2", 9000)).toBe("you are 10.78.0.1");
    }
  });

  namespaceTest(
    "are not needed to keep a host out: without a node it speaks plain text, and STRICT refuses it",
    async () => {
      lab.publish("strict", strictMutualTls);
      const server = await lab.node(lab.hosts.server, settings).ready();
      await lab.application(lab.hosts.server).listen(db.ip, 7000, { kind: "greet" });
      expect(await caller.call(db.ip, 7000, cart.ip)).toBe("reset");
      const line = await server.line({ direction: "inbound", error: /^policy_denied: / });
      expect(line["src.identity"]).toBeUndefined();
      expect(await server.stop()).toBe(0);
    },
  );

  namespaceTest(
    "stay after kill -9, so that nothing leaves the mesh unseen; the next start replaces them",
    async () => {
      const killed = await lab.node(lab.hosts.client, settings).ready();
      killed.process.signal("SIGKILL");
      await killed.process.exited;
      expect(killed.captureRules()).not.toEqual([]);
      const before = listening.accepted;
      expect(await caller.call("10.78.0.2", 9000, cart.ip)).toBe("ECONNREFUSED");
      expect(listening.accepted).toBe(before);
      const next = await lab.node(lab.hosts.client, settings).ready();
      expect(await caller.call("10.78.0.2", 9000, cart.ip)).toStartWith("you are 10.78.0.");
      expect(new Set(next.captureRules()).size).toBe(next.captureRules().length);
      expect(await next.stop()).toBe(0);
      expect(next.captureRules()).toEqual([]);
    },
  );

  namespaceTest("are left to the node that has them by one that cannot start beside it", async () => {
    const first = await lab.node(lab.hosts.client, settings).ready();
    const rules = first.captureRules();
    const second = lab.node(lab.hosts.client, [
      ...settings,
      "--admin",
      "off",
      "--metrics",
      "off",
      "--readiness",
      "off",
    ]);
    expect(await second.process.exited).toBe(1);
    expect(second.process.log()).toMatch(/fairlead: listen on .*: EADDRINUSE \(address_in_use\)/);
    expect(first.captureRules()).toEqual(rules);
    expect(await caller.call("10.78.0.2", 9000, cart.ip)).toStartWith("you are 10.78.0.");
    expect(await first.stop()).toBe(0);
    expect(first.captureRules()).toEqual([]);
  });
});
