import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { contextTag, derTag, readSingle } from "../der/der.ts";
import { encodeDer, fromHex } from "../der/encode.ts";
import { encodePem } from "../der/pem.ts";
import { providers } from "../testing/providers.ts";
import { type LocalSigningKey, readSigningKey } from "./private_key.ts";
import { buffer } from "./signature.ts";

const message = new TextEncoder().encode("what is signed");

const pkcs1Known: RsaHashedImportParams = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
const ecdsa = (namedCurve: string, hash: string): EcdsaParams & EcKeyGenParams => ({
  name: "ECDSA",
  namedCurve,
  hash,
});
const ed25519 = { name: "Ed25519" };
const pkcs1 = {
  name: "RSASSA-PKCS1-v1_5",
  hash: "SHA-256",
  modulusLength: 2048,
  publicExponent: Uint8Array.of(1, 0, 1),
};

/** The key inside PrivateKeyInfo: version, algorithm, and an octet string with the key in its own form. */
function innerKey(pkcs8: Uint8Array): Uint8Array {
  const info = readSingle(pkcs8, derTag.sequence);
  info.content(derTag.integer);
  info.content(derTag.sequence);
  return info.content(derTag.octetString);
}

/** ECPrivateKey (RFC 5915 §3), with its curve or without. */
function sec1(pkcs8: Uint8Array, curve: string | null): string {
  const fields = readSingle(innerKey(pkcs8), derTag.sequence);
  fields.content(derTag.integer);
  const secret = encodeDer(derTag.octetString, fields.content(derTag.octetString));
  const named = curve === null ? [] : [encodeDer(contextTag(0, true), encodeDer(derTag.oid, fromHex(curve)))];
  return encodePem("EC PRIVATE KEY", encodeDer(derTag.sequence, fromHex("020101"), secret, ...named));
}

const p384 = "2b81040022";

for (const provider of providers) {
  const { subtle } = provider.crypto;

  const made = async (algorithm: Algorithm) => {
    const keys = (await subtle.generateKey(algorithm, true, ["sign", "verify"])) as CryptoKeyPair;
    return { keys, pkcs8: new Uint8Array(await subtle.exportKey("pkcs8", keys.privateKey)) };
  };

  describe(`a key to sign with, on ${provider.name}`, () => {
    test("of every kind is read from PKCS#8, knows its algorithm, and signs for its public key", async () => {
      const kinds: readonly (readonly [made: Algorithm, known: EcdsaParams | Algorithm])[] = [
        [ecdsa("P-256", "SHA-256"), ecdsa("P-256", "SHA-256")],
        [ecdsa("P-384", "SHA-384"), ecdsa("P-384", "SHA-384")],
        [pkcs1, pkcs1Known],
        [ed25519, ed25519],
      ];
      for (const [algorithm, known] of kinds) {
        const { keys, pkcs8 } = await made(algorithm);
        const key = await readSigningKey(encodePem("PRIVATE KEY", pkcs8), provider);
        expect([key.algorithm, key.pkcs8]).toEqual([known as LocalSigningKey["algorithm"], pkcs8]);
        const signature = buffer(await key.sign(message));
        expect(await subtle.verify(known, keys.publicKey, signature, message)).toBe(true);
      }
    });

    test("is read as OpenSSL and Istio write it: SEC 1 with its parameters before it, and PKCS#1", async () => {
      const curve = await made(ecdsa("P-384", "SHA-384"));
      const parameters = encodePem("EC PARAMETERS", encodeDer(derTag.oid, fromHex(p384)));
      const elliptic = await readSigningKey(parameters + sec1(curve.pkcs8, p384), provider);
      const signed = buffer(await elliptic.sign(message));
      expect(elliptic.algorithm).toEqual(ecdsa("P-384", "SHA-384"));
      expect(await subtle.verify(ecdsa("P-384", "SHA-384"), curve.keys.publicKey, signed, message)).toBe(
        true,
      );
      const rsa = await made(pkcs1);
      const plain = await readSigningKey(encodePem("RSA PRIVATE KEY", innerKey(rsa.pkcs8)), provider);
      expect(plain.algorithm).toEqual(pkcs1Known);
      const plainly = buffer(await plain.sign(message));
      expect(await subtle.verify("RSASSA-PKCS1-v1_5", rsa.keys.publicKey, plainly, message)).toBe(true);
    });

    test("that is none, not alone, sealed, of another kind or damaged is refused in words without a part of it", async () => {
      const { pkcs8 } = await made(ecdsa("P-256", "SHA-256"));
      const pem = encodePem("PRIVATE KEY", pkcs8);
      for (const [text, why] of [
        ["", "the private key is missing"],
        [encodePem("CERTIFICATE", pkcs8), "the private key is missing"],
        [pem + pem, "the private key is not the only one there"],
        [
          encodePem("ENCRYPTED PRIVATE KEY", pkcs8),
          "the private key is encrypted or of a kind that is not supported",
        ],
        [sec1(pkcs8, null), "the private key does not name its curve"],
        [
          sec1(pkcs8, "2b81040023"),
          "the private key is of a kind that is not supported (ECDSA P-256 or P-384, RSA, Ed25519)",
        ],
        [encodePem("PRIVATE KEY", pkcs8.subarray(0, 30)), "the private key cannot be read"],
        [pem.slice(0, -40), "the private key cannot be read"],
      ] as const) {
        const error = await rejectionOf(readSigningKey(text, provider));
        expect(error instanceof MeshError && [error.code, error.blame, error.message, error.cause]).toEqual([
          "configuration",
          "local",
          why,
          undefined,
        ]);
      }
    });
  });
}
