/**
 * Keys that never leave Vault's transit engine: ECDSA P-256. Each authority has a version of one key of its own, and names it in
 * every request, so that a rotation in Vault changes nothing for authorities that are there.
 */
import { MeshError } from "../../base/errors.ts";
import type { SigningKey } from "../../pki/crypto/private_key.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { ecdsaSignatureToRaw, publicKeyKind } from "../../pki/crypto/public_key.ts";
import { buffer } from "../../pki/crypto/signature.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { type KeyPlace, type PlacedKey, readReference, storeReference } from "./key_place.ts";
import { asRecord, numberField, textField } from "./vault_answer.ts";
import { vaultPath } from "./vault_connection.ts";
import type { VaultData, VaultSession } from "./vault_session.ts";

export interface TransitOptions {
  readonly session: Pick<VaultSession, "request">;
  readonly provider: CryptoProvider;
  /** `transit` by default. */
  readonly mount: string;
  /** The key's name; made when there is none and the policy allows it. */
  readonly keyName: string;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

interface Reference {
  readonly mount: string;
  readonly keyName: string;
  readonly version: number;
}

export class TransitKeys implements KeyPlace {
  readonly #options: TransitOptions;
  readonly #mount: string;
  readonly #keyName: string;

  /** @throws MeshError `configuration`, blame local. */
  constructor(options: TransitOptions) {
    this.#options = options;
    this.#mount = vaultPath(options.mount, "the mount of transit");
    this.#keyName = vaultPath(options.keyName, "the name of a key");
  }

  holds(stored: Uint8Array): boolean {
    return readReference(stored)?.place === "vault-transit";
  }

  /** The first version of a key that is made now, or the next one of a key that is there. */
  async create(): Promise<PlacedKey> {
    const { session } = this.#options;
    const path = `${this.#mount}/keys/${this.#keyName}`;
    if ((await session.request("GET", path)) === null) {
      await session.request("POST", path, {
        type: "ecdsa-p256",
        exportable: false,
        allow_plaintext_backup: false,
      });
    } else {
      await session.request("POST", `${path}/rotate`, {});
    }
    const version = numberField(await session.request("GET", path), "latest_version");
    if (version === null) throw unusable("does not show the versions of its key");
    const reference = { mount: this.#mount, keyName: this.#keyName, version };
    const publicKeyInfo = await this.#publicKeyInfo(reference);
    const stored = storeReference({ place: "vault-transit", ...reference });
    return { key: await this.#signingKey(reference, publicKeyInfo), publicKeyInfo, stored };
  }

  async open(authorityId: string, stored: Uint8Array): Promise<SigningKey> {
    const fields = readReference(stored);
    const [mount, keyName] = [textField(fields, "mount"), textField(fields, "keyName")];
    const version = numberField(fields, "version");
    if (mount === null || keyName === null || version === null) {
      throw new MeshError("configuration", "local", `the reference to the key of ${authorityId} is damaged`);
    }
    const reference = { mount, keyName, version };
    return await this.#signingKey(reference, await this.#publicKeyInfo(reference));
  }

  async refresh(): Promise<null> {
    return null;
  }

  async #publicKeyInfo({ mount, keyName, version }: Reference): Promise<Uint8Array> {
    const data = await this.#options.session.request("GET", `${mount}/keys/${keyName}`);
    const pem = textField(asRecord(asRecord(data?.keys)?.[String(version)]), "public_key");
    const [publicKeyInfo] = pem === null ? [] : decodePemLabel(pem, "PUBLIC KEY");
    if (publicKeyInfo === undefined) throw unusable(`has no version ${version} of key ${keyName} that signs`);
    if (publicKeyKind(publicKeyInfo) !== "P-256")
      throw unusable(`has key ${keyName} of a type other than ecdsa-p256`);
    return publicKeyInfo;
  }

  async #signingKey(reference: Reference, publicKeyInfo: Uint8Array): Promise<SigningKey> {
    const { subtle } = this.#options.provider.crypto;
    const publicKey = await subtle.importKey("spki", buffer(publicKeyInfo), algorithm, false, ["verify"]);
    const sign = async (bytes: Uint8Array): Promise<Uint8Array> => {
      // The digest, not the bytes: a long revocation list would be a long request.
      const digest = new Uint8Array(await subtle.digest("SHA-256", buffer(bytes)));
      const signature = ecdsaSignatureToRaw(await this.#requestSignature(reference, digest), "P-256");
      // What another service says about our key is believed as little as what a peer shows.
      if (await subtle.verify(algorithm, publicKey, buffer(signature), buffer(bytes))) return signature;
      throw unusable(`has signed with another key than version ${reference.version} of ${reference.keyName}`);
    };
    return { algorithm, sign };
  }

  async #requestSignature({ mount, keyName, version }: Reference, digest: Uint8Array): Promise<Uint8Array> {
    const body: VaultData = {
      input: toBase64(digest),
      prehashed: true,
      marshaling_algorithm: "asn1",
      key_version: version,
    };
    const data = await this.#options.session.request("POST", `${mount}/sign/${keyName}/sha2-256`, body);
    // `vault:v3:BASE64`
    const parts = textField(data, "signature")?.match(/^vault:v(\d+):([A-Za-z0-9+/]+={0,2})$/);
    if (parts?.[1] !== String(version) || parts[2] === undefined)
      throw unusable("has returned an invalid signature");
    return Uint8Array.from(atob(parts[2]), (character) => character.charCodeAt(0));
  }
}

function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

function unusable(what: string): MeshError {
  return new MeshError("authority_unavailable", "upstream", `Vault's transit engine ${what}`);
}
