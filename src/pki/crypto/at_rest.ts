/**
 * Private keys at rest: AES-256-GCM under a key-encryption key that an operator gives and that is never stored beside what it
 * seals. What cannot be opened is a refusal, never an occasion to make something new.
 *
 *     version 1 | key id, 8 bytes | nonce, 12 bytes | ciphertext and tag
 *
 * Authenticated besides: version, key id, and what the envelope belongs to, so that one cannot be put in place of another.
 */
import { MeshError } from "../../base/errors.ts";
import { concatBytes, fromHex } from "../der/encode.ts";
import { hex } from "../der/values.ts";
import type { CryptoProvider } from "./provider.ts";
import { buffer } from "./signature.ts";

const version = 1;
const keyLengthBytes = 32;
const keyIdBytes = 8;
const nonceBytes = 12;
const tagBytes = 16;
const headerBytes = 1 + keyIdBytes + nonceBytes;

/** A key-encryption key, ready for use. */
export interface KeyEncryptionKey {
  /** Hexadecimal; says which key it was, and nothing about the key. */
  readonly id: string;
  readonly key: CryptoKey;
}

/**
 * @param material 32 random bytes: as they are, as 64 hexadecimal digits, or in base64; white space around text is dropped.
 *   A pass phrase is refused, since nothing here makes guessing slow.
 * @param where for messages: a path or a variable's name.
 * @throws MeshError `configuration`, blame local, without a part of the key.
 */
export async function importKeyEncryptionKey(
  material: Uint8Array,
  where: string,
  provider: CryptoProvider,
): Promise<KeyEncryptionKey> {
  const bytes = keyBytes(material);
  if (bytes === null) {
    const wanted = `${keyLengthBytes} random bytes, raw, in base64 or as hexadecimal digits (openssl rand -base64 ${keyLengthBytes})`;
    throw refused(`the key-encryption key in ${where} is not ${wanted}`);
  }
  const { subtle } = provider.crypto;
  const key = await subtle.importKey("raw", buffer(bytes), "AES-GCM", false, ["encrypt", "decrypt"]);
  const named = concatBytes(new TextEncoder().encode("fairlead key-encryption key id\0"), bytes);
  const digest = new Uint8Array(await subtle.digest("SHA-256", buffer(named)));
  return { id: hex(digest.subarray(0, keyIdBytes)), key };
}

/** Seals with the first key and opens with any: the others are those that are being replaced. */
export class KeyVault {
  readonly #provider: CryptoProvider;
  readonly #current: KeyEncryptionKey;
  readonly #keys: readonly KeyEncryptionKey[];

  constructor(provider: CryptoProvider, current: KeyEncryptionKey, former: readonly KeyEncryptionKey[] = []) {
    this.#provider = provider;
    this.#current = current;
    this.#keys = [current, ...former];
  }

  /** @param owner what the envelope belongs to, an authority's id; it opens for no other. */
  async seal(owner: string, secret: Uint8Array): Promise<Uint8Array> {
    const { crypto } = this.#provider;
    const head = concatBytes(Uint8Array.of(version), fromHex(this.#current.id));
    // Random nonces are safe for 2^32 envelopes of one key (NIST SP 800-38D §8.3); there are some dozens.
    const nonce = crypto.getRandomValues(new Uint8Array(nonceBytes));
    const algorithm = { name: "AES-GCM", iv: nonce, additionalData: buffer(associatedData(head, owner)) };
    const sealed = await crypto.subtle.encrypt(algorithm, this.#current.key, buffer(secret));
    return concatBytes(head, nonce, new Uint8Array(sealed));
  }

  /** @throws MeshError `configuration`, blame local: another key, another owner, damage, an unknown version. */
  async open(owner: string, envelope: Uint8Array): Promise<Uint8Array> {
    if (envelope[0] !== version)
      throw cannotOpen(owner, `it is of version ${envelope[0] ?? "?"}, not ${version}`);
    if (envelope.length < headerBytes + tagBytes) throw cannotOpen(owner, "it is cut short");
    const key = this.#keys.find((one) => isUnder(envelope, one));
    if (key === undefined) {
      const had = this.#keys.map((one) => one.id).join(", ");
      throw cannotOpen(
        owner,
        `it is sealed with key-encryption key ${keyIdOf(envelope)}, and the given are ${had}`,
      );
    }
    const head = envelope.slice(0, 1 + keyIdBytes);
    const iv = envelope.slice(1 + keyIdBytes, headerBytes);
    const algorithm = { name: "AES-GCM", iv, additionalData: buffer(associatedData(head, owner)) };
    try {
      const { subtle } = this.#provider.crypto;
      return new Uint8Array(await subtle.decrypt(algorithm, key.key, envelope.slice(headerBytes)));
    } catch {
      throw cannotOpen(owner, "it is damaged, or belongs to another authority");
    }
  }

  /** Whether it is under a key that is being replaced, and so to be sealed again. */
  isFormer(envelope: Uint8Array): boolean {
    return !isUnder(envelope, this.#current);
  }
}

function isUnder(envelope: Uint8Array, key: KeyEncryptionKey): boolean {
  return keyIdOf(envelope) === key.id;
}

function keyIdOf(envelope: Uint8Array): string {
  return hex(envelope.subarray(1, 1 + keyIdBytes));
}

function associatedData(head: Uint8Array, owner: string): Uint8Array {
  return concatBytes(
    new TextEncoder().encode("fairlead sealed key\0"),
    head,
    new TextEncoder().encode(owner),
  );
}

function keyBytes(material: Uint8Array): Uint8Array | null {
  if (material.length === keyLengthBytes) return material.slice();
  const text = new TextDecoder().decode(material).trim();
  if (/^[0-9a-fA-F]{64}$/.test(text)) return fromHex(text);
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return null;
  const base64 = text.replaceAll("-", "+").replaceAll("_", "/").replace(/=$/, "");
  return Uint8Array.from(atob(`${base64}=`), (character) => character.charCodeAt(0));
}

function cannotOpen(owner: string, why: string): MeshError {
  return refused(`the sealed key of ${owner} cannot be opened: ${why}`);
}

function refused(message: string): MeshError {
  return new MeshError("configuration", "local", message);
}
