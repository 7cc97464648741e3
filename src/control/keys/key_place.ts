/**
 * Where the private keys of authorities are, and what of them is in state: sealed, or the name of a key that never leaves
 * another service. The first byte says which, so that a mesh can move from one to the other by a rotation.
 */
import { MeshError } from "../../base/errors.ts";
import type { KeyVault } from "../../pki/crypto/at_rest.ts";
import {
  generateSigningKey,
  importSigningKey,
  type LocalSigningKey,
  type SigningKey,
} from "../../pki/crypto/private_key.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";

export interface PlacedKey {
  readonly key: SigningKey;
  /** SubjectPublicKeyInfo. */
  readonly publicKeyInfo: Uint8Array;
  /** For `AuthorityRow.sealedKey`. */
  readonly stored: Uint8Array;
}

export interface KeyPlace {
  /** Whether `stored` is of this place. */
  holds(stored: Uint8Array): boolean;
  /** @throws MeshError `authority_unavailable`. */
  create(authorityId: string): Promise<PlacedKey>;
  /** @throws MeshError `configuration` for what cannot be opened, `authority_unavailable` for a place that cannot be reached. */
  open(authorityId: string, stored: Uint8Array): Promise<SigningKey>;
  /** What is to be stored in place of `stored`, or null when it is as it should be. */
  refresh(authorityId: string, stored: Uint8Array): Promise<Uint8Array | null>;
}

/** Keys in this process, sealed in state. */
export class SealedKeys implements KeyPlace {
  readonly #vault: KeyVault;
  readonly #provider: CryptoProvider;

  constructor(vault: KeyVault, provider: CryptoProvider) {
    this.#vault = vault;
    this.#provider = provider;
  }

  holds(stored: Uint8Array): boolean {
    return stored[0] !== referenceByte;
  }

  async create(authorityId: string): Promise<PlacedKey> {
    const { key, publicKeyInfo } = await generateSigningKey(this.#provider);
    return { key, publicKeyInfo, stored: await this.#vault.seal(authorityId, key.pkcs8) };
  }

  async open(authorityId: string, stored: Uint8Array): Promise<LocalSigningKey> {
    const pkcs8 = await this.#vault.open(authorityId, stored);
    return await importSigningKey(pkcs8, this.#provider);
  }

  /** For a key that came from outside: PKCS#8. */
  async seal(authorityId: string, pkcs8: Uint8Array): Promise<Uint8Array> {
    return await this.#vault.seal(authorityId, pkcs8);
  }

  /** What `seal` has sealed for the same owner. @throws MeshError `configuration`, blame local. */
  async unseal(owner: string, stored: Uint8Array): Promise<Uint8Array> {
    return await this.#vault.open(owner, stored);
  }

  async refresh(authorityId: string, stored: Uint8Array): Promise<Uint8Array | null> {
    if (!this.#vault.isFormer(stored)) return null;
    return await this.#vault.seal(authorityId, await this.#vault.open(authorityId, stored));
  }
}

/** No version of a sealed envelope (`pki/crypto/at_rest.ts`). */
const referenceByte = 0x80;

/** @param reference says where the key is; it is no secret. */
export function storeReference(reference: Readonly<Record<string, string | number>>): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(reference));
  const stored = new Uint8Array(text.length + 1);
  stored[0] = referenceByte;
  stored.set(text, 1);
  return stored;
}

/** @returns null for what is no reference. */
export function readReference(stored: Uint8Array): Readonly<Record<string, unknown>> | null {
  if (stored[0] !== referenceByte) return null;
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(stored.subarray(1)));
    if (typeof value === "object" && value !== null) return { ...value };
  } catch {
    // Told below: what is stored is ours, so it is damage.
  }
  throw new MeshError("configuration", "local", "the stored reference to a key is damaged");
}
