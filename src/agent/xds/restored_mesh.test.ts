import { expect, test } from "bun:test";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import {
  addressType,
  authorizationType,
  type DeltaResource,
  documentType,
  trustBundleType,
} from "../../wire/ads/delta.ts";
import { restoreMesh } from "./restored_mesh.ts";
import { type Snapshot, SnapshotWriter } from "./snapshot_file.ts";

const savedAtMs = 1_000_000;

async function restored(types: Snapshot["types"], isWaypoint: boolean) {
  const clock = new FakeClock(savedAtMs);
  const lines: string[] = [];
  const logger = {
    log: (_level: string, _target: string, message: string, fields = {}) =>
      void lines.push(`${message} ${JSON.stringify(fields)}`),
  };
  const provider = runtimeProvider();
  const files = new MemoryFiles();
  const options = { clock, files, provider, logger, directory: "/state", mesh: "control cluster.local" };
  if (types.length > 0) {
    const writer = new SnapshotWriter(options, () => types);
    writer.changed();
    await writer.flush();
  }
  await clock.advance(90_000);
  const told: string[] = [];
  const client = (name: string) => ({
    restore: async (typeUrl: string, resources: readonly DeltaResource[]) => {
      told.push(`${name} ${typeUrl} ${resources.map((one) => one.name).join()}`);
      return [];
    },
  });
  const documents = {
    restore: async (kept: (typeUrl: string) => readonly DeltaResource[] | undefined) => {
      const resources = kept(documentType);
      if (resources !== undefined) await client("documents").restore(documentType, resources);
    },
  };
  const at = await restoreMesh(options, client("mesh"), isWaypoint ? documents : null);
  return { at, told, lines };
}

const type = (typeUrl: string, ...names: string[]) => ({
  typeUrl,
  resources: names.map((name) => ({ name, version: "1", resource: { typeUrl, value: Uint8Array.of(1) } })),
});
const all = [
  type(addressType, "a", "b"),
  type(documentType, "d"),
  type(authorizationType, "p"),
  type(trustBundleType, "t"),
];

test("trust comes first, then policies, then the workloads they are for, whatever the order on disk", async () => {
  const { at, told, lines } = await restored(all, true);
  expect(told).toEqual([
    `mesh ${trustBundleType} t`,
    `mesh ${authorizationType} p`,
    `mesh ${addressType} a,b`,
    `documents ${documentType} d`,
  ]);
  expect(at).toBe(savedAtMs);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain('"saved":"1970-01-01T00:16:40.000Z","age_ms":90000');
});

test("an empty set of policies is one; an empty trust bundle is none", async () => {
  const { told } = await restored([type(trustBundleType), type(authorizationType), type(addressType)], false);
  expect(told).toEqual([`mesh ${authorizationType} `, `mesh ${addressType} `]);
});

test("a host that is no waypoint leaves documents alone; without a snapshot nothing is told", async () => {
  expect((await restored(all, false)).told).not.toContain(`documents ${documentType} d`);
  expect(await restored([], true)).toEqual({ at: null, told: [], lines: [] });
});
