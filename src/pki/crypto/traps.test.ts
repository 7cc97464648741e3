/**
 * What is known to be surprising in the libraries under `pki/`, held against the pinned versions: a trap that goes away
 * with an update is news, and so is one that comes.
 */
import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { SpiffeId } from "../../mesh/identity.ts";
import { Forge } from "../testing/forge.ts";
import { createCertificateRequest } from "../x509/csr.ts";
import {
  Name,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509ChainBuilder,
  X509CrlGenerator,
} from "../x509/peculiar.ts";
import { peculiarProvider } from "./peculiar_provider.ts";
import { runtimeProvider } from "./provider.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");

/** Runs a line in a fresh process, as what was imported cannot be imported again. @returns its standard error; "" when all went well. */
function isolatedRun(code: string): string {
  const { stderr, status } = spawnSync(process.execPath, ["-e", code], { encoding: "utf8", timeout: 20_000 });
  return status === 0 ? "" : stderr;
}

// Node and Deno take lines of a program in another form.
const inBun = test.skipIf(typeof Bun === "undefined");

inBun("@peculiar/x509 throws at import without a Reflect polyfill; through x509.ts it does not", () => {
  expect(isolatedRun('await import("@peculiar/x509")')).toContain("reflect");
  expect(isolatedRun('await import("./src/pki/x509/peculiar.ts")')).toBe("");
});

inBun("@peculiar/webcrypto needs no polyfill of its own", () => {
  expect(isolatedRun('await import("./src/pki/crypto/peculiar_provider.ts")')).toBe("");
});

test("extensions of a certificate request are found by their OID, not by their class", async () => {
  const { csrPem } = await createCertificateRequest(
    runtimeProvider(),
    new SpiffeId("cluster.local", "shop", "cart"),
  );
  const request = new Pkcs10CertificateRequest(csrPem);
  expect(request.getExtension("2.5.29.17")).not.toBeNull();
  // Certificates have it; requests take the class for an OID that nothing has.
  expect(request.getExtension(SubjectAlternativeNameExtension as unknown as string)).toBeNull();
  expect(request.extensions.map((extension) => extension.type)).toEqual(["2.5.29.17"]);
});

test("the library's chain builder is no path validation: it takes an issuer that is no CA and has expired", async () => {
  const forge = new Forge(runtimeProvider(), nowMs);
  const past = { notBefore: new Date(nowMs - 9e8), notAfter: new Date(nowMs - 8e8) };
  const notCa = await forge.ca({
    subject: "CN=no CA",
    basicConstraints: { ca: false },
    keyUsage: null,
    ...past,
  });
  const leaf = await forge.leaf(notCa);
  const builder = new X509ChainBuilder({ certificates: [new X509Certificate(Uint8Array.from(notCa.der))] });
  expect(await builder.build(new X509Certificate(Uint8Array.from(leaf.der)), crypto)).toHaveLength(2);
});

test("a revocation list's entry without extensions is written with an empty list of them", async () => {
  const forge = new Forge(runtimeProvider(), nowMs);
  const root = await forge.ca();
  const list = await X509CrlGenerator.create(
    {
      issuer: new Name("CN=test root"),
      entries: [{ serialNumber: "01", revocationDate: new Date(nowMs) }],
      signingKey: root.keys.privateKey,
      signingAlgorithm: { name: "ECDSA", hash: "SHA-256" } as Algorithm,
    },
    crypto,
  );
  // serial 01, UTCTime, and then a SEQUENCE of nothing.
  expect(Buffer.from(list.rawData).toString("hex")).toContain("020101170d3236313132323132303030305a3000");
});

test("both providers know every algorithm that is accepted, Ed25519 under the same name", async () => {
  for (const { crypto } of [runtimeProvider(), peculiarProvider()]) {
    const keys = (await crypto.subtle.generateKey({ name: "Ed25519" }, true, [
      "sign",
      "verify",
    ])) as CryptoKeyPair;
    const signature = await crypto.subtle.sign({ name: "Ed25519" }, keys.privateKey, Uint8Array.of(1));
    expect(await crypto.subtle.verify({ name: "Ed25519" }, keys.publicKey, signature, Uint8Array.of(1))).toBe(
      true,
    );
    expect(await crypto.subtle.verify({ name: "Ed25519" }, keys.publicKey, signature, Uint8Array.of(2))).toBe(
      false,
    );
  }
});
