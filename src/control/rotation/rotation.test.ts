import { expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import { silentLogger } from "../../base/log.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import { cart, hour, issue, nodeTrust, openMesh, type Setup, web } from "../keys/testing/fixture.ts";
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
  expect(await leaf(setup, cart, "edge-1")).toHaveLength(1);
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
  expect(setup.records.authorities.list().map((row) => [row.state, row.sealedKey === null])).toEqual([
    ["retired", true],
    ["active", false],
  ]);
  rotation.close();
});

test("killed before any write of a rotation, the next process goes on to the same end", async () => {
  let isOver = false;
  for (let write = 0; !isOver; write++) {
    expect(write).toBeLessThan(20);
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
    if (!isOver && records.authorities.list().some((row) => row.state === "retiring" || row.state === "next"))
      await trust.verify(chain, asClient);
    const again = rotate(second, nodes);
    if (again.progress().phase === "idle" && records.authorities.list().length === 1)
      await again.start("root");
    await leaf(second, cart, "edge-1");
    again.advance();
    await leaf(second, cart, "edge-1");
    again.finish();
    expect(again.progress()).toMatchObject({ phase: "idle", next: null, retiring: [] });
    const states = records.authorities.list().map((row) => row.state);
    expect(states).toEqual(["retired", "active"]);
    again.close();
    second.close();
    // What was retired keeps no key, also when the process was killed between the two.
    const third = await openMesh({ records: new MemoryRecords(records), clock: first.clock });
    expect(third.records.authorities.list()[0]?.sealedKey).toBeNull();
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

test("an intermediate is replaced long before it ends, by itself, and the old one goes with its last leaf", async () => {
  const setup = await openMesh();
  const nodes = new Nodes("away-for-months");
  const rotation = rotate(setup, nodes);
  await rotation.start("intermediate");
  const first = rotation.progress().active;
  expect(rotation.progress()).toMatchObject({ phase: "idle", retiring: [] });
  const old = await leaf(setup, cart, "edge-1");
  expect(old).toHaveLength(2);
  // By the wall clock alone, as a minute of timers is enough.
  setup.clock.jumpWall(keysLimits.intermediateLifetimeMs * keysLimits.intermediateRenewalShare);
  await leaf(setup, cart, "edge-1");
  await setup.clock.advance(3_000);
  const second = rotation.progress();
  expect(second.active).not.toBe(first);
  expect(second).toMatchObject({ phase: "reissuing", waiting: { what: "leaf" } });
  await (await nodeTrust(setup)).verify(await leaf(setup, cart, "edge-1"), asClient);
  await setup.clock.advance(2_000);
  expect(rotation.progress()).toMatchObject({ phase: "idle", retiring: [] });
  setup.clock.jumpWall(2 * hour);
  rotation.close();
});
