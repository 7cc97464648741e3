/** TCP as applications know it, through two nodes: bulk, half-close, who speaks first, and RST. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import type { Application, Listening, Peer } from "./application.ts";
import { hookLimitMs, namespaceTest, unavailable } from "./available.ts";
import { cart, db, Lab } from "./lab.ts";
import type { NodeProcess } from "./node_process.ts";

const bulkBytes = 200 * 1024 * 1024;

describe("TCP through two nodes", () => {
  let lab: Lab;
  let nodes: { readonly client: NodeProcess; readonly server: NodeProcess };
  let caller: Application;
  let answerer: Application;

  beforeAll(async () => {
    if (unavailable !== null) return;
    lab = new Lab("transfer");
    caller = lab.application(lab.hosts.client);
    answerer = lab.application(lab.hosts.server);
    nodes = await lab.nodes();
  }, hookLimitMs);
  afterAll(() => lab?.close(), hookLimitMs);

  let nextPort = 7100;
  async function serve(
    behaviour: Parameters<Application["listen"]>[2],
  ): Promise<{ listening: Listening; dial: (options?: { bytes?: number; readToEnd?: boolean }) => Peer }> {
    const port = nextPort++;
    const listening = await answerer.listen(db.ip, port, behaviour);
    return { listening, dial: (options = {}) => caller.connect(db.ip, port, { from: cart.ip, ...options }) };
  }

  namespaceTest("200 MiB each way at once arrive as they were sent", async () => {
    const { listening, dial } = await serve({ kind: "exchange", bytes: bulkBytes });
    const started = performance.now();
    const [near, far] = [dial({ bytes: bulkBytes }), listening.peer(0)];
    const [sent, received, back, arrived] = await Promise.all([
      near.transferred("sent"),
      far.transferred("received"),
      far.transferred("sent"),
      near.transferred("received"),
    ]);
    const seconds = (performance.now() - started) / 1_000;
    console.log(`200 MiB each way in ${seconds.toFixed(1)} s`);
    expect(received).toMatchObject({ bytes: bulkBytes, digest: sent.digest });
    expect(arrived).toMatchObject({ bytes: bulkBytes, digest: back.digest });
    expect([await near.untilClosed(), await far.untilClosed()]).toEqual(["orderly", "orderly"]);
    for (const [node, direction] of [
      [nodes.client, "outbound"],
      [nodes.server, "inbound"],
    ] as const) {
      const record = await node.line({ direction, message: "connection complete" });
      expect(record).toMatchObject({ bytes_sent: bulkBytes, bytes_recv: bulkBytes });
      expect(record.error).toBeUndefined();
    }
  });

  namespaceTest("a caller that has ended is still answered", async () => {
    const { dial } = await serve({ kind: "answer_at_end" });
    const peer = dial();
    await peer.opened();
    peer.send("all of the question");
    peer.end();
    const digest = new Bun.CryptoHasher("sha256").update("all of the question").digest("hex");
    expect(await peer.line()).toBe(`19 ${digest}`);
    await peer.untilEnded();
    expect(await peer.untilClosed()).toBe("orderly");
  });

  namespaceTest("a server that has ended is still spoken to", async () => {
    const { listening, dial } = await serve({ kind: "told" });
    const peer = dial();
    const far = listening.peer(0);
    await far.seen();
    far.send("bye");
    far.end();
    await peer.untilEnded();
    expect(peer.text).toBe("bye");
    peer.send("still here");
    expect(await far.read(10)).toBe("still here");
    peer.end();
    expect([await peer.untilClosed(), await far.untilClosed()]).toEqual(["orderly", "orderly"]);
  });

  namespaceTest("a server that speaks first is heard before the caller says a word", async () => {
    const { dial } = await serve({ kind: "greet" });
    const peer = dial();
    expect(await peer.line()).toBe(`you are ${cart.ip}`);
    peer.end();
  });

  namespaceTest("a caller's RST is an RST at the server", async () => {
    const { listening, dial } = await serve({ kind: "told" });
    const peer = dial();
    peer.send("hello");
    const far = listening.peer(0);
    expect(await far.read(5)).toBe("hello");
    peer.reset();
    expect(await far.untilClosed()).toBe("reset");
    await nodes.client.line({ direction: "outbound", error: /^connection_reset: / });
  });

  namespaceTest("a server's RST is an RST at the caller, also right after it has accepted", async () => {
    const { dial } = await serve({ kind: "reset_on_data" });
    const peer = dial();
    await peer.opened();
    peer.send("hello");
    expect(await peer.untilClosed()).toBe("reset");
    await nodes.server.line({ direction: "inbound", error: /^connection_reset: / });

    const { listening, dial: dialAgain } = await serve({ kind: "told" });
    const again = dialAgain();
    await listening.peer(0).seen();
    listening.peer(0).reset();
    expect(await again.untilClosed()).toBe("reset");
  });

  namespaceTest("a reader that stalls holds its sender back, and others go on", async () => {
    const { listening, dial } = await serve({ kind: "stalled" });
    const peer = dial({ bytes: bulkBytes });
    await listening.peer(0).seen();
    const { dial: dialOther } = await serve({ kind: "greet" });
    const resident = nodes.server.process.memory().rssBytes + nodes.client.process.memory().rssBytes;
    for (let round = 0; round < 5; round++) {
      const other = dialOther();
      expect(await other.line()).toBe(`you are ${cart.ip}`);
      other.end();
      await Bun.sleep(100);
    }
    const grown = nodes.server.process.memory().rssBytes + nodes.client.process.memory().rssBytes - resident;
    console.log(`resident memory of both nodes grew by ${Math.round(grown / 1024 / 1024)} MiB`);
    expect(grown).toBeLessThan(100 * 1024 * 1024);
    peer.reset();
    expect(await listening.peer(0).untilClosed()).toBe("reset");
  });
});
