import { expect, test } from "bun:test";
import { silentLogger } from "../../base/log.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { peculiarProvider } from "../../pki/crypto/provider.ts";
import { authorityFile, openAuthority } from "../../pki/issue/ca_files.ts";
import { openKeys } from "./open_keys.ts";
import { MemoryRecords } from "./testing/memory_records.ts";

const directory = "/state";
const path = `${directory}/${authorityFile}`;

function bench() {
  const world = new MemoryWorld(1);
  const host = world.machine("control", { addresses: ["10.0.0.1"] }).start();
  const options = { clock: host.clock, provider: peculiarProvider(), trustDomain: "cluster.local" };
  const settings = {
    authority: { kind: "local" },
    keyEncryptionKey: null,
    formerKeyEncryptionKeys: [],
    stateDirectory: directory,
  } as const;
  const records = new MemoryRecords();
  return {
    world,
    host,
    records,
    exists: () => world.settle(host.files.exists(path)),
    /** As `fairlead up` does. */
    up: () => world.settle(openAuthority(host.files, directory, options)),
    open: async () => {
      const keys = await world.settle(openKeys(host, records.authorities, settings, options, silentLogger));
      keys.close();
      return keys.view.value;
    },
  };
}

test("once a CA that was here is sealed in state, its plain key file is gone, and the CA goes on", async () => {
  const { exists, up, open } = bench();
  const { authority } = await up();
  expect(await exists()).toBe(true);
  const view = await open();
  expect(view.roots.map((root) => root.der)).toEqual([authority.certificate.der]);
  expect(await exists()).toBe(false);
  expect((await open()).roots.map((root) => root.der)).toEqual([authority.certificate.der]);
});

test("a start that was killed before the file was removed removes it; the file of another CA stays", async () => {
  const { exists, host, world, up, open } = bench();
  await up();
  const bytes = await world.settle(host.files.readBytes(path));
  await open();
  await world.settle(host.files.writeAtomic(path, bytes, 0o600));
  await open();
  expect(await exists()).toBe(false);
  await up();
  await open();
  expect(await exists()).toBe(true);
});
