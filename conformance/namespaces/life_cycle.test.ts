/** How a node stops, and when it does not start. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../peer/lab/eventually.ts";
import { runToEnd } from "../peer/lab/subprocess.ts";
import { repository } from "../peer/lab/tools.ts";
import type { Application, Listening } from "./application.ts";
import { hookLimitMs, namespaceTest, unavailable } from "./available.ts";
import { workload } from "./documents.ts";
import { cart, db, Lab } from "./lab.ts";

const port = 7500;
const capture = ["--capture", "redirect"];

describe("SIGTERM", () => {
  let lab: Lab;
  let caller: Application;
  let listening: Listening;

  beforeAll(async () => {
    if (unavailable !== null) return;
    lab = new Lab("drain");
    caller = lab.application(lab.hosts.client);
    listening = await lab.application(lab.hosts.server).listen(db.ip, port, { kind: "greet" });
    await lab.node(lab.hosts.client, [...capture, "--drain-deadline", "1s"]).ready();
  }, hookLimitMs);
  afterAll(() => lab?.close(), hookLimitMs);

  namespaceTest("takes nothing new, lets what is open finish, then ends with 0 at once", async () => {
    const server = await lab.node(lab.hosts.server, [...capture, "--drain-deadline", "1h"]).ready();
    const peer = caller.connect(db.ip, port, { from: cart.ip });
    const greeting = await peer.line();
    server.process.signal("SIGTERM");
    await eventually(
      "not to be ready any more",
      () => server.get("http://127.0.0.1:15021/healthz/ready") === null,
    );
    const accepted = listening.accepted;
    expect(await caller.call(db.ip, port, cart.ip)).toBe("reset");
    expect(listening.accepted).toBe(accepted);
    peer.send("still here");
    expect(await peer.read(greeting.length + 11)).toBe(`${greeting}\nstill here`);
    expect(server.process.running).toBe(true);
    peer.end();
    expect(await peer.untilClosed()).toBe("orderly");
    // Its deadline is an hour away.
    await eventually("the end of the node", () => !server.process.running);
    expect(await server.process.exited).toBe(0);
    const record = await server.line({ direction: "inbound", message: "connection complete" });
    expect(record.error).toBeUndefined();
    expect(server.captureRules()).toEqual([]);
  });

  namespaceTest("cuts at its deadline what does not finish, says so, and ends with 0", async () => {
    const server = await lab.node(lab.hosts.server, [...capture, "--drain-deadline", "1500ms"]).ready();
    const peer = caller.connect(db.ip, port, { from: cart.ip });
    await peer.line();
    const signalledAt = performance.now();
    server.process.signal("SIGTERM");
    expect(await peer.untilClosed()).toBe("reset");
    expect(performance.now() - signalledAt).toBeGreaterThan(1_400);
    expect(await server.process.exited).toBe(0);
    const record = await server.line({ direction: "inbound", message: "connection complete" });
    expect(record.error).toMatch(/^draining: /);
  });

  namespaceTest("a second one does not wait", async () => {
    const server = await lab.node(lab.hosts.server, [...capture, "--drain-deadline", "1h"]).ready();
    const peer = caller.connect(db.ip, port, { from: cart.ip });
    await peer.line();
    server.process.signal("SIGTERM");
    await eventually(
      "not to be ready any more",
      () => server.get("http://127.0.0.1:15021/healthz/ready") === null,
    );
    expect(peer.closed).toBeNull();
    server.process.signal("SIGTERM");
    expect(await peer.untilClosed()).toBe("reset");
    expect(await server.process.exited).toBe(0);
    expect(server.captureRules()).toEqual([]);
  });
});

describe("a start before the network is there", () => {
  namespaceTest("a workload whose address comes later is served from then on", async () => {
    const late = "10.78.0.99";
    const lab = new Lab("late", workload("cart", cart.ip) + workload("late", late));
    try {
      const nodes = await lab.nodes();
      await nodes.server.line({ level: "warn", message: /^no workload runs here yet/ });
      // An IPv6 address may be used once no other host has objected, which takes a second or two.
      const atOnce = late.includes(":") ? ["nodad"] : [];
      runToEnd([
        "ip",
        "-n",
        lab.hosts.server.namespace,
        "addr",
        "add",
        `${late}/24`,
        ...atOnce,
        "dev",
        "eth0",
      ]);
      await lab.application(lab.hosts.server).listen(late, port, { kind: "greet" });
      const caller = lab.application(lab.hosts.client);
      await eventually("to be served", async () => {
        return (await caller.call(late, port, cart.ip)) === `you are ${cart.ip}`;
      });
      expect(nodes.server.certificate("late").identity).toBe("spiffe://cluster.local/ns/shop/sa/late");
    } finally {
      await lab.close();
    }
  });
});

describe("a start that is refused", () => {
  let lab: Lab;
  beforeAll(() => {
    if (unavailable === null) lab = new Lab("refused");
  });
  afterAll(() => lab?.close(), hookLimitMs);

  namespaceTest(
    "because a port is taken, whichever: the words name it, and nothing stays behind",
    async () => {
      const taken = [
        { ip: db.ip, port: 15008 },
        { ip: "0.0.0.0", port: 15001 },
        { ip: "127.0.0.1", port: 15000 },
      ];
      // One host for each, so that they can be tried at the same time.
      const tries = taken.map(async ({ ip, port }) => {
        const own = new Lab(`taken-${port}`);
        try {
          await own.application(own.hosts.server).listen(ip, port, { kind: "told" });
          const node = own.node(own.hosts.server, capture);
          expect(await node.process.exited).toBe(1);
          expect(node.process.log()).toMatch(new RegExp(`fairlead: .*:${port}\\b.* \\(address_in_use\\)`));
          expect(node.captureRules()).toEqual([]);
        } finally {
          await own.close();
        }
      });
      await Promise.all(tries);
    },
  );

  const identity = {
    node: () => {
      const { certPath, keyPath } = lab.authority;
      return ["--ca-cert", certPath, "--ca-key", keyPath, "--ca-root", certPath];
    },
    up: () => ["--state-directory", join(lab.directory, "state")],
  };
  for (const role of ["node", "up"] as const) {
    namespaceTest(`because the documents of \`${role}\` are not there`, async () => {
      const words = [role, "-f", join(lab.directory, "nothing"), ...capture, ...identity[role]()];
      const node = lab.run(lab.hosts.server, words);
      expect(await node.process.exited).toBe(1);
      expect(node.process.log()).toMatch(/^fairlead: .*nothing does not exist \(io\)$/m);
      expect(node.captureRules()).toEqual([]);
    });

    namespaceTest(`because the runtime of \`${role}\` was told to trust anybody`, async () => {
      const env = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };
      const words = [role, "-f", lab.meshPath, ...capture, ...identity[role]()];
      const node = lab.run(lab.hosts.server, words, { env });
      expect(await node.process.exited).toBe(2);
      expect(node.process.log()).toContain("NODE_TLS_REJECT_UNAUTHORIZED");
      expect(node.captureRules()).toEqual([]);
    });
  }

  namespaceTest("because the key is another certificate's", async () => {
    const { certPath } = lab.authority;
    const { keyPath } = lab.authority.issueFor(db.id, "other");
    const files = ["--ca-cert", certPath, "--ca-key", keyPath, "--ca-root", certPath];
    const node = lab.run(lab.hosts.server, ["node", "-f", lab.meshPath, ...files]);
    expect(await node.process.exited).toBe(1);
    expect(node.process.log()).toMatch(/^fairlead: .*key.* \(configuration\)$/m);
  });
});

const built = join(repository, "dist", "fairlead");
const whyNotBuilt = existsSync(built) ? null : "dist/fairlead was not built: npm run build";

describe("the built binary", () => {
  if (whyNotBuilt !== null) test.skip(`carries a call (${whyNotBuilt})`, () => {});
  else
    namespaceTest(
      "carries a call, shows what it knows, and cleans up, without source or modules beside it",
      async () => {
        const lab = new Lab("binary");
        try {
          const nodes = await lab.nodes([], { program: [built] });
          await lab.application(lab.hosts.server).listen(db.ip, port, { kind: "greet" });
          const caller = lab.application(lab.hosts.client);
          expect(await caller.call(db.ip, port, cart.ip)).toBe(`you are ${cart.ip}`);
          const both = { "src.identity": cart.id, "dst.identity": db.id };
          expect(await nodes.server.line({ direction: "inbound" })).toMatchObject(both);
          expect(await nodes.client.line({ direction: "outbound" })).toMatchObject(both);
          for (const node of [nodes.client, nodes.server]) {
            expect(await node.stop()).toBe(0);
            expect(node.captureRules()).toEqual([]);
          }
        } finally {
          await lab.close();
        }
      },
    );
});
