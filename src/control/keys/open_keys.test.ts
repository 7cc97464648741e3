import { describe, expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { silentLogger } from "../../base/log.ts";
import type { AuthorityPlace, VaultPlace } from "../../base/settings/key_places.ts";
import type { Host, HttpRequest } from "../../host/host.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { peculiarProvider } from "../../pki/crypto/peculiar_provider.ts";
import { authorityFile, openAuthority } from "../../pki/issue/ca_files.ts";
import { openKeys } from "./open_keys.ts";
import { FakePki } from "./testing/fake_pki.ts";
import { FakeTransit, transitToken } from "./testing/fake_transit.ts";
import { json } from "./testing/fake_vault.ts";
import { MemoryRecords } from "./testing/memory_records.ts";

const directory = "/state";
const path = `${directory}/${authorityFile}`;

interface Given {
  readonly authority: AuthorityPlace;
  readonly http: (clock: Host["clock"]) => Host["http"]["send"];
}

function bench({ authority = { kind: "local" }, http }: Partial<Given> = {}) {
  const world = new MemoryWorld(1);
  const machine = world.machine("control", { addresses: ["10.0.0.1"] }).start();
  const host: Host =
    http === undefined ? machine : Object.create(machine, { http: { value: { send: http(machine.clock) } } });
  const options = { clock: host.clock, provider: peculiarProvider(), trustDomain: "cluster.local" };
  const settings = {
    authority,
    keyEncryptionKey: null,
    formerKeyEncryptionKeys: [],
    stateDirectory: directory,
  };
  const records = new MemoryRecords();
  return {
    world,
    host,
    records,
    exists: () => world.settle(host.files.exists(path)),
    /** As `fairlead up` does. */
    up: () => world.settle(openAuthority(host.files, directory, options)),
    /** What is opened, and closed again. */
    keys: async () => {
      await world.settle(host.files.makeDirectory(directory, 0o700));
      const keys = await world.settle(openKeys(host, records.authorities, settings, options, silentLogger));
      keys.close();
      return keys;
    },
    put: async (name: string, text: string) => {
      const folder = name.slice(0, name.lastIndexOf("/"));
      if (folder !== "") await world.settle(host.files.makeDirectory(folder, 0o700));
      await world.settle(host.files.writeAtomic(name, new TextEncoder().encode(text), 0o600));
    },
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

const vault = (change: Partial<VaultPlace> = {}): VaultPlace => ({
  url: "https://vault.example:8200",
  namespace: null,
  root: null,
  auth: { kind: "token", path: "/token" },
  ...change,
});

test("a CA here has its root's key in custody, and seals nothing else", async () => {
  const { keys } = bench();
  const { own, rootKey, sealed, outside, view } = await keys();
  expect([own === null, rootKey?.status().place, sealed, outside]).toEqual([false, "here", null, null]);
  expect(view.value.authorities.map(({ kind }) => kind)).toEqual(["root", "intermediate"]);
});

test("below Vault's PKI engine there is an intermediate alone, which is revoked there", async () => {
  const asked: HttpRequest[] = [];
  const pki = new FakePki();
  const { keys, put } = bench({
    authority: {
      kind: "vault-pki",
      vault: vault({ root: { kind: "file", path: "/roots.pem" } }),
      mount: "pki",
      issuer: null,
    },
    http: (clock) => {
      pki.nowMs = () => clock.wallMs();
      return async (request) => {
        asked.push(request);
        return await pki.answer(request);
      };
    },
  });
  await put("/token", transitToken);
  await put("/roots.pem", "the roots of Vault");
  const { own, rootKey, sealed, outside, view } = await keys();
  expect([own === null, rootKey, sealed, outside === null]).toEqual([false, null, null, false]);
  const [active, ...more] = view.value.authorities;
  expect([active?.kind, active?.state, active?.ca === null, more]).toEqual([
    "intermediate",
    "active",
    false,
    [],
  ]);
  expect(new Set(asked.map(({ trustedRootsPem }) => trustedRootsPem))).toEqual(
    new Set(["the roots of Vault"]),
  );
});

describe("keys in Vault's transit engine", () => {
  const transitBench = (place: VaultPlace) => {
    const transit = new FakeTransit();
    const asked: HttpRequest[] = [];
    const made = bench({
      authority: { kind: "vault-transit", vault: place, mount: "transit", keyName: "ca" },
      http: () => async (request) => {
        asked.push(request);
        if (new URL(request.url).pathname !== "/v1/auth/hosts/login") return transit.answer(request);
        const body = JSON.parse(new TextDecoder().decode(request.body));
        if (body.role_id !== "role" || (body.secret_id ?? "none") !== "none")
          return json(400, { errors: [] });
        return json(200, { auth: { client_token: transitToken, lease_duration: 60, renewable: true } });
      },
    });
    return { ...made, transit, asked };
  };

  test("are made there and sign there; what a start without Vault needs is sealed here", async () => {
    const { keys, put, transit, asked, records } = transitBench(
      vault({ root: { kind: "pem", pem: "roots as they are" } }),
    );
    await put("/token", transitToken);
    const { own, rootKey, sealed, outside } = await keys();
    expect([own === null, rootKey?.status().place, sealed === null, outside]).toEqual([
      false,
      "elsewhere",
      false,
      null,
    ]);
    expect(transit.signatures).toBeGreaterThan(1);
    for (const { sealedKey } of records.authorities.list())
      expect(Buffer.from(sealedKey ?? []).toString()).toContain("vault-transit");
    expect(new Set(asked.map(({ trustedRootsPem }) => trustedRootsPem))).toEqual(
      new Set(["roots as they are"]),
    );
  });

  test("are reached by an AppRole, with a secret or without one, by the system's roots where none are given", async () => {
    const auth = { kind: "approle", mount: "hosts", roleId: "role", secretIdPath: null } as const;
    const bound = transitBench(vault({ auth }));
    expect((await bound.keys()).view.value.active?.ca).not.toBeNull();
    expect(bound.asked.map(({ trustedRootsPem }) => trustedRootsPem)).toEqual(
      bound.asked.map(() => undefined),
    );
    const secret = transitBench(vault({ auth: { ...auth, secretIdPath: "/secret" } }));
    await secret.put("/secret", "none");
    expect((await secret.keys()).view.value.active?.ca).not.toBeNull();
    const [login] = secret.asked;
    expect(JSON.parse(new TextDecoder().decode(login?.body))).toEqual({ role_id: "role", secret_id: "none" });
  });
});

test("an operator's own CA in files is theirs to replace: nothing of it is sealed here, nor in custody", async () => {
  const authority = {
    kind: "files",
    certificatePath: "/ca/cert.pem",
    keyPath: "/ca/key.pem",
    chainPath: null,
    rootPath: "/ca/root.pem",
  } as const;
  const { keys, put, up, records } = bench({ authority });
  const { authority: given } = await up();
  const { certificatePem, privateKeyPem } = given.exportPem();
  await put("/ca/cert.pem", certificatePem);
  await put("/ca/root.pem", certificatePem);
  const missing = await keys().then(
    () => "opened",
    (thrown) => asMeshError(thrown, "io", "local").blame,
  );
  expect(missing).toBe("local");
  await put("/ca/key.pem", privateKeyPem);
  const { own, rootKey, sealed, outside, view } = await keys();
  expect([own, rootKey, sealed, outside]).toEqual([null, null, null, null]);
  expect(view.value.active?.certificate.der).toEqual(given.certificate.der);
  expect([view.value.active?.kind, view.value.active?.above]).toEqual(["root", []]);
  expect(records.authorities.list().map(({ sealedKey }) => sealedKey)).toEqual([null]);
});
