import { expect, test } from "bun:test";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { CertificateAuthority } from "../../pki/issue/ca.ts";
import { SealedKeys } from "./key_place.ts";
import { StateAuthorities } from "./state_authorities.ts";
import {
  cart,
  FlakyKeys,
  issue,
  keyVault,
  nodeTrust,
  nowMs,
  openMesh,
  provider,
  trustDomain,
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

test("the first start makes a root and seals its key; the next start has the same", async () => {
  const first = await openMesh();
  const [row] = first.records.authorities.list();
  expect(row).toMatchObject({ kind: "root", state: "active", chainPem: "" });
  expect(new TextDecoder("latin1").decode(row?.sealedKey ?? new Uint8Array())).not.toContain("PRIVATE");
  const second = await openMesh({ records: new MemoryRecords(first.records) });
  expect(second.mesh.bundle.value).toEqual(first.mesh.bundle.value);
  const trust = await nodeTrust(first);
  const { chain } = await issue(second.mesh, cart);
  const peer = await trust.verify(chain, { usage: "clientAuth", identities: null });
  expect(peer.id.uri).toBe(cart.uri);
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
  const [one, other] = records.authorities.list();
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

test("an intermediate below our own root issues, and its chain is verified", async () => {
  const setup = await openMesh();
  const row = await setup.authorities.prepare("intermediate");
  setup.authorities.apply([
    { id: setup.records.authorities.list()[0]?.id ?? "", state: "retiring" },
    { id: row.id, state: "active" },
  ]);
  await setup.clock.advance(1);
  const { chain } = await issue(setup.mesh, cart);
  expect(chain.length).toBe(2);
  const trust = await nodeTrust(setup);
  expect(trust.rootsPem).toBe(setup.mesh.bundle.value.rootsPem);
  const peer = await trust.verify(chain, { usage: "serverAuth", identities: null });
  expect(peer.id.uri).toBe(cart.uri);
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
  expect((await patient).chain.length).toBe(1);
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
