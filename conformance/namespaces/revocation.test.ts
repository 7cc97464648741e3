/** A revoked certificate ends what is open, refuses what comes, and leaves everybody else alone. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { copyFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Application } from "./application.ts";
import { hookLimitMs, namespaceTest, unavailable } from "./available.ts";
import { workload } from "./documents.ts";
import { db, Lab } from "./lab.ts";
import type { NodeProcess } from "./node_process.ts";

const cartIp = "10.78.0.11";
const webIp = "10.78.0.12";
const port = 7000;

describe("a revocation list", () => {
  let lab: Lab;
  let crlPath: string;
  let nodes: { readonly client: NodeProcess; readonly server: NodeProcess };
  let caller: Application;

  beforeAll(async () => {
    if (unavailable !== null) return;
    lab = new Lab("revocation", workload("cart", cartIp) + workload("web", webIp) + workload("db", db.ip));
    crlPath = join(lab.directory, "revoked.pem");
    putList([]);
    caller = lab.application(lab.hosts.client);
    await lab.application(lab.hosts.server).listen(db.ip, port, { kind: "greet" });
    const start = (side: "client" | "server", more: readonly string[]) =>
      lab.node(lab.hosts[side], ["--capture", "redirect", ...more]).ready();
    // The client's node must not find out by itself.
    const [client, server] = await Promise.all([start("client", []), start("server", ["--crl", crlPath])]);
    nodes = { client, server };
  }, hookLimitMs);
  afterAll(() => lab?.close(), hookLimitMs);

  /** The list with these certificates on it, replaced in one step. */
  function putList(revoked: readonly string[]): void {
    const leaves = revoked.map((pem, index) => {
      const certPath = join(lab.directory, `revoked-${index}.pem`);
      writeFileSync(certPath, pem);
      return { certPath, keyPath: "" };
    });
    copyFileSync(lab.authority.revoke(leaves), `${crlPath}.new`);
    renameSync(`${crlPath}.new`, crlPath);
  }

  namespaceTest("cuts the open connection of a revoked workload, and no other", async () => {
    const cart = caller.connect(db.ip, port, { from: cartIp });
    const web = caller.connect(db.ip, port, { from: webIp });
    expect([await cart.line(), await web.line()]).toEqual([`you are ${cartIp}`, `you are ${webIp}`]);
    const { pem } = nodes.client.certificate("cart");
    putList([pem]);
    const revokedAt = performance.now();
    expect(await cart.untilClosed()).toBe("reset");
    console.log(`cut ${Math.round(performance.now() - revokedAt)} ms after the list was in place`);
    const line = await nodes.server.line({ "src.workload": "cart", error: /^certificate_revoked: / });
    expect(line).toMatchObject({
      "src.identity": "spiffe://cluster.local/ns/shop/sa/cart",
      direction: "inbound",
    });
    const flag = { reporter: "destination", response_flags: "CERT_REVOKED", source_workload: "cart" };
    expect(nodes.server.metric("istio_tcp_connections_failed_total", flag)).toBe(1);

    web.send("still here");
    expect(await web.read(`you are ${webIp}\nstill here`.length)).toEndWith("still here");
    expect(await caller.call(db.ip, port, webIp)).toBe(`you are ${webIp}`);
    web.end();
  });

  namespaceTest("refuses the revoked workload's new connections, and says why", async () => {
    const before = nodes.server.records.length;
    expect(await caller.call(db.ip, port, cartIp)).toBe("reset");
    const line = await nodes.server.line({ message: "connection failed", error: /^certificate_revoked: / });
    expect(line["src.addr"]).toStartWith(cartIp.includes(":") ? `[${cartIp}]:` : `${cartIp}:`);
    expect(nodes.server.records.length).toBeGreaterThan(before);
    expect(await caller.call(db.ip, port, webIp)).toBe(`you are ${webIp}`);
  });

  namespaceTest("that cannot be read leaves the last one in force", async () => {
    writeFileSync(`${crlPath}.new`, "-----BEGIN X509 CRL-----\nnot a list\n-----END X509 CRL-----\n");
    renameSync(`${crlPath}.new`, crlPath);
    await nodes.server.line({ level: "warn", message: "revocation list refused" });
    expect(await caller.call(db.ip, port, cartIp)).toBe("reset");
    expect(await caller.call(db.ip, port, webIp)).toBe(`you are ${webIp}`);
    // The list lies beside the log, which is written to all the time: that is no change of the list. What is read after it has been
    // read for the last time.
    putList([nodes.client.certificate("web").pem]);
    await nodes.server.line({ message: "revocation list in_force", entries: 2 });
    expect(nodes.server.log.filter(({ message }) => message === "revocation list refused").length).toBe(1);
  });
});
