import { expect, test } from "bun:test";
import { SpiffeId } from "../../mesh/identity.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { SignatureVerifier } from "../crypto/signature.ts";
import { providers } from "../testing/providers.ts";
import { createCertificateRequest, ProvenRequest, proveCertificateRequest } from "./csr.ts";
import { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } from "./peculiar.ts";

test("a proven request is what was proven here, and nothing that looks like it", async () => {
  const provider = runtimeProvider();
  const { csrPem } = await createCertificateRequest(provider, new SpiffeId("mesh.example", "shop", "cart"));
  const proven = await proveCertificateRequest(csrPem, new SignatureVerifier(provider));
  expect(ProvenRequest.isGenuine(proven)).toBe(true);
  for (const other of [null, undefined, "text", 7, {}, { ...proven }, () => proven])
    expect(ProvenRequest.isGenuine(other)).toBe(false);
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
