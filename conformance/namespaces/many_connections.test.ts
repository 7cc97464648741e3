/** Ten thousand open connections, and a policy that most of them lose by. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { bulkHangMs, eventually } from "../peer/lab/eventually.ts";
import type { Application } from "./application.ts";
import { hookLimitMs, namespaceTest, unavailable } from "./available.ts";
import { onlyFrom, workload } from "./documents.ts";
import { db, Lab } from "./lab.ts";
import type { NodeProcess } from "./node_process.ts";

const port = 7400;
const losers = { account: "cart", ip: "10.78.0.11", count: 8_000 };
const winners = { account: "web", ip: "10.78.0.12", count: 2_000 };
/** What the node may work for it, whoever else is busy: reading the document, deciding, telling the other node, and the log. */
const cutLimitCpuMs = 2_000;

/** Each process holds one for a connection, and some for itself. */
const descriptors = Number(
  Bun.spawnSync(["prlimit", "--nofile", "--output=HARD", "--noheadings"]).stdout.toString().trim(),
);
const enough = losers.count + winners.count + 500;
const why = descriptors < enough ? ` (skipped: a process may have ${descriptors} descriptors here)` : "";

describe("ten thousand open connections", () => {
  let lab: Lab;
  let nodes: { readonly client: NodeProcess; readonly server: NodeProcess };
  let cart: Application;
  let web: Application;

  const manyFiles = (argv: readonly string[]) => [
    "prlimit",
    `--nofile=${descriptors}:${descriptors}`,
    ...argv,
  ];

  beforeAll(async () => {
    if (unavailable !== null || why !== "") return;
    const documents = [workload(losers.account, losers.ip), workload(winners.account, winners.ip)];
    lab = new Lab("many", [...documents, workload("db", db.ip)].join(""));
    cart = lab.application(lab.hosts.client, manyFiles);
    web = lab.application(lab.hosts.client, manyFiles);
    const server = lab.application(lab.hosts.server, manyFiles);
    await server.listen(db.ip, port, { kind: "greet_quietly" });
    nodes = await lab.nodes([], { wrap: manyFiles });
  }, hookLimitMs);
  afterAll(() => lab?.close(), hookLimitMs);

  const name = `are all decided again when policy changes, for two seconds of work at the most${why}`;
  if (why !== "") test.skip(name, () => {});
  else
    namespaceTest(name, async () => {
      const started = performance.now();
      const [held, kept] = await Promise.all([
        cart.hold(db.ip, port, losers.ip, losers.count),
        web.hold(db.ip, port, winners.ip, winners.count),
      ]);
      const seconds = (performance.now() - started) / 1_000;
      expect(held).toMatchObject({ open: losers.count, failed: 0, closed: 0, reset: 0 });
      expect(kept).toMatchObject({ open: winners.count, failed: 0, closed: 0, reset: 0 });
      const megabytes = (node: NodeProcess) => Math.round(node.process.memory().rssBytes / 1024 / 1024);
      console.log(
        `${losers.count + winners.count} connections in ${seconds.toFixed(1)} s; resident MiB: outbound ${megabytes(nodes.client)}, inbound ${megabytes(nodes.server)}`,
      );

      const publishedAt = performance.now();
      const cpuBefore = nodes.server.process.cpuSeconds();
      lab.publish("callers", onlyFrom("db", winners.account));
      await eventually(
        "the end of the losers",
        async () => {
          await Bun.sleep(50);
          return (await cart.count()).closed === losers.count;
        },
        undefined,
        bulkHangMs,
      );
      const seenMs = Math.round(performance.now() - publishedAt);
      const cpuMs = Math.round((nodes.server.process.cpuSeconds() - cpuBefore) * 1_000);
      expect(await cart.count()).toMatchObject({
        open: losers.count,
        failed: 0,
        closed: losers.count,
        reset: losers.count,
      });
      expect(await web.count()).toMatchObject({ open: winners.count, failed: 0, closed: 0, reset: 0 });

      const cuts = await eventually(
        "a record of each",
        async () => {
          await Bun.sleep(200);
          const found = nodes.server.records.filter(({ error }) =>
            String(error).startsWith("policy_changed"),
          );
          return found.length >= losers.count && found;
        },
        undefined,
        bulkHangMs,
      );
      expect(cuts.length).toBe(losers.count);
      console.log(
        `${losers.count} cut for ${cpuMs} ms of CPU; seen by all callers ${seenMs} ms after the file was written`,
      );
      expect(cpuMs).toBeLessThan(cutLimitCpuMs);
      expect(nodes.server.metric("istio_tcp_sockets_open", { reporter: "destination" })).toBe(winners.count);
      expect(await web.call(db.ip, port, winners.ip)).toBe(`you are ${winners.ip}`);
    });
});
