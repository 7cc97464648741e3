import { describe, expect, test } from "bun:test";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { CertificateAuthority } from "../../pki/issue/ca.ts";
import { TrustVerifier } from "../../pki/trust/verifier.ts";
import { createCertificateRequest } from "../../pki/x509/csr.ts";
import { OwnCertifier } from "./authority_certificate.ts";
import { activation, positions } from "./authority_states.ts";
import { readRowCertificates } from "./authority_view.ts";
import { readReference, SealedKeys, storeReference } from "./key_place.ts";
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

test("the root of ours is the one that what issues is below, whichever came first", async () => {
  const { authorities } = await openMesh();
  const first = authorities.ownRoot()?.authority;
  await authorities.prepare("root");
  expect(authorities.ownRoot()?.authority.id).toBe(first?.id ?? "");
  authorities.apply(activation(positions(authorities.view.value.authorities)));
  const second = authorities.ownRoot()?.authority;
  expect([second?.kind, second?.id === first?.id]).toEqual(["root", false]);
  expect(second?.certificate.der).toEqual(authorities.view.value.active?.roots[0]?.der ?? new Uint8Array());
});

test("a root that was announced and has nothing below it is completed, and not the one that is on its way out", async () => {
  const first = await openMesh();
  const announced = await first.authorities.prepare("root");
  const rows = first.records.authorities.list();
  const root = rows.find(({ kind, state }) => kind === "root" && state === "next");
  first.records.authorities.remove(announced.id);
  const again = await openMesh({ records: new MemoryRecords(first.records) });
  await again.authorities.completeRoot();
  const next = again.records.authorities.list().filter(({ state }) => state === "next");
  expect(next.map(({ kind, chainPem }) => [kind, chainPem])).toEqual([
    ["root", ""],
    ["intermediate", root?.certificatePem ?? "none"],
  ]);
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

describe("what cannot be", () => {
  test("a state whose authorities are all retired, or that has a key of a place that is not configured", async () => {
    const { records, close } = await openMesh();
    close();
    const [root, issuing] = records.authorities.list();
    if (root === undefined || issuing === undefined) throw new Error("two rows are expected");
    const elsewhere = storeReference({ place: "vault-transit", mount: "m", keyName: "k", version: 1 });
    records.authorities.put({ ...issuing, sealedKey: elsewhere });
    expect(await failure(openMesh({ records }))).toContain("made with --ca vault-transit?");
    for (const { id } of [root, issuing]) records.authorities.setState(id, "retired");
    expect(await failure(openMesh({ records }))).toContain("every authority in the state is retired");
  });

  test("a row without certificates, or without a root", async () => {
    const { records } = await openMesh();
    const issuing = records.authorities.list().find(({ kind }) => kind === "intermediate");
    const { certificatePem = "", chainPem = "" } = issuing ?? {};
    const read = (row: { certificatePem: string; chainPem: string }) => () =>
      readRowCertificates({ id: "ca-7", ...row });
    for (const row of [
      { certificatePem: "", chainPem: "" },
      { certificatePem, chainPem: "" },
    ])
      expect(read(row)).toThrow("the certificate of authority ca-7 has no root");
    expect(read({ certificatePem, chainPem })().root.subjectText).not.toBe("");
  });

  test("an authority that was certified for another key", async () => {
    const common = { clock: newClock(), provider, trustDomain };
    const other = await CertificateAuthority.create(common);
    const certifier = {
      certify: async () => ({ kind: "root" as const, certificatePem: other.rootsPem, chainPem: "" }),
    };
    expect(await failure(openMesh({ certifier }))).toMatch(
      /^configuration: authority ca-\w+ was certified for another key$/,
    );
  });

  test("an intermediate without the key of our root, and a key of an authority that is gone", async () => {
    const { authorities } = await openMesh();
    const common = { clock: newClock(), provider, trustDomain };
    const { key, publicKeyInfo } = await new SealedKeys(await keyVault(), provider).create("x");
    const question = { kind: "intermediate", key, publicKeyInfo, root: null, lifetimeMs: hour } as const;
    expect(await failure(new OwnCertifier(common).certify(question))).toBe(
      "authority_unavailable: an intermediate needs the key of our own root",
    );
    expect(await failure(authorities.moveKey("ca-0", new Uint8Array()))).toBe(
      "configuration: there is no authority ca-0 any more",
    );
  });
});

test("a root that another CA takes the place of gets no intermediate", async () => {
  const records = await olderState();
  const { authorities } = await openMesh({ records, firstKind: "intermediate" });
  expect(authorities.view.value.authorities.map(({ kind, state }) => [kind, state])).toEqual([
    ["root", "active"],
  ]);
});

test("a row without a key is in force without it, and its successor issues", async () => {
  const { records, close } = await openMesh();
  close();
  const [root] = records.authorities.list();
  if (root === undefined) throw new Error("a root is expected");
  records.authorities.put({ ...root, sealedKey: null });
  const { authorities, mesh, close: closeAgain } = await openMesh({ records });
  expect(authorities.view.value.authorities.map(({ kind, ca }) => [kind, ca !== null])).toEqual([
    ["root", false],
    ["intermediate", true],
  ]);
  expect((await issue(mesh, cart)).chain).toHaveLength(2);
  closeAgain();
});

test("what changes nothing is told to none, and nothing is once it is closed", async () => {
  const { authorities, close, clock } = await openMesh();
  let told = 0;
  authorities.view.subscribe(() => void told++);
  authorities.apply([]);
  expect(told).toBe(0);
  await authorities.prepare("intermediate");
  expect(told).toBe(1);
  const [, , next] = authorities.rows();
  close();
  authorities.apply([{ id: next?.id ?? "", state: "retired" }]);
  expect([told, clock.timers]).toEqual([1, 0]);
});

test("a key that is away is not waited for once it is closed", async () => {
  const sealed = new SealedKeys(await keyVault(), provider);
  const flaky = new FlakyKeys(sealed, () => new MeshError("authority_unavailable", "upstream", "away"));
  const first = await openMesh({ places: [flaky] });
  first.close();
  flaky.isAway = true;
  const second = await openMesh({ places: [flaky], records: new MemoryRecords(first.records) });
  expect(second.clock.timers).toBeGreaterThan(0);
  second.close();
  await second.authorities.reopenKeptAway();
  expect(second.clock.timers).toBe(0);
});

test("a key is sealed again for another key-encryption key alone; a damaged reference is no place", async () => {
  const [one, two] = [
    new SealedKeys(await keyVault(1), provider),
    new SealedKeys(await keyVault(2, 1), provider),
  ];
  const { stored } = await one.create("ca-1");
  expect(await one.refresh("ca-1", stored)).toBeNull();
  const again = (await two.refresh("ca-1", stored)) ?? new Uint8Array();
  expect(again).not.toEqual(stored);
  expect(await two.refresh("ca-1", again)).toBeNull();
  for (const text of ["7", "null", '"text"', "{"])
    expect(() => readReference(Uint8Array.of(0x80, ...new TextEncoder().encode(text)))).toThrow("is damaged");
});
