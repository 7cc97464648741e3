import { beforeAll, expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import { silentLogger } from "../../base/log.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { peculiarProvider } from "../../pki/crypto/peculiar_provider.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { CertificateAuthority } from "../../pki/issue/ca.ts";
import { loadAuthority } from "../../pki/issue/load_authority.ts";
import { TrustVerifier } from "../../pki/trust/verifier.ts";
import { createCertificateRequest } from "../../pki/x509/csr.ts";
import { Rotation } from "../rotation/rotation.ts";
import type { SealedKeys } from "./key_place.ts";
import { MeshAuthority } from "./mesh_authority.ts";
import { openKeys } from "./open_keys.ts";
import { RootKeyCustody } from "./root_key_custody.ts";
import type { RootKeyFile } from "./root_key_file.ts";
import type { StateAuthorities } from "./state_authorities.ts";
import { cart, follow, hour, trustDomain } from "./testing/fixture.ts";
import { MemoryRecords } from "./testing/memory_records.ts";

const path = "/state/root-key.pem";
const day = 24 * hour;

// Read from a disk, for which simulated time does not wait.
beforeAll(async () => void (await loadAuthority()));

/** A control plane's keys with all that works on them, on a machine in memory. */
class Bench {
  readonly world = new MemoryWorld(1);
  readonly #machine = this.world.machine("control", { addresses: ["10.0.0.1"] });
  host = this.#machine.start();
  readonly records = new MemoryRecords();
  #close: () => void = () => {};

  async open() {
    this.#close();
    await this.settle(this.host.files.makeDirectory("/state", 0o700));
    const { clock } = this.host;
    const options = { clock, provider: peculiarProvider(), trustDomain };
    const settings = {
      authority: { kind: "local" },
      keyEncryptionKey: null,
      formerKeyEncryptionKeys: [],
      stateDirectory: "/state",
    } as const;
    const logger = silentLogger;
    const keys = await this.settle(openKeys(this.host, this.records.authorities, settings, options, logger));
    const authorities = keys.view;
    const mesh = await this.settle(
      MeshAuthority.open({ ...options, logger, records: this.records, authorities }),
    );
    if (keys.own === null || keys.rootKey === null) throw new Error("it has keys of its own");
    const knowledge = { nodes: () => [], acknowledged: () => new Map<string, string>() };
    const rotation = new Rotation({
      clock,
      logger,
      records: this.records,
      authorities: keys.own,
      mesh,
      knowledge,
    });
    this.#close = () => {
      rotation.close();
      mesh.close();
      keys.close();
    };
    return { keys, mesh, rotation, custody: keys.rootKey };
  }

  close(): void {
    this.#close();
  }

  modeOf(path: string): number | null {
    return this.#machine.disk.modeOf(path);
  }

  jump(byMs: number): void {
    this.#machine.jumpWall(byMs);
  }

  run(forMs: number): Promise<void> {
    return this.world.run(this.world.nowMs + forMs);
  }

  settle<T>(work: Promise<T>): Promise<T> {
    return this.world.settle(work);
  }

  get rootRow() {
    const row = this.records.authorities.list().find((one) => one.kind === "root" && one.state !== "retired");
    if (row === undefined) throw new Error("there is a root");
    return row;
  }

  async failure(work: Promise<unknown>): Promise<string> {
    return await this.settle(
      work.then(
        () => "done",
        (thrown) => asMeshError(thrown, "io", "local").message,
      ),
    );
  }
}

/** By keys of the world's own provider: it does not wait for what other threads do. */
async function issue(mesh: MeshAuthority, requestedBy = cart.uri): Promise<readonly Uint8Array[]> {
  const { csrPem } = await createCertificateRequest(peculiarProvider(), cart);
  const { chainPem } = await mesh.sign({ csrPem, id: cart, lifetimeMs: 24 * hour, requestedBy });
  return chainPem.flatMap((pem) => decodePemLabel(pem, "CERTIFICATE"));
}

async function exported() {
  const bench = new Bench();
  const { custody, rotation, mesh, keys } = await bench.open();
  await bench.settle(custody.export());
  await bench.settle(rotation.renewNow());
  await bench.settle(mesh.publish());
  return { bench, custody, rotation, mesh, keys };
}

test("exported, the root's key is in the file and nowhere else; kept away, all goes on, restarts too", async () => {
  const { bench, custody } = await exported();
  const { files } = bench.host;
  expect(custody.status()).toEqual({ place: "file", path });
  // It is the key of the whole mesh: no other user of the host may read it.
  expect(bench.modeOf(path)).toBe(0o600);
  const pem = await bench.settle(files.readText(path));
  const [key] = decodePemLabel(pem, "PRIVATE KEY");
  const root = bench.rootRow;
  const certificate = { certificatePem: root.certificatePem, chainPem: "", rootsPem: root.certificatePem };
  await bench.settle(
    CertificateAuthority.load({
      clock: bench.host.clock,
      provider: peculiarProvider(),
      trustDomain,
      pem: { ...certificate, privateKeyPem: pem },
    }),
  );
  expect(Buffer.from(root.sealedKey ?? []).toString()).toContain("root-key-file");
  expect(Buffer.from(root.sealedKey ?? []).includes(Buffer.from(key ?? []).subarray(-32))).toBe(false);
  await bench.settle(files.remove(path));
  await bench.run(30_000);
  expect(custody.status()).toEqual({ place: "away", path });
  const again = await bench.open();
  expect(again.custody.status()).toEqual({ place: "away", path });
  // What it signed last is good for more than a year: neither readiness nor nodes miss it.
  for (const days of [1, 8, 170]) {
    bench.jump(days * day);
    await bench.run(130_000);
    expect(again.mesh.pendingRevocation).toBeNull();
    const trust = new TrustVerifier({
      clock: bench.host.clock,
      provider: peculiarProvider(),
      trustDomain,
      crlRequired: true,
    });
    await follow(trust, again.mesh);
    const chain = await bench.settle(issue(again.mesh));
    await trust.verify(chain, { usage: "clientAuth", identities: null });
  }
  bench.close();
});

test("an intermediate whose renewal is due waits for the key by name, and is renewed while the file is there", async () => {
  const { bench } = await exported();
  const { files } = bench.host;
  const pem = await bench.settle(files.readBytes(path));
  await bench.settle(files.remove(path));
  const { keys, rotation, custody } = await bench.open();
  const before = keys.view.value.active?.id;
  bench.jump(keysLimits.keptAwayLifetimeMs * keysLimits.intermediateRenewalShare + day);
  await bench.run(60_000);
  expect(keys.view.value.active?.id).toBe(before);
  expect(rotation.progress().problem).toContain(`put it back as ${path}`);
  expect(await bench.failure(rotation.start("intermediate"))).toContain(`put it back as ${path}`);
  // Something else in its place is said, and stops nothing.
  await bench.settle(files.writeAtomic(path, new TextEncoder().encode("no key"), 0o600));
  await bench.run(60_000);
  expect(rotation.progress().problem).toContain("the private key is missing");
  const { authorities } = keys.view.value;
  expect(authorities.find((one) => one.kind === "root")?.unavailable).toContain(path);
  await bench.settle(files.writeAtomic(path, pem, 0o600));
  await bench.run(60_000);
  expect(keys.view.value.active?.id).not.toBe(before);
  expect(rotation.progress()).toMatchObject({ phase: "idle", problem: null });
  // The same file is there for long: nothing is made again and again.
  const rows = bench.records.authorities.list().length;
  await bench.run(60_000);
  expect(bench.records.authorities.list()).toHaveLength(rows);
  expect(await bench.settle(custody.import())).toEqual({ place: "here", path });
  expect(await bench.settle(files.exists(path))).toBe(false);
  expect((await bench.open()).custody.status().place).toBe("here");
  bench.close();
});

test("it is exported once, never over another key, and a rotation by an operator needs it for the list too", async () => {
  const bench = new Bench();
  const first = await bench.open();
  const { files } = bench.host;
  await bench.settle(files.writeAtomic(path, new TextEncoder().encode("another"), 0o600));
  expect(await bench.failure(first.custody.export())).toContain(path);
  expect(first.custody.status().place).toBe("here");
  const other = await CertificateAuthority.create({
    clock: bench.host.clock,
    provider: peculiarProvider(),
    trustDomain,
  });
  await bench.settle(
    files.writeAtomic(path, new TextEncoder().encode(other.exportPem().privateKeyPem), 0o600),
  );
  expect(await bench.failure(first.custody.export())).toBe(`${path} holds another key; move it away first`);
  expect(await bench.failure(first.custody.import())).toBe("the root's key is in state already");
  expect(first.custody.status().place).toBe("here");
  await bench.settle(files.remove(path));
  await bench.settle(first.custody.export());
  expect(await bench.failure(first.custody.export())).toContain("was exported before");
  const old = await bench.settle(issue(first.mesh, "edge-1"));
  await bench.settle(first.rotation.start("intermediate"));
  const pem = await bench.settle(files.readBytes(path));
  await bench.settle(files.remove(path));
  await bench.settle(issue(first.mesh, "edge-1"));
  await bench.run(30_000);
  // Not signed yet, it is said; the old one's own list is published until it is.
  expect(first.mesh.pendingRevocation).toContain(`put it back as ${path}`);
  expect(first.mesh.bundle.value.crls).toHaveLength(3);
  await bench.settle(files.writeAtomic(path, pem, 0o600));
  await bench.run(60_000);
  expect(first.mesh.pendingRevocation).toBeNull();
  const trust = new TrustVerifier({ clock: bench.host.clock, provider: peculiarProvider(), trustDomain });
  await bench.settle(follow(trust, first.mesh));
  const verified = trust.verify(old, { usage: "clientAuth", identities: null });
  expect(await bench.failure(verified)).toContain("is revoked");
  bench.close();
});

/** The key of a root by where it is, and whether the place here holds it. */
function custodyOf(
  root: {
    readonly stored: Uint8Array | null;
    readonly keptAway?: boolean;
    readonly ca?: object | null;
    readonly state?: string;
  } | null,
  holds = true,
) {
  const authorities = {
    ownRoot: () =>
      root === null
        ? null
        : {
            stored: root.stored,
            authority: {
              id: "r",
              keptAway: root.keptAway ?? false,
              ca: root.ca ?? null,
              state: root.state ?? "retiring",
            },
          },
    moveKey: async () => {},
  } as unknown as StateAuthorities;
  const sealed = { holds: () => holds } as unknown as SealedKeys;
  return new RootKeyCustody(authorities, sealed, { path: "/k" } as unknown as RootKeyFile);
}

test("where the root's key is, is told of every place that it can be in", () => {
  const stored = Uint8Array.of(7);
  const place = (...given: Parameters<typeof custodyOf>) => custodyOf(...given).status();
  expect(place(null)).toEqual({ place: "elsewhere", path: "/k" });
  expect(place({ stored }).place).toBe("here");
  expect(place({ stored }, false).place).toBe("elsewhere");
  expect(place({ stored: null }).place).toBe("elsewhere");
  expect(place({ stored, keptAway: true }).place).toBe("away");
  expect(place({ stored, keptAway: true, ca: {} }).place).toBe("file");
});

test("a root's key that is not there, is with Vault, or is needed every day is not taken away", async () => {
  const stored = Uint8Array.of(7);
  const refused = async (...given: Parameters<typeof custodyOf>) =>
    asMeshError(await rejectionOf(custodyOf(...given).export()), "io", "local").message;
  expect(await refused(null)).toContain("has no root of its own");
  expect(await refused({ stored: null })).toContain("has no root of its own");
  expect(await refused({ stored }, false)).toContain("is in Vault, and does not leave it");
  expect(await refused({ stored, state: "active" })).toContain("issues certificates itself");
});
