/** Administrators and issuers in files, at a control plane that runs: a file that changes counts at once, one that is wrong changes nothing. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../../base/log.ts";
import type { ControlPlaneConfig } from "../../config/control/config.ts";
import { loadControlPlane } from "../../config/load.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { GivenFiles } from "./given.ts";

const directory = mkdtempSync(join(tmpdir(), "fairlead-given-"));
const administrators = join(directory, "administrators.yaml");
const issuers = join(directory, "issuers.yaml");
const errors: string[] = [];
let given: GivenFiles;

function administrator(name: string): string {
  return `apiVersion: fairlead.dev/v1
kind: Administrator
metadata: {name: ${name}}
spec: {role: viewer, subjects: [{identity: "spiffe://cluster.local/ns/shop/sa/${name}"}]}
`;
}

function issuer(name: string): string {
  return `apiVersion: fairlead.dev/v1
kind: TokenIssuer
metadata: {name: ${name}}
spec: {issuer: "https://${name}.example", jwksFile: /keys.json, namespaces: [shop]}
`;
}

function config(): ControlPlaneConfig {
  const flags = new Map([
    ["servingNames", ["127.0.0.1"]],
    ["stateDirectory", [directory]],
    ["administrators", [administrators]],
    ["issuers", [issuers]],
  ] as const);
  const loaded = loadControlPlane({ flags, environment: {}, file: null });
  if (loaded.config === null) throw new Error(JSON.stringify(loaded.errors));
  return loaded.config;
}

async function until(holds: () => boolean): Promise<void> {
  for (const begunMs = performance.now(); !holds() && performance.now() - begunMs < 10_000; )
    await Bun.sleep(10);
  expect(holds()).toBe(true);
}

beforeAll(async () => {
  writeFileSync(administrators, administrator("ada"));
  writeFileSync(issuers, issuer("one"));
  const logger = {
    ...silentLogger,
    log: (level: string, _scope: string, message: string) => void (level === "error" && errors.push(message)),
  };
  given = await GivenFiles.open(createBunHost().files, config(), [], logger);
});

afterAll(() => {
  given.close();
  rmSync(directory, { recursive: true });
});

test("a file that changes counts at once, and one that is wrong leaves what was in force", async () => {
  let changes = 0;
  given.subscribe(() => void changes++);
  expect(given.issuers.map((one) => one.issuer)).toEqual(["https://one.example"]);
  writeFileSync(issuers, `${issuer("one")}---\n${issuer("two")}`);
  await until(() => given.issuers.length === 2);
  writeFileSync(administrators, administrator("bob"));
  await until(() => given.administrators[0]?.text.includes("bob") === true);
  expect(changes).toBeGreaterThanOrEqual(2);
  writeFileSync(administrators, administrator("eve").replace("viewer", "king"));
  await until(() => errors.length > 0);
  expect(given.administrators[0]?.text).toContain("bob");
  expect(given.issuers.length).toBe(2);
}, 40_000);
