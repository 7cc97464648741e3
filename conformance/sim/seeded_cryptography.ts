/**
 * Keys, serial numbers and signatures drawn from a seed. Written as DER and base64, no two of them need have the same length, and with lengths
 * go what a window or a read takes at one time, and so the events: only with these drawn too does the same seed give the same run. They are
 * real keys and real signatures, which everybody can foretell.
 */
import { createECDH, createHash, createPrivateKey } from "node:crypto";
import { assert } from "../../src/base/assert.ts";
import { SeededRandom } from "../../src/host/memory/random.ts";
import { peculiarProvider } from "../../src/pki/crypto/peculiar_provider.ts";
import { buffer } from "../../src/pki/crypto/signature.ts";

const curve = "prime256v1";
const scalarBytes = 32;
/** Of P-256 (SEC 2 §2.4.2). */
const groupOrder = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

let random: SeededRandom | null = null;
let putBack: () => void = () => {};
/** The private number of each key that can sign. */
const scalars = new WeakMap<CryptoKey, Uint8Array>();

/** From here on, everything of this process that `peculiarProvider` makes follows from the seed. */
export function seedCryptography(seed: number): void {
  if (random === null) putBack = replaceOperations();
  random = new SeededRandom(seed, "cryptography");
}

/** What is made from here on is secret again: for a process that goes on with other tests. */
export function unseedCryptography(): void {
  putBack();
  random = null;
}

function fill(bytes: Uint8Array): void {
  assert(random !== null, "cryptography has a seed");
  random.fill(bytes);
}

/** On the classes of the provider's library: each node makes a provider of its own. @returns what puts back those that were there. */
function replaceOperations(): () => void {
  const { crypto } = peculiarProvider();
  const operations: SubtleCrypto = Object.getPrototypeOf(crypto.subtle);
  const provider: Crypto = Object.getPrototypeOf(crypto);
  const { importKey, generateKey, sign: originalSign } = operations;
  const { getRandomValues } = provider;
  Object.assign(operations, {
    async importKey(this: SubtleCrypto, ...args: Parameters<SubtleCrypto["importKey"]>): Promise<CryptoKey> {
      const key: CryptoKey = await Reflect.apply(importKey, this, args);
      const [format, material] = args;
      if (format === "pkcs8" && key.type === "private") scalars.set(key, scalarOf(bytesOf(material)));
      return key;
    },
    async generateKey(
      this: SubtleCrypto,
      algorithm: EcKeyGenParams,
      extractable: boolean,
    ): Promise<CryptoKeyPair> {
      assert(algorithm.name === "ECDSA" && algorithm.namedCurve === "P-256", "a new key is one of P-256");
      const scalar = new Uint8Array(scalarBytes);
      fill(scalar);
      const { pkcs8, point } = keyOf(withinOrder(scalar));
      const privateKey = await this.importKey("pkcs8", buffer(pkcs8), algorithm, extractable, ["sign"]);
      const publicKey = await this.importKey("raw", buffer(point), algorithm, true, ["verify"]);
      return { privateKey, publicKey };
    },
    async sign(_algorithm: unknown, key: CryptoKey, data: BufferSource): Promise<ArrayBuffer> {
      const scalar = scalars.get(key);
      assert(scalar !== undefined, "a key that signs was made or read here");
      return sign(scalar, bytesOf(data)).buffer;
    },
  });
  Object.assign(provider, {
    getRandomValues<T extends ArrayBufferView>(array: T): T {
      fill(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
      return array;
    },
  });
  return () => {
    Object.assign(operations, { importKey, generateKey, sign: originalSign });
    Object.assign(provider, { getRandomValues });
  };
}

/** @returns the signature of ECDSA with SHA-256 as WebCrypto has it. The nonce follows from key and message, as in RFC 6979. */
function sign(scalar: Uint8Array, message: Uint8Array): Uint8Array<ArrayBuffer> {
  const digest = createHash("sha256").update(message).digest();
  const nonce = withinOrder(createHash("sha256").update(scalar).update(digest).digest());
  const r = numberOf(pointOf(nonce).subarray(1, 1 + scalarBytes)) % groupOrder;
  const product = numberOf(digest) + r * numberOf(scalar);
  const s = (inverse(numberOf(nonce)) * product) % groupOrder;
  const signature = new Uint8Array(2 * scalarBytes);
  signature.set(Uint8Array.fromHex(r.toString(16).padStart(2 * scalarBytes, "0")));
  signature.set(Uint8Array.fromHex(s.toString(16).padStart(2 * scalarBytes, "0")), scalarBytes);
  return signature;
}

/** By Euclid's algorithm. */
function inverse(value: bigint): bigint {
  let [remainder, next] = [groupOrder, value];
  let [factor, nextFactor] = [0n, 1n];
  while (next > 0n) {
    const quotient = remainder / next;
    [remainder, next] = [next, remainder - quotient * next];
    [factor, nextFactor] = [nextFactor, factor - quotient * nextFactor];
  }
  return factor < 0n ? factor + groupOrder : factor;
}

function keyOf(scalar: Uint8Array): { readonly pkcs8: Uint8Array; readonly point: Uint8Array } {
  const point = pointOf(scalar);
  const part = (from: number) =>
    point.subarray(from, from + scalarBytes).toBase64({ alphabet: "base64url", omitPadding: true });
  const d = scalar.toBase64({ alphabet: "base64url", omitPadding: true });
  const key = { kty: "EC", crv: "P-256", d, x: part(1), y: part(1 + scalarBytes) };
  const pkcs8 = createPrivateKey({ key, format: "jwk" }).export({ format: "der", type: "pkcs8" });
  return { pkcs8: new Uint8Array(pkcs8), point };
}

function scalarOf(pkcs8: Uint8Array): Uint8Array {
  const { d } = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" }).export({
    format: "jwk",
  });
  assert(d !== undefined, "a private key has its number");
  return Uint8Array.fromBase64(d, { alphabet: "base64url" });
}

/** Uncompressed. */
function pointOf(scalar: Uint8Array): Uint8Array {
  const ecdh = createECDH(curve);
  ecdh.setPrivateKey(scalar);
  return new Uint8Array(ecdh.getPublicKey());
}

/** Without its highest bit a number of so many bytes is below the order. */
function withinOrder(bytes: Uint8Array): Uint8Array {
  const scalar = Uint8Array.from(bytes);
  scalar[0] = (scalar[0] ?? 0) & 0x7f;
  return scalar;
}

function numberOf(bytes: Uint8Array): bigint {
  return BigInt(`0x${bytes.toHex()}`);
}

function bytesOf(source: unknown): Uint8Array {
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  assert(source instanceof ArrayBuffer, "what is signed or read is bytes");
  return new Uint8Array(source);
}
