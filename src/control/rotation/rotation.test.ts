import { expect, test } from "bun:test";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { keysLimits, rotationLimits } from "../../base/limits/control.ts";
import { silentLogger } from "../../base/log.ts";
import { outcomeOf, rejectionOf } from "../../base/testing/rejection.ts";
import { nodeNamespace, SpiffeId } from "../../mesh/identity.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { TrustVerifier } from "../../pki/trust/verifier.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import { createCertificateRequest } from "../../pki/x509/csr.ts";
import { SealedKeys } from "../keys/key_place.ts";
import {
  cart,
  FlakyKeys,
  follow,
  hour,
  issue,
  keyVault,
  nodeTrust,
  openMesh,
  provider,
  type Setup,
  trustDomain,
  web,
} from "../keys/testing/fixture.ts";
import { MemoryRecords } from "../keys/testing/memory_records.ts";
import { Rotation } from "./rotation.ts";

const asClient = { usage: "clientAuth", identities: null } as const;

class Nodes {
  readonly versions = new Map<string, string>();
  readonly joined: string[];

  constructor(...joined: string[]) {
    this.joined = joined;
  }

  nodes(): Iterable<string> {
    return this.joined;
  }

  readonly gone = new Set<string>();
  readonly serials = new Map<string, readonly string[]>();

  ownSerials(node: string): readonly string[] | null {
    return this.serials.get(node) ?? null;
  }

  isGone(holder: string): boolean {
    return this.gone.has(holder);
  }

  acknowledged(): ReadonlyMap<string, string> {
    return this.versions;
  }

  /** As a node does when it is pushed a bundle. */
  follow(name: string, { mesh }: Setup): void {
    this.versions.set(name, mesh.bundle.value.version);
    mesh.bundle.subscribe(({ version }) => this.versions.set(name, version));
  }
}

function rotate(setup: Setup, knowledge: Nodes): Rotation {
  const { clock, records, authorities, mesh } = setup;
  return new Rotation({ clock, records, authorities, mesh, knowledge, logger: silentLogger });
}

async function leaf(setup: Setup, id: SpiffeId, node: string): Promise<readonly Uint8Array[]> {
  await setup.clock.advance(10);
  return (await issue(setup.mesh, id, node)).chain;
}

test("a host that was given a certificate of the new root, and was not seen with it, still goes by the old one: its disk may be full", async () => {
  const setup = await openMesh();
  const { clock } = setup;
  const nodes = new Nodes("edge-1");
  nodes.follow("edge-1", setup);
  const edge = new SpiffeId(trustDomain, nodeNamespace, "edge-1");
  const serialOf = ([own]: readonly Uint8Array[]) => parseCertificate(own ?? new Uint8Array()).serialNumber;
  const shown = serialOf(await leaf(setup, edge, "edge-1"));
  nodes.serials.set("edge-1", [shown]);
  const rotation = rotate(setup, nodes);
  await rotation.start("root");
  await clock.advance(2_000);
  expect(rotation.progress()).toMatchObject({ phase: "reissuing" });
  // Twice: the first one that it could not keep is of no more account than the second.
  await leaf(setup, edge, "edge-1");
  const given = serialOf(await leaf(setup, edge, "edge-1"));
  nodes.serials.set("edge-1", [shown, given]);
  expect(rotation.progress().waiting).toMatchObject({ what: "leaf", names: [`edge-1 (${edge})`] });
  expect(rotation.finish().done).toBe(false);
  nodes.serials.set("edge-1", [given]);
  expect(rotation.progress().waiting).toMatchObject({ what: "finish" });
  expect(rotation.finish()).toMatchObject({ done: true, progress: { phase: "idle" } });
});

test("what holds a rotation up can be abandoned, step by step, and a group that has scaled in is not waited for", async () => {
  const setup = await openMesh();
  const { clock, mesh } = setup;
  const nodes = new Nodes("edge-1", "vm-1");
  nodes.follow("edge-1", setup);
  await leaf(setup, cart, "edge-1");
  await leaf(setup, web, "vm-1");
  const rotation = rotate(setup, nodes);
  await rotation.start("root");
  await clock.advance(2_000);
  expect(rotation.progress()).toMatchObject({ phase: "preparing", waiting: { names: ["vm-1"] } });
  const abandoned = rotation.finish(true);
  expect(abandoned).toMatchObject({ done: true, progress: { phase: "reissuing" } });
  expect(rotation.finish().done).toBe(false);
  await leaf(setup, cart, "edge-1");
  expect(rotation.progress().waiting?.names).toEqual([expect.stringContaining("vm-1 ")]);
  // Its group has scaled in: no confirmation is needed for it.
  nodes.joined.splice(nodes.joined.indexOf("vm-1"), 1);
  nodes.gone.add("vm-1");
  expect(rotation.progress().waiting).toMatchObject({ what: "finish" });
  expect(rotation.finish()).toMatchObject({ done: true, progress: { phase: "idle" } });
  await clock.advance(2_000);
  expect(mesh.bundle.value.rootsPem.match(/BEGIN/g)).toHaveLength(1);
});

test("a root is rotated, with an overlap in which leaves of both are believed, and refusals that name who holds it up", async () => {
  const setup = await openMesh();
  const { mesh, clock } = setup;
  // edge-2 is a real ztunnel: it asks for certificates and for no bundle.
  const nodes = new Nodes("edge-1");
  nodes.follow("edge-1", setup);
  const oldRoots = mesh.bundle.value.rootsPem;
  const before = [await leaf(setup, cart, "edge-1"), await leaf(setup, web, "edge-2")];
  const rotation = rotate(setup, nodes);
  expect(rotation.progress()).toMatchObject({ phase: "idle", next: null, retiring: [], waiting: null });

  await rotation.start("root");
  await clock.advance(2_000);
  // edge-1 has acknowledged; edge-2, which cannot, has fetched nothing since.
  expect(rotation.progress()).toMatchObject({
    phase: "preparing",
    waiting: { what: "root", names: ["edge-2"], count: 1 },
  });
  expect(rotation.finish()).toMatchObject({ done: false, progress: { waiting: { names: ["edge-2"] } } });
  expect(await leaf(setup, cart, "edge-1")).toHaveLength(2);
  await (await nodeTrust(setup)).verify(await leaf(setup, web, "edge-2"), asClient);
  await clock.advance(2_000);

  expect(rotation.progress()).toMatchObject({
    phase: "reissuing",
    waiting: { what: "leaf", names: [`edge-1 (${cart.uri})`, `edge-2 (${web.uri})`] },
  });
  const active = mesh.authorities.value.active?.certificate;
  expect(mesh.bundle.value.wantedIssuerKeyId).toBe(active?.extensions.subjectKeyId ?? "none");
  const after = [await leaf(setup, cart, "edge-1")];
  const overlap = await nodeTrust(setup);
  for (const chain of [...before, ...after]) await overlap.verify(chain, asClient);
  expect(rotation.finish()).toMatchObject({
    done: false,
    progress: { waiting: { names: [`edge-2 (${web.uri})`] } },
  });
  after.push(await leaf(setup, web, "edge-2"));
  expect(rotation.progress().waiting).toEqual({ what: "finish", names: [], count: 0 });

  expect(rotation.finish()).toMatchObject({
    done: true,
    progress: { phase: "idle", retiring: [], waiting: null },
  });
  await clock.advance(1);
  expect(mesh.bundle.value).toMatchObject({ wantedIssuerKeyId: null });
  expect(mesh.bundle.value.rootsPem).not.toContain(oldRoots);
  const trust = await nodeTrust(setup);
  for (const chain of after) await trust.verify(chain, asClient);
  for (const chain of before) {
    const refused = await trust
      .verify(chain, asClient)
      .catch((error) => asMeshError(error, "io", "local").code);
    expect(refused).toBe("certificate_untrusted");
  }
  // The old key is gone.
  const rows = setup.records.authorities.list();
  expect(rows.map((row) => [row.kind, row.state, row.sealedKey === null])).toEqual([
    ["root", "retired", true],
    ["intermediate", "retired", true],
    ["root", "retiring", false],
    ["intermediate", "active", false],
  ]);
  rotation.close();
});

test("killed before any write of a rotation, the next process goes on to the same end", async () => {
  let isOver = false;
  for (let write = 0; !isOver; write++) {
    expect(write).toBeLessThan(40);
    const first = await openMesh();
    const nodes = new Nodes();
    const chain = await leaf(first, cart, "edge-1");
    const rotation = rotate(first, nodes);
    let left = write;
    first.records.beforeWrite = () => {
      if (left-- === 0) throw new Error("killed");
    };
    try {
      await rotation.start("root");
      await leaf(first, cart, "edge-1");
      rotation.advance();
      await leaf(first, cart, "edge-1");
      isOver = rotation.finish().done;
    } catch (error) {
      expect(String(error)).toContain("killed");
    }
    rotation.close();
    first.close();
    const records = new MemoryRecords(first.records);
    const second = await openMesh({ records, clock: first.clock });
    // Whatever was half done, there is one that issues, and its leaves and the old ones are believed.
    const during = await leaf(second, cart, "edge-1");
    const trust = await nodeTrust(second);
    await trust.verify(during, asClient);
    // It is revoked before it is retired: by the operator's word, when no leaf of it is without a successor.
    if (records.authorities.list()[1]?.state !== "retired" && records.revocations.list().length === 0)
      await trust.verify(chain, asClient);
    const again = rotate(second, nodes);
    // It was killed before the first write of the rotation, or what it had made so far was taken back.
    if (again.progress().phase === "idle" && records.authorities.list()[0]?.state !== "retired")
      await again.start("root");
    await leaf(second, cart, "edge-1");
    again.advance();
    await leaf(second, cart, "edge-1");
    again.finish();
    expect(again.progress()).toMatchObject({ phase: "idle", next: null, retiring: [] });
    const states = records.authorities.list().map((row) => `${row.kind} ${row.state}`);
    expect(states.filter((one) => !one.endsWith("retired"))).toEqual([
      "root retiring",
      "intermediate active",
    ]);
    again.close();
    second.close();
    // What was retired keeps no key, also when the process was killed between the two.
    const third = await openMesh({ records: new MemoryRecords(records), clock: first.clock });
    const retired = third.records.authorities.list().filter((row) => row.state === "retired");
    expect(retired.map((row) => row.sealedKey)).toEqual(retired.map(() => null));
    third.close();
  }
});

test("that a certificate was issued to a node is no sign that it holds the root: the answer may have been lost", async () => {
  const setup = await openMesh();
  const nodes = new Nodes("edge-1");
  const rotation = rotate(setup, nodes);
  await leaf(setup, cart, "edge-1");
  await rotation.start("root");
  await leaf(setup, cart, "edge-1");
  await setup.clock.advance(2_000);
  expect(rotation.progress()).toMatchObject({
    phase: "preparing",
    waiting: { what: "root", names: ["edge-1"] },
  });
  nodes.follow("edge-1", setup);
  await setup.clock.advance(2_000);
  expect(rotation.progress()).toMatchObject({ phase: "reissuing" });
  rotation.close();
});

test("aborted before it issues, nothing has changed; afterwards it is refused", async () => {
  const setup = await openMesh();
  const nodes = new Nodes("edge-1");
  const rotation = rotate(setup, nodes);
  const before = setup.mesh.bundle.value.rootsPem;
  await rotation.start("root");
  expect(await outcomeOf(rotation.start("root"))).toThrow("a rotation is under way");
  expect(rotation.abort()).toMatchObject({ done: true, progress: { phase: "idle" } });
  await setup.clock.advance(1);
  expect(setup.mesh.bundle.value.rootsPem).toBe(before);
  nodes.joined.length = 0;
  await leaf(setup, cart, "edge-1");
  await rotation.start("root");
  await leaf(setup, cart, "edge-1");
  rotation.advance();
  expect(rotation.progress().phase).toBe("reissuing");
  expect(rotation.abort().done).toBe(false);
  rotation.close();
});

test("a revoked node is not waited for", async () => {
  const setup = await openMesh();
  const nodes = new Nodes("edge-1");
  await leaf(setup, cart, "edge-1");
  const rotation = rotate(setup, nodes);
  await rotation.start("root");
  expect(rotation.progress().waiting?.names).toEqual(["edge-1"]);
  await setup.mesh.revoke({ kind: "node", node: "edge-1" }, "lost", "ops");
  nodes.joined.length = 0;
  rotation.advance();
  expect(rotation.progress().phase).toBe("reissuing");
  expect(rotation.finish().done).toBe(true);
  rotation.close();
});

test("an intermediate is replaced long before it ends, by itself; the old one stays for its list until it ends, and cuts off none", async () => {
  const setup = await openMesh();
  const { clock, mesh, records } = setup;
  const nodes = new Nodes("away-for-months");
  const rotation = rotate(setup, nodes);
  const first = rotation.progress().active;
  const old = await leaf(setup, cart, "edge-1");
  expect(old).toHaveLength(2);
  // By the wall clock alone, as a minute of timers is enough.
  clock.jumpWall(keysLimits.intermediateLifetimeMs * keysLimits.intermediateRenewalShare);
  const late = await leaf(setup, web, "edge-2");
  await mesh.revoke(
    { kind: "serial", serialNumber: parseCertificate(late[0] ?? empty).serialNumber },
    "",
    "ops",
  );
  await clock.advance(3_000);
  const second = rotation.progress();
  expect(second.active).not.toBe(first);
  // It is in the way of nothing: whatever an operator wants begins at once.
  expect(second).toMatchObject({ phase: "idle", retiring: [], waiting: null });
  await (await nodeTrust(setup)).verify(await leaf(setup, cart, "edge-1"), asClient);
  // What the old one has revoked stays so, though every leaf of it that is believed has a successor.
  await clock.advance(120_000);
  expect(await refusal(setup, late)).toBe("certificate_revoked");
  expect(records.authorities.list().map((row) => row.state)).toEqual(["retiring", "retiring", "active"]);
  clock.jumpWall(keysLimits.intermediateLifetimeMs * keysLimits.intermediateRenewalShare);
  await clock.advance(3_000);
  expect(records.authorities.list()[1]).toMatchObject({ id: first, state: "retired", sealedKey: null });
  rotation.close();
});

test("rotated by an operator, an intermediate is believed no more: neither its leaves nor what its key signs afterwards", async () => {
  const setup = await openMesh();
  const { clock, mesh, records } = setup;
  const nodes = new Nodes("edge-1");
  nodes.follow("edge-1", setup);
  const rotation = rotate(setup, nodes);
  const before = mesh.bundle.value.rootsPem;
  const stolen = mesh.authorities.value.active?.ca;
  const old = await leaf(setup, cart, "edge-1");
  await rotation.start("intermediate");
  // It issues at once, as every node holds its root.
  expect(rotation.progress()).toMatchObject({ phase: "reissuing", waiting: { what: "leaf", count: 1 } });
  await (await nodeTrust(setup)).verify(old, asClient);
  const renewed = await leaf(setup, cart, "edge-1");
  await clock.advance(2_000);
  expect(rotation.progress()).toMatchObject({ phase: "idle", retiring: [] });
  expect(mesh.bundle.value.rootsPem).toBe(before);
  const { csrPem } = await createCertificateRequest(provider, web);
  const forged = await stolen?.sign({ csrPem, id: web, lifetimeMs: hour });
  const chain = forged?.chainPem.flatMap((pem) => decodePemLabel(pem, "CERTIFICATE")) ?? [];
  expect([await refusal(setup, renewed), await refusal(setup, old), await refusal(setup, chain)]).toEqual([
    "believed",
    "certificate_revoked",
    "certificate_revoked",
  ]);
  // Another process says the same.
  const second = await openMesh({ records: new MemoryRecords(records), clock });
  expect(await refusal(second, chain)).toBe("certificate_revoked");
  second.close();
  rotation.close();
});

test("an intermediate that never issued is revoked with what was announced", async () => {
  const setup = await openMesh();
  const rotation = rotate(setup, new Nodes());
  await setup.authorities.prepare("intermediate");
  expect(rotation.progress()).toMatchObject({ phase: "preparing" });
  const next = setup.mesh.authorities.value.authorities.find((one) => one.state === "next")?.ca;
  expect(rotation.abort().done).toBe(true);
  await setup.clock.advance(1_000);
  const { csrPem } = await createCertificateRequest(provider, web);
  const forged = await next?.sign({ csrPem, id: web, lifetimeMs: hour });
  const chain = forged?.chainPem.flatMap((pem) => decodePemLabel(pem, "CERTIFICATE")) ?? [];
  expect(await refusal(setup, chain)).toBe("certificate_revoked");
  rotation.close();
});

const empty = new Uint8Array();

/** As a node believes that takes what no list speaks about. */
async function refusal(setup: Setup, chain: readonly Uint8Array[]): Promise<string> {
  const trust = new TrustVerifier({ clock: setup.clock, provider, trustDomain });
  await follow(trust, setup.mesh);
  return await trust.verify(chain, asClient).then(
    () => "believed",
    (thrown) => asMeshError(thrown, "io", "local").code,
  );
}

test("a clock that was ahead while an intermediate was made does not stop its CA once it is put right", async () => {
  for (const ahead of [hour, 400 * 24 * hour]) {
    const setup = await openMesh();
    const { clock, mesh } = setup;
    const rotation = rotate(setup, new Nodes());
    clock.jumpWall(ahead);
    await rotation.start("intermediate");
    await clock.advance(3_000);
    const made = mesh.authorities.value.active?.id;
    clock.jumpWall(-ahead);
    await clock.advance(3_000);
    // A day is what it is backdated by; beyond that another one is made, by itself.
    expect(mesh.authorities.value.active?.id === made).toBe(ahead === hour);
    expect(await refusal(setup, await leaf(setup, cart, "edge-1"))).toBe("believed");
    expect(rotation.progress()).toMatchObject({ next: null, problem: null });
    rotation.close();
  }
});

test("a rotation that cannot begin changes nothing of which authorities an operator has replaced", async () => {
  const sealed = new SealedKeys(await keyVault(), provider);
  const places = new FlakyKeys(sealed, () => new MeshError("authority_unavailable", "upstream", "away"));
  const setup = await openMesh({ places: [places] });
  const rotation = rotate(setup, new Nodes());
  const settingsNow = () => setup.records.settings.get("authorities_leaving") ?? "";
  const before = settingsNow();
  places.isAway = true;
  expect(await rejectionOf(rotation.start("intermediate"))).toMatchObject({ code: "authority_unavailable" });
  // Else the one in force would leave as soon as another is made, by no word of an operator.
  expect([settingsNow(), rotation.progress().phase]).toEqual([before, "idle"]);
  places.isAway = false;
  await rotation.start("intermediate");
  expect(settingsNow()).not.toBe(before);
  rotation.close();
});

test("of very many who are waited for so many are named, and all are counted", async () => {
  const setup = await openMesh();
  const names = Array.from({ length: rotationLimits.maxNames + 5 }, (_, index) => `edge-${index + 10}`);
  const rotation = rotate(setup, new Nodes(...names));
  const { waiting } = await rotation.start("root");
  expect([waiting?.names.length, waiting?.count]).toEqual([rotationLimits.maxNames, names.length]);
  rotation.close();
});

test("a renewal that fails again and again is tried ever more seldom, and comes when what it lacked is there", async () => {
  const sealed = new SealedKeys(await keyVault(), provider);
  let made = 0;
  const places = new FlakyKeys(sealed, () => new MeshError("authority_unavailable", "upstream", "away"));
  const create = places.create.bind(places);
  places.create = (id) => {
    made++;
    return create(id);
  };
  const setup = await openMesh({ places: [places] });
  const rotation = rotate(setup, new Nodes());
  setup.clock.jumpWall(keysLimits.intermediateLifetimeMs * keysLimits.intermediateRenewalShare);
  setup.records.beforeWrite = () => {
    throw new MeshError("disk_full", "local", "the disk is full");
  };
  made = 0;
  for (let minute = 0; minute < 24 * 60; minute++) await setup.clock.advance(60_000);
  // Each try leaves a version of a key in Vault's transit engine.
  expect(made).toBeGreaterThan(20);
  expect(made).toBeLessThan(40);
  expect(rotation.progress().problem).toContain("the disk is full");
  setup.records.beforeWrite = () => {};
  for (let minute = 0; minute < 61; minute++) await setup.clock.advance(60_000);
  expect(rotation.progress().problem).toBeNull();
  expect(setup.records.authorities.list()).toHaveLength(3);
  rotation.close();
}, 300_000);

test("a back-up whose intermediate was replaced and revoked since issues by another, by itself", async () => {
  const setup = await openMesh();
  const { clock, records } = setup;
  const backup = new MemoryRecords(records);
  const rotation = rotate(setup, new Nodes());
  await rotation.start("intermediate");
  await clock.advance(2_000);
  const revoked = records.revocations.list();
  expect(revoked).toHaveLength(1);
  rotation.close();
  setup.close();
  // `restore --overwrite` carries over what was revoked.
  for (const row of revoked) backup.revocations.add(row);
  const restored = await openMesh({ records: backup, clock });
  const before = restored.mesh.authorities.value.active?.id;
  const again = rotate(restored, new Nodes());
  expect(await refusal(restored, await leaf(restored, cart, "edge-1"))).toBe("certificate_revoked");
  await clock.advance(3_000);
  expect(restored.mesh.authorities.value.active?.id).not.toBe(before);
  expect(await refusal(restored, await leaf(restored, cart, "edge-1"))).toBe("believed");
  await clock.advance(3_000);
  expect(again.progress()).toMatchObject({ phase: "idle", retiring: [], problem: null });
  again.close();
  restored.close();
});

test("a leaf from while the clock was ahead is no sign that its holder has the root that was announced since", async () => {
  const setup = await openMesh();
  setup.clock.jumpWall(hour);
  await leaf(setup, web, "edge-2");
  setup.clock.jumpWall(-hour);
  const rotation = rotate(setup, new Nodes());
  await rotation.start("root");
  await setup.clock.advance(5_000);
  expect(rotation.progress()).toMatchObject({
    phase: "preparing",
    waiting: { what: "root", names: ["edge-2"] },
  });
  rotation.close();
});
