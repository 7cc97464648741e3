/** A control plane's CA with state in memory. */
import { silentLogger } from "../../../base/log.ts";
import { SpiffeId } from "../../../mesh/identity.ts";
import { importKeyEncryptionKey, KeyVault } from "../../../pki/crypto/at_rest.ts";
import { runtimeProvider } from "../../../pki/crypto/provider.ts";
import { decodePemLabel } from "../../../pki/der/pem.ts";
import { FakeClock } from "../../../pki/testing/fake_clock.ts";
import { observed } from "../../../pki/testing/providers.ts";
import { TrustVerifier } from "../../../pki/trust/verifier.ts";
import { createCertificateRequest } from "../../../pki/x509/csr.ts";
import { OwnCertifier } from "../authority_certificate.ts";
import type { IssuingRequest } from "../authority_source.ts";
import { type KeyPlace, SealedKeys } from "../key_place.ts";
import { MeshAuthority } from "../mesh_authority.ts";
import { StateAuthorities, type StateAuthorityOptions } from "../state_authorities.ts";
import { MemoryRecords } from "./memory_records.ts";

const watched = observed(runtimeProvider());
export const provider = watched.provider;

/** A clock that waits for cryptography under way. */
export function newClock(): FakeClock {
  return new FakeClock(nowMs, watched.isBusy);
}

/** With a fraction: a clock does not promise whole milliseconds. */
export const nowMs = Date.parse("2026-11-22T12:00:00.500Z") + 0.25;
export const hour = 3_600_000;
export const trustDomain = "cluster.local";
export const cart = new SpiffeId(trustDomain, "shop", "cart");
export const web = new SpiffeId(trustDomain, "shop", "web");

export async function keyVault(byte = 1, ...former: readonly number[]): Promise<KeyVault> {
  const keyOf = (one: number) => importKeyEncryptionKey(new Uint8Array(32).fill(one), `key ${one}`, provider);
  return new KeyVault(provider, await keyOf(byte), await Promise.all(former.map(keyOf)));
}

export interface Setup {
  readonly clock: FakeClock;
  readonly records: MemoryRecords;
  readonly authorities: StateAuthorities;
  readonly mesh: MeshAuthority;
  close(): void;
}

export async function openMesh(
  given: Partial<Pick<StateAuthorityOptions, "places" | "certifier" | "firstKind">> & {
    readonly records?: MemoryRecords;
    readonly clock?: FakeClock;
  } = {},
): Promise<Setup> {
  const clock = given.clock ?? newClock();
  const records = given.records ?? new MemoryRecords();
  const logger = silentLogger;
  const common = { clock, provider, trustDomain, logger };
  const places: StateAuthorityOptions["places"] = given.places ?? [
    new SealedKeys(await keyVault(), provider),
  ];
  const authorities = await StateAuthorities.open({
    ...common,
    records: records.authorities,
    places,
    certifier: given.certifier ?? new OwnCertifier(common),
    firstKind: given.firstKind ?? "root",
  });
  const mesh = await MeshAuthority.open({ ...common, records, authorities: authorities.view });
  const close = (): void => {
    mesh.close();
    authorities.close();
  };
  return { clock, records, authorities, mesh, close };
}

export async function issue(
  mesh: MeshAuthority,
  id: SpiffeId,
  requestedBy?: string,
): Promise<{ readonly chain: readonly Uint8Array[]; readonly rootsPem: string }> {
  const { csrPem } = await createCertificateRequest(provider, id);
  const request: IssuingRequest = { csrPem, id, lifetimeMs: 24 * hour };
  const { chainPem, rootsPem } = await mesh.sign(
    requestedBy === undefined ? request : { ...request, requestedBy },
  );
  return { chain: chainPem.flatMap((pem) => decodePemLabel(pem, "CERTIFICATE")), rootsPem };
}

/** What a node does with a bundle. */
export async function nodeTrust(setup: Pick<Setup, "clock" | "mesh">): Promise<TrustVerifier> {
  const trust = new TrustVerifier({ clock: setup.clock, provider, trustDomain, crlRequired: true });
  await follow(trust, setup.mesh);
  return trust;
}

export async function follow(trust: TrustVerifier, mesh: MeshAuthority): Promise<void> {
  const { rootsPem, crls } = mesh.bundle.value;
  trust.setRoots(rootsPem, "bundle");
  await trust.setCrls(crls.map((bytes, index) => ({ name: `list ${index}`, bytes })));
}

/** A place whose keys can be out of reach. */
export class FlakyKeys implements KeyPlace {
  isAway = false;
  readonly #inner: KeyPlace;
  readonly #away: () => Error;

  constructor(inner: KeyPlace, away: () => Error) {
    this.#inner = inner;
    this.#away = away;
  }

  holds(stored: Uint8Array): boolean {
    return this.#inner.holds(stored);
  }

  async create(id: string): ReturnType<KeyPlace["create"]> {
    this.#check();
    const made = await this.#inner.create(id);
    return { ...made, key: this.#guard(made.key) };
  }

  async open(id: string, stored: Uint8Array): ReturnType<KeyPlace["open"]> {
    this.#check();
    return this.#guard(await this.#inner.open(id, stored));
  }

  async refresh(): Promise<null> {
    return null;
  }

  #guard(key: Awaited<ReturnType<KeyPlace["open"]>>): typeof key {
    const sign = async (bytes: Uint8Array): Promise<Uint8Array> => {
      this.#check();
      return await key.sign(bytes);
    };
    return { algorithm: key.algorithm, sign };
  }

  #check(): void {
    if (this.isAway) throw this.#away();
  }
}
