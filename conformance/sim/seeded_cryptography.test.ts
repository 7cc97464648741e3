import { afterAll, expect, test } from "bun:test";
import { createPublicKey, verify } from "node:crypto";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { peculiarProvider } from "../../src/pki/crypto/peculiar_provider.ts";
import { SignatureVerifier } from "../../src/pki/crypto/signature.ts";
import { createCertificateRequest, proveCertificateRequest } from "../../src/pki/x509/csr.ts";
import { createPki } from "./authority.ts";
import { runSeed } from "./run_seed.ts";
import { seedCryptography, unseedCryptography } from "./seeded_cryptography.ts";

afterAll(unseedCryptography);

const ecdsa = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A key of its own, and what it says under a text. */
async function signed(seed: number): Promise<{ readonly spki: Uint8Array; readonly signature: Uint8Array }> {
  seedCryptography(seed);
  const { subtle } = peculiarProvider().crypto;
  const { privateKey, publicKey } = await subtle.generateKey(ecdsa, true, ["sign", "verify"]);
  return {
    spki: new Uint8Array(await subtle.exportKey("spki", publicKey)),
    signature: new Uint8Array(await subtle.sign(ecdsa, privateKey, new TextEncoder().encode("a text"))),
  };
}

test("keys, signatures and random bytes follow from the seed, and another seed gives others", async () => {
  const one = await signed(1);
  expect(await signed(1)).toEqual(one);
  expect((await signed(2)).spki).not.toEqual(one.spki);
  const drawn = [3, 3, 4].map((seed) => {
    seedCryptography(seed);
    return peculiarProvider().crypto.getRandomValues(new Uint8Array(16)).toHex();
  });
  expect(new Set(drawn).size).toBe(2);
});

test("a signature is one to others too, and of what was signed alone", async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const { spki, signature } = await signed(seed);
    const key = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
    const holds = (text: string) =>
      verify("sha256", Buffer.from(text), { key, dsaEncoding: "ieee-p1363" }, signature);
    expect([seed, holds("a text"), holds("another")]).toEqual([seed, true, false]);
  }
});

test("what is made without a seed is not to be foretold", async () => {
  const draw = () => peculiarProvider().crypto.getRandomValues(new Uint8Array(16)).toHex();
  seedCryptography(1);
  const drawn = draw();
  unseedCryptography();
  const { subtle } = peculiarProvider().crypto;
  const { privateKey } = await subtle.generateKey(ecdsa, true, ["sign", "verify"]);
  const sign = async () => new Uint8Array(await subtle.sign(ecdsa, privateKey, new Uint8Array(1))).toHex();
  expect(await sign()).not.toBe(await sign());
  expect(draw()).not.toBe(drawn);
  seedCryptography(1);
  expect(draw()).toBe(drawn);
});

test("a request is signed by the key in it", async () => {
  seedCryptography(1);
  const provider = peculiarProvider();
  const { csrPem } = await createCertificateRequest(provider, new SpiffeId("cluster.local", "shop", "cart"));
  await proveCertificateRequest(csrPem, new SignatureVerifier(provider));
});

// The lengths of signatures decided how many events this seed has: 9,299, or 9,302.
test("a seed with a control plane, certificates and a new root gives the same events each time", async () => {
  const runs = new Set<string>();
  for (let time = 0; time < 3; time++) {
    const { found, steps, traceHash } = await runSeed(10_243, await createPki(), null);
    expect(found).toEqual([]);
    runs.add(`${steps} events, trace ${traceHash}`);
  }
  expect([...runs]).toHaveLength(1);
}, 120_000);
