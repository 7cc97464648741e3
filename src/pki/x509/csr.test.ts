import { expect, test } from "bun:test";
import { pkiLimits } from "../../base/limits/pki.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { SigningKey } from "../crypto/private_key.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { SignatureVerifier } from "../crypto/signature.ts";
import { derTag } from "../der/der.ts";
import { encodeDer, fromHex } from "../der/encode.ts";
import { encodePem } from "../der/pem.ts";
import { providers } from "../testing/providers.ts";
import { createCertificateRequest, ProvenRequest, proveCertificateRequest } from "./csr.ts";
import { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } from "./peculiar.ts";
import { encodeSigned } from "./signed_der.ts";

test("a proven request is what was proven here, and nothing that looks like it", async () => {
  const provider = runtimeProvider();
  const { csrPem } = await createCertificateRequest(provider, new SpiffeId("mesh.example", "shop", "cart"));
  const proven = await proveCertificateRequest(csrPem, new SignatureVerifier(provider));
  expect(ProvenRequest.isGenuine(proven)).toBe(true);
  for (const other of [null, undefined, "text", 7, {}, { ...proven }, () => proven])
    expect(ProvenRequest.isGenuine(other)).toBe(false);
});

test("a proven request is made here alone", () => {
  const forged = (): unknown => new ProvenRequest(Symbol("proof of possession") as never, new Uint8Array());
  expect(forged).toThrow("made by proveCertificateRequest alone");
});

test("a request is as long as the limit says, and not longer", async () => {
  const provider = runtimeProvider();
  const verifier = new SignatureVerifier(provider);
  const { csrPem } = await createCertificateRequest(provider, new SpiffeId("mesh.example", "shop", "cart"));
  const longest = pkiLimits.maxCsrBytes * 1.5;
  await proveCertificateRequest(csrPem.padEnd(longest, "\n"), verifier);
  const over = proveCertificateRequest(csrPem.padEnd(longest + 1, "\n"), verifier);
  expect(await rejectionOf(over)).toMatchObject({
    code: "certificate_malformed",
    message: "certificate request is larger than the limit",
  });
});

test("a request is of version 1, however well it is signed", async () => {
  const provider = runtimeProvider();
  const { subtle } = provider.crypto;
  const keys = await subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const publicKeyInfo = new Uint8Array(await subtle.exportKey("spki", keys.publicKey));
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const sign = async (bytes: Uint8Array<ArrayBuffer>) =>
    new Uint8Array(await subtle.sign(algorithm, keys.privateKey, bytes));
  const request = async (version: string): Promise<string> => {
    const key = { algorithm, sign } as unknown as SigningKey;
    const der = await encodeSigned(key, () =>
      encodeDer(derTag.sequence, fromHex(version), fromHex("3000"), publicKeyInfo),
    );
    return encodePem("CERTIFICATE REQUEST", der);
  };
  const verifier = new SignatureVerifier(provider);
  const proven = await proveCertificateRequest(await request("020100"), verifier);
  expect(proven.publicKeyInfo).toEqual(publicKeyInfo);
  expect(await rejectionOf(proveCertificateRequest(await request("020101"), verifier))).toMatchObject({
    code: "certificate_malformed",
    message: "certificate request of an unknown version",
  });
});

for (const provider of providers)
  test(`the library reads our request, made with ${provider.name}`, async () => {
    const id = new SpiffeId("mesh.example", "shop", "cart");
    const { csrPem, keys } = await createCertificateRequest(provider, id);
    const read = new Pkcs10CertificateRequest(csrPem);
    expect(await read.verify(provider.crypto)).toBe(true);
    expect(read.subject).toBe("");
    expect(new Uint8Array(read.publicKey.rawData)).toEqual(
      new Uint8Array(await provider.crypto.subtle.exportKey("spki", keys.publicKey)),
    );
    const [extension, ...more] = read.extensions;
    expect(more).toEqual([]);
    expect(extension?.critical).toBe(true);
    const names = extension instanceof SubjectAlternativeNameExtension ? extension.names.toJSON() : null;
    expect(names).toEqual([{ type: "url", value: id.uri }]);
    expect(csrPem.startsWith("-----BEGIN CERTIFICATE REQUEST-----\n")).toBe(true);
  });
