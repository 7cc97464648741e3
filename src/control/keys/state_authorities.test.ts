import { expect, test } from "bun:test";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { CertificateAuthority } from "../../pki/issue/ca.ts";
import { TrustVerifier } from "../../pki/trust/verifier.ts";
import { createCertificateRequest } from "../../pki/x509/csr.ts";
import { SealedKeys } from "./key_place.ts";
import { StateAuthorities } from "./state_authorities.ts";
import {
  cart,
  FlakyKeys,
  hour,
  issue,
  keyVault,
  newClock,
  nodeTrust,
  nowMs,
  openMesh,
  provider,
  trustDomain,
  web,
} from "./testing/fixture.ts";
import { MemoryRecords } from "./testing/memory_records.ts";

async function failure(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => "done",
    (error) => {
      const { code, message } = asMeshError(error, "io", "local");
      return `${code}: ${message}`;
    },
  );
}

test("the first start makes a root, and an intermediate that issues; it seals both keys, and the next start has the same", async () => {
  const first = await openMesh();
  const rows = first.records.authorities.list();
  expect(rows).toMatchObject([
    { kind: "root", state: "retiring", chainPem: "" },
    { kind: "intermediate", state: "active", chainPem: rows[0]?.certificatePem ?? "" },
  ]);
  for (const { sealedKey } of rows)
    expect(new TextDecoder("latin1").decode(sealedKey ?? new Uint8Array())).not.toContain("PRIVATE");
  const second = await openMesh({ records: new MemoryRecords(first.records) });
  expect(second.mesh.bundle.value).toEqual(first.mesh.bundle.value);
  const trust = await nodeTrust(first);
  const { chain } = await issue(second.mesh, cart);
  expect(chain).toHaveLength(2);
  const peer = await trust.verify(chain, { usage: "clientAuth", identities: null });
  expect(peer.id.uri).toBe(cart.uri);
  // What a server shows ends with its root, by the pin of which a host that joins knows it.
  const { chainPem, rootPem } = second.mesh.serving();
  expect([chainPem.length, rootPem]).toEqual([1, rows[0]?.certificatePem ?? ""]);
});

/** As a version before intermediates has left it: the root issues. */
async function olderState(): Promise<MemoryRecords> {
  const records = new MemoryRecords();
  const keys = new SealedKeys(await keyVault(), provider);
  const ca = await CertificateAuthority.create({ clock: newClock(), provider, trustDomain });
  await StateAuthorities.adopt({ records: records.authorities, clock: newClock() }, ca, (id, pkcs8) =>
    keys.seal(id, pkcs8),
  );
  return records;
}

test("a state whose root issues leaves gets an intermediate, and every leaf goes on being believed, by those who hold the root alone", async () => {
  const records = await olderState();
  const [before] = records.authorities.list();
  expect(before).toMatchObject({ kind: "root", state: "active" });
  const sealed = new SealedKeys(await keyVault(), provider);
  const root = await CertificateAuthority.withKey({
    clock: newClock(),
    provider,
    trustDomain,
    pem: {
      certificatePem: before?.certificatePem ?? "",
      chainPem: "",
      rootsPem: before?.certificatePem ?? "",
    },
    key: await sealed.open(before?.id ?? "", before?.sealedKey ?? new Uint8Array()),
  });
  const { csrPem } = await createCertificateRequest(provider, web);
  const old = await root.sign({ csrPem, id: web, lifetimeMs: hour });
  const setup = await openMesh({ records });
  expect(setup.mesh.bundle.value).toMatchObject({
    rootsPem: before?.certificatePem,
    wantedIssuerKeyId: null,
  });
  const { chain } = await issue(setup.mesh, cart);
  expect(chain).toHaveLength(2);
  const knowsTheRoot = new TrustVerifier({ clock: setup.clock, provider, trustDomain });
  knowsTheRoot.setRoots(before?.certificatePem ?? "");
  const oldChain = old.chainPem.flatMap((pem) => decodePemLabel(pem, "CERTIFICATE"));
  for (const trust of [knowsTheRoot, await nodeTrust(setup)])
    for (const one of [chain, oldChain]) await trust.verify(one, { usage: "clientAuth", identities: null });
});

test("killed before any write of that, or without room for it, it serves on and is completed by the next start", async () => {
  for (let write = 0; write < 4; write++) {
    const records = await olderState();
    let left = write;
    records.beforeWrite = () => {
      if (left-- === 0) throw new MeshError("disk_full", "local", "the disk is full");
    };
    const first = await openMesh({ records }).catch(() => null);
    if (first !== null)
      await nodeTrust(first).then(async (t) =>
        t.verify((await issue(first.mesh, cart)).chain, { usage: "clientAuth", identities: null }),
      );
    first?.close();
    const second = await openMesh({ records: new MemoryRecords(records) });
    expect(second.records.authorities.list().map((row) => `${row.kind} ${row.state}`)).toEqual([
      "root retiring",
      "intermediate active",
    ]);
    expect((await issue(second.mesh, cart)).chain).toHaveLength(2);
    second.close();
  }
});

test("a wrong key-encryption key is a refusal, and nothing is made in place of what is there", async () => {
  const { records } = await openMesh();
  const before = records.authorities.list();
  const work = openMesh({ records, places: [new SealedKeys(await keyVault(2), provider)] });
  expect(await failure(work)).toMatch(
    /^configuration: the sealed key of ca-\w+ cannot be opened: it is sealed with/,
  );
  expect(records.authorities.list()).toEqual(before);
});

test("an envelope that was moved to another row does not open", async () => {
  const { records, authorities } = await openMesh();
  await authorities.prepare("root");
  const [, one, other] = records.authorities.list();
  if (one === undefined || other === undefined) throw new Error("two rows are expected");
  records.authorities.put({ ...one, sealedKey: other.sealedKey });
  expect(await failure(openMesh({ records }))).toContain("belongs to another authority");
});

test("keys are sealed again under a new key-encryption key, and the old one is no longer needed", async () => {
  const { records, mesh } = await openMesh();
  await openMesh({ records, places: [new SealedKeys(await keyVault(2, 1), provider)] });
  const after = await openMesh({ records, places: [new SealedKeys(await keyVault(2), provider)] });
  expect(after.mesh.bundle.value.rootsPem).toBe(mesh.bundle.value.rootsPem);
});

test("a key that is away at the start is waited for, and what is known is published meanwhile", async () => {
  const sealed = new SealedKeys(await keyVault(), provider);
  const flaky = new FlakyKeys(sealed, () => new MeshError("authority_unavailable", "upstream", "away"));
  const first = await openMesh({ places: [flaky] });
  flaky.isAway = true;
  const second = await openMesh({ places: [flaky], records: new MemoryRecords(first.records) });
  expect(second.mesh.bundle.value).toEqual(first.mesh.bundle.value);
  expect(() => second.mesh.serving()).toThrow("the CA's key cannot be used now: away");
  const waiting = failure(issue(second.mesh, cart));
  await second.clock.advance(8_000);
  expect(await waiting).toBe("authority_unavailable: the CA's key cannot be used now: away");
  const patient = issue(second.mesh, cart);
  flaky.isAway = false;
  await second.clock.advance(16_000);
  expect((await patient).chain.length).toBe(2);
});

test("the CA of a mesh on one host is taken over as the first, and only as the first", async () => {
  const records = new MemoryRecords();
  const clock = { wallMs: () => nowMs, now: () => 0, setTimer: () => ({ cancel() {} }), defer() {} };
  const ca = await CertificateAuthority.create({ clock, provider, trustDomain });
  const keys = new SealedKeys(await keyVault(), provider);
  const adopt = (): Promise<boolean> =>
    StateAuthorities.adopt({ records: records.authorities, clock }, ca, (id, pkcs8) => keys.seal(id, pkcs8));
  expect(await adopt()).toBe(true);
  const { mesh } = await openMesh({ records });
  expect(mesh.bundle.value.rootsPem).toBe(ca.rootsPem);
  expect(await adopt()).toBe(false);
  const { records: other } = await openMesh();
  const late = StateAuthorities.adopt({ records: other.authorities, clock }, ca, (id, key) =>
    keys.seal(id, key),
  );
  expect(await failure(late)).toContain("already has authorities");
});
