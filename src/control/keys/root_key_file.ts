/**
 * The root's key in a file that an operator keeps away from the control plane, and puts back for as long as something has to be
 * signed by it: intermediates and its revocation list. It is read for each signature and not kept.
 */
import { assert } from "../../base/assert.ts";
import { asMeshError, MeshError } from "../../base/errors.ts";
import type { Files } from "../../host/host.ts";
import { type LocalSigningKey, readSigningKey, type SigningKey } from "../../pki/crypto/private_key.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { bytesEqual } from "../../pki/der/values.ts";
import { type KeyPlace, type PlacedKey, readReference, storeReference } from "./key_place.ts";

export const rootKeyFileName = "root-key.pem";

const place = "root-key-file";

/** Whether `stored` says that the key is in an operator's hands. */
export function isKeptAway(stored: Uint8Array | null): boolean {
  return stored !== null && readReference(stored)?.place === place;
}

export class RootKeyFile implements KeyPlace {
  /** Where it is looked for. */
  readonly path: string;
  readonly #files: Files;
  readonly #provider: CryptoProvider;

  constructor(files: Files, path: string, provider: CryptoProvider) {
    this.path = path;
    this.#files = files;
    this.#provider = provider;
  }

  holds(stored: Uint8Array): boolean {
    return isKeptAway(stored);
  }

  create(): Promise<PlacedKey> {
    assert(false, "new keys are made in the configured place");
  }

  async open(): Promise<SigningKey> {
    const { algorithm } = await this.read();
    return { algorithm, sign: async (bytes) => (await this.read()).sign(bytes) };
  }

  async refresh(): Promise<null> {
    return null;
  }

  /** @throws MeshError `authority_unavailable` while the file is not there, or holds something else. */
  async read(): Promise<LocalSigningKey> {
    try {
      if (await this.#files.exists(this.path))
        return await readSigningKey(await this.#files.readText(this.path), this.#provider);
    } catch (thrown) {
      throw this.#unavailable(`${this.path}: ${asMeshError(thrown, "io", "local").message}`);
    }
    throw this.#unavailable(`the root's key is not here; put it back as ${this.path}`);
  }

  /** @throws MeshError `configuration` when another key is there, `io`. */
  async write(pkcs8: Uint8Array): Promise<Uint8Array> {
    if (await this.#files.exists(this.path)) {
      const there = await this.read();
      if (!bytesEqual(there.pkcs8, pkcs8))
        throw new MeshError("configuration", "local", `${this.path} holds another key; move it away first`);
    }
    const text = new TextEncoder().encode(encodePem("PRIVATE KEY", pkcs8));
    await this.#files.writeAtomic(this.path, text, 0o600);
    return storeReference({ place });
  }

  async remove(): Promise<void> {
    await this.#files.remove(this.path);
  }

  /** @returns a function that ends it. */
  watch(onChange: () => void): () => void {
    return this.#files.watch(this.path, onChange);
  }

  #unavailable(message: string): MeshError {
    return new MeshError("authority_unavailable", "local", message);
  }
}
