/** Certificates are renewed under open connections; keys are in memory alone. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { configLimits } from "../../src/base/limits/config.ts";
import { eventually } from "../peer/lab/eventually.ts";
import type { Application } from "./application.ts";
import { hookLimitMs, namespaceTest, unavailable } from "./available.ts";
import { cart, db, Lab } from "./lab.ts";
import type { NodeProcess } from "./node_process.ts";

const port = 7200;
const rotations = 2;

describe("certificates that live a minute", () => {
  let lab: Lab;
  let state: string;
  let client: NodeProcess;
  let server: NodeProcess;
  let caller: Application;

  beforeAll(async () => {
    if (unavailable !== null) return;
    lab = new Lab("rotation");
    state = join(lab.directory, "state");
    caller = lab.application(lab.hosts.client);
    await lab.application(lab.hosts.server).listen(db.ip, port, { kind: "greet" });
    const words = ["up", "-f", lab.meshPath, "--capture", "redirect", "--state-directory", state];
    const settings = ["--svid-lifetime", `${configLimits.minSvidLifetimeMs / 1_000}s`];
    server = await lab.run(lab.hosts.server, [...words, ...settings]).ready();
    client = await lab.run(lab.hosts.client, [...words, ...settings]).ready();
  }, hookLimitMs);
  afterAll(() => lab?.close(), hookLimitMs);

  namespaceTest("are renewed under an open connection, and new ones show the new one", async () => {
    const lasting = caller.connect(db.ip, port, { from: cart.ip });
    const greeting = await lasting.line();
    const seen = [client.certificate("cart").serialNumber];
    const seenAtServer = [server.certificate("db").serialNumber];
    for (let turn = 1; turn <= rotations; turn++) {
      const next = (node: NodeProcess, account: string, before: readonly string[]): Promise<string> =>
        eventually(`another certificate of ${account}`, async () => {
          await Bun.sleep(250);
          const { serialNumber } = node.certificate(account);
          return !before.includes(serialNumber) && serialNumber;
        });
      seen.push(await next(client, "cart", seen));
      seenAtServer.push(await next(server, "db", seenAtServer));
      lasting.send(`turn ${turn}`);
      await lasting.read(greeting.length + 1 + 6 * turn);
      expect(await caller.call(db.ip, port, cart.ip)).toBe(`you are ${cart.ip}`);
    }
    expect(lasting.text).toBe(`${greeting}\nturn 1turn 2`);
    expect(new Set([...seen, ...seenAtServer]).size).toBe(2 * (rotations + 1));
    lasting.end();
    expect(await lasting.untilClosed()).toBe("orderly");
    for (const node of [client, server]) {
      await eventually("a record of each", () => node.records.length > rotations);
      expect(node.records.length).toBe(rotations + 1);
      expect(node.records.filter(({ error }) => error !== undefined)).toEqual([]);
    }
    // A tunnel for each certificate: the one the lasting connection held, and one for each call.
    const shown = new Set(server.records.map((line) => line["src.addr"]));
    expect(shown.size).toBe(rotations + 1);
  });

  namespaceTest(
    "leave no key on disk but the authority's, nor in what the kernel shows of the process",
    async () => {
      const holders = readdirSync(lab.directory, { recursive: true, encoding: "utf8" })
        .filter((name) => !name.startsWith("pki"))
        .filter((name) => contents(join(lab.directory, name)).includes("PRIVATE KEY"));
      expect(holders).toEqual(["state/authority.pem"]);
      for (const node of [client, server]) {
        for (const file of ["cmdline", "environ"])
          expect(contents(`/proc/${node.process.pid}/${file}`)).not.toContain("PRIVATE KEY");
        const open = readdirSync(`/proc/${node.process.pid}/fd`);
        for (const descriptor of open) {
          const text = regularFile(`/proc/${node.process.pid}/fd/${descriptor}`);
          expect(text).not.toContain("PRIVATE KEY");
        }
        expect(node.process.log()).not.toContain("PRIVATE KEY");
        expect(node.get("http://127.0.0.1:15000/config_dump")).not.toContain("PRIVATE KEY");
      }
    },
  );
});

/** Empty for what is not a file. */
function contents(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

/** Of a descriptor: to read from a pipe or a socket would take its content away. */
function regularFile(path: string): string {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true ? contents(path) : "";
}
