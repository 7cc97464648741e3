/** Files that a control plane is given: an error names the file it is about. */
import { expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { silentLogger } from "../../base/log.ts";
import { loadControlPlane } from "../../config/load.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import { GivenFiles } from "./given.ts";

const administrator = `apiVersion: fairlead.dev/v1
kind: Administrator
metadata: {name: ada}
spec:
  role: mesh-admin
  subjects: [{identity: "spiffe://cluster.local/ns/shop/sa/ada"}]
`;
const issuer = (audiences: string) => `apiVersion: fairlead.dev/v1
kind: TokenIssuer
spec: {issuer: "https://id.example", audiences: ${audiences}, jwksFile: keys.json, subject: operator}
`;

/** What is wrong with these; "fine" when they are taken. */
async function said(administrators: Readonly<Record<string, string>>, issuers: string): Promise<string> {
  const files = new MemoryFiles();
  for (const [path, text] of Object.entries(administrators)) files.put(path, text);
  files.put("issuers.yaml", issuers);
  const flags = new Map([
    ["administrators", Object.keys(administrators)],
    ["issuers", ["issuers.yaml"]],
    ["stateDirectory", ["state"]],
  ] as const);
  const { config } = loadControlPlane({ flags, environment: {}, file: null });
  if (config === null) throw new Error("the settings are wrong");
  return await GivenFiles.open(files, config, [], silentLogger).then(
    (given) => {
      given.close();
      return "fine";
    },
    (thrown) => asMeshError(thrown, "io", "local").message,
  );
}

test("what is good is taken, and what is not names its file", async () => {
  const good = { "a.yaml": administrator };
  expect(await said(good, issuer("[a]"))).toBe("fine");
  expect(await said({ ...good, "b.yaml": "x" }, issuer("[a]"))).toBe(
    "b.yaml: it has a document that is not an Administrator, or is not YAML",
  );
  expect(await said({ "a.yaml": administrator.replace("mesh-admin", "emperor") }, issuer("[a]"))).toStartWith(
    'a.yaml:5:9: Administrator ada: "emperor" is not a role',
  );
  expect(await said(good, issuer("[]"))).toBe(
    'issuers.yaml: token issuer "https://id.example": needs an audience',
  );
  expect(await said(good, "x")).toStartWith("issuers.yaml:1:1: ");
});
