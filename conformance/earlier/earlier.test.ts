/**
 * What earlier releases left on disks is opened by this one: state, back-up, a host's credentials and its snapshot. Each release has a folder
 * of `fixtures/earlier`, made by `bun conformance/earlier/make.ts`. Certificates in them end one day: what is opened here does not ask when.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readNodeFile } from "../../src/agent/join/node_file.ts";
import { readSnapshot } from "../../src/agent/xds/snapshot_file.ts";
import { silentLogger } from "../../src/base/log.ts";
import { openKeyVault } from "../../src/control/keys/key_encryption.ts";
import { SealedKeys } from "../../src/control/keys/key_place.ts";
import { ControlState } from "../../src/control/state/control_state.ts";
import { inspectBackup, restore } from "../../src/control/state/restore.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { decodeAddress } from "../../src/mesh/codec/decode_address.ts";
import { decodeAuthorization } from "../../src/mesh/codec/decode_authorization.ts";
import { parseDocuments } from "../../src/mesh/documents/parse.ts";
import type { SigningKey } from "../../src/pki/crypto/private_key.ts";
import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { buffer } from "../../src/pki/crypto/signature.ts";
import { decodePemLabel } from "../../src/pki/der/pem.ts";
import { type Certificate, parseCertificate } from "../../src/pki/x509/certificate.ts";
import { addressType, authorizationType } from "../../src/wire/ads/delta.ts";
import type { Expected } from "./expected.ts";

const folder = join(import.meta.dir, "..", "fixtures", "earlier");
const host = createBunHost();
const provider = runtimeProvider();
const scratch = mkdtempSync(join(tmpdir(), "fairlead-earlier-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A copy: what is opened may be brought up to date. */
function copyOf(release: string): string {
  const path = join(scratch, release);
  cpSync(join(folder, release), path, { recursive: true });
  return path;
}

/** What the key signs, the certificate's key proves. */
async function isKeyOf(signer: SigningKey, { publicKeyInfo }: Certificate): Promise<boolean> {
  const { subtle } = provider.crypto;
  const text = new TextEncoder().encode("earlier");
  const key = await subtle.importKey("spki", buffer(publicKeyInfo), signer.algorithm, false, ["verify"]);
  return await subtle.verify(signer.algorithm, key, buffer(await signer.sign(text)), text);
}

/** All that was in it, readable by this version. */
async function checkState(state: ControlState, expected: Expected, keyPath: string): Promise<void> {
  const { version, documents } = state.documents.current();
  expect(version).toBe(expected.documentVersion);
  expect(documents.map(({ key }) => key)).toEqual([...expected.documents]);
  const files = documents.map(({ key, text }) => ({ path: key, text }));
  expect(parseDocuments(files).errors).toEqual([]);
  expect(parseDocuments(files).documents.map(({ metadata }) => metadata.key)).toEqual([
    ...expected.documents,
  ]);
  const bindings = state.registrations.list().map(({ binding }) => JSON.stringify(binding));
  expect(bindings).toHaveLength(expected.workloads.length);
  for (const [index, workload] of expected.workloads.entries()) expect(bindings[index]).toContain(workload);
  expect(state.revocations.isRevokedIdentity(expected.revokedIdentity)).toBe(true);
  expect(state.tokens.list()).toHaveLength(expected.tokens);
  expect(state.audit.verify()).toMatchObject({ intact: true });
  expect(state.check()).toEqual([]);
  const authorities = state.authorities.list();
  expect(authorities.map(({ kind }) => kind)).toEqual(expected.authorities as ("root" | "intermediate")[]);
  const keys = new SealedKeys(await openKeyVault(host, provider, { kind: "file", path: keyPath }), provider);
  for (const { id, sealedKey, certificatePem } of authorities) {
    const [der = new Uint8Array(0)] = decodePemLabel(certificatePem, "CERTIFICATE");
    const key = await keys.open(id, sealedKey ?? new Uint8Array(0));
    expect(await isKeyOf(key, parseCertificate(der))).toBe(true);
  }
}

describe.each(readdirSync(folder))("what %s left", (release) => {
  const path = copyOf(release);
  const expected: Expected = JSON.parse(readFileSync(join(path, "expected.json"), "utf8"));

  test("a control plane's state is opened, with its keys", async () => {
    const directory = join(path, "control");
    const state = await ControlState.open(host, directory, silentLogger, { reserveBytes: 0 });
    try {
      await checkState(state, expected, join(directory, "key-encryption.key"));
    } finally {
      state.close();
    }
  });

  test("a back-up is restored where there is no state", async () => {
    const backup = join(path, "fairlead.backup");
    expect(inspectBackup(host, backup)).toMatchObject({ documentVersion: expected.documentVersion });
    const directory = join(path, "restored");
    await restore(host, backup, directory);
    const state = await ControlState.open(host, directory, silentLogger, { reserveBytes: 0 });
    try {
      await checkState(state, expected, join(path, "control", "key-encryption.key"));
    } finally {
      state.close();
    }
  });

  test("a host finds its credentials", async () => {
    const joined = await readNodeFile(host.files, join(path, "node"), provider);
    expect(joined?.membership.control).toBe(expected.control);
    expect(joined?.membership.workloads).toEqual([...expected.workloads]);
    expect(joined?.credential.id.uri).toStartWith("spiffe://cluster.local/ns/fairlead-nodes/sa/");
    expect(decodePemLabel(joined?.rootsPem ?? "", "CERTIFICATE").length).toBeGreaterThan(0);
  });

  test("and the mesh as it was last known", async () => {
    const directory = join(path, "node");
    const options = { clock: host.clock, files: host.files, provider, logger: silentLogger, directory };
    const snapshot = await readSnapshot({ ...options, mesh: `${expected.control} cluster.local` });
    const resources = (typeUrl: string) =>
      snapshot?.types.find((type) => type.typeUrl === typeUrl)?.resources ?? [];
    const addresses = resources(addressType).map(({ name, resource }) =>
      decodeAddress(name, resource?.value ?? new Uint8Array(0)),
    );
    expect(addresses.filter(({ ok }) => !ok)).toEqual([]);
    expect(addresses.length).toBe(
      expected.documents.filter((key) => /^(?:WorkloadEntry|ServiceEntry) /.test(key)).length,
    );
    const policies = resources(authorizationType).map(({ name, resource }) =>
      decodeAuthorization(name, resource?.value ?? new Uint8Array(0)),
    );
    expect(policies.length).toBeGreaterThan(0);
    expect(policies.filter(({ ok }) => !ok)).toEqual([]);
  });
});
