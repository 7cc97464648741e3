/** Two nodes with a bad link between them, in both families: packets are lost, late, out of order and twice. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { runToEnd } from "../peer/lab/subprocess.ts";
import type { Application } from "./application.ts";
import { hookLimitMs, namespaceTest, unavailable } from "./available.ts";
import { onlyFrom } from "./documents.ts";
import type { Host } from "./hosts.ts";
import { cart, db, Lab, shop } from "./lab.ts";
import { badLink } from "./roughness.ts";

const bulkBytes = 2 * 1024 * 1024;
const families = [
  { family: "IPv4", from: cart.ip, to: db.ip },
  { family: "IPv6", from: cart.ip6, to: db.ip6 },
] as const;

describe("a bad link between two nodes", () => {
  let lab: Lab;
  let caller: Application;
  let answerer: Application;
  let nextPort = 7400;

  beforeAll(async () => {
    if (unavailable !== null) return;
    lab = new Lab("rough", shop, badLink);
    console.log(`packets are lost, delayed, reordered and repeated by ${lab.hosts.roughBy}`);
    caller = lab.application(lab.hosts.client);
    answerer = lab.application(lab.hosts.server);
    await lab.nodes();
  }, hookLimitMs);
  afterAll(() => lab?.close(), hookLimitMs);

  for (const { family, from, to } of families) {
    namespaceTest(`2 MiB each way at once arrive as they were sent, over ${family}`, async () => {
      const port = nextPort++;
      const listening = await answerer.listen(to, port, { kind: "exchange", bytes: bulkBytes });
      const near = caller.connect(to, port, { from, bytes: bulkBytes });
      const far = listening.peer(0);
      const [sent, received, back, arrived] = await Promise.all([
        near.transferred("sent"),
        far.transferred("received"),
        far.transferred("sent"),
        near.transferred("received"),
      ]);
      expect(received).toMatchObject({ bytes: bulkBytes, digest: sent.digest });
      expect(arrived).toMatchObject({ bytes: bulkBytes, digest: back.digest });
      expect([await near.untilClosed(), await far.untilClosed()]).toEqual(["orderly", "orderly"]);
    });

    namespaceTest(`40 callers after each other are all answered, over ${family}`, async () => {
      const port = nextPort++;
      await answerer.listen(to, port, { kind: "greet" });
      const answers: string[] = [];
      for (let turn = 0; turn < 40; turn++) answers.push(await caller.call(to, port, from));
      expect(new Set(answers)).toEqual(new Set([`you are ${from}`]));
    });
  }

  namespaceTest("a policy that changes cuts an open connection, whatever is lost", async () => {
    const port = nextPort++;
    const listening = await answerer.listen(db.ip, port, { kind: "told" });
    const peer = caller.connect(db.ip, port, { from: cart.ip });
    peer.send("hello");
    expect(await listening.peer(0).read(5)).toBe("hello");
    lab.publish("policy", onlyFrom("db", "somebody-else"));
    expect(await peer.untilClosed()).toBe("reset");
    expect(await caller.call(db.ip, port, cart.ip)).toBe("reset");
  });

  namespaceTest("and it was bad: segments were sent again, and came out of order", async () => {
    for (const host of [lab.hosts.client, lab.hosts.server]) {
      expect(counterOf(host, "snmp", "RetransSegs")).toBeGreaterThan(0);
      expect(counterOf(host, "netstat", "TCPOFOQueue")).toBeGreaterThan(0);
    }
  });
});

/** Of the kernel, in the host's namespace: names in one line, values in the next. */
function counterOf(host: Host, file: "snmp" | "netstat", name: string): number {
  const lines = runToEnd(host.command(["cat", `/proc/net/${file}`])).split("\n");
  for (const [index, line] of lines.entries()) {
    const at = line.split(" ").indexOf(name);
    if (at !== -1) return Number(lines[index + 1]?.split(" ")[at]);
  }
  throw new Error(`the kernel counts no ${name}`);
}
