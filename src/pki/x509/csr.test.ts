import { expect, test } from "bun:test";
import { SpiffeId } from "../../mesh/identity.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { SignatureVerifier } from "../crypto/signature.ts";
import { createCertificateRequest, ProvenRequest, proveCertificateRequest } from "./csr.ts";

test("a proven request is what was proven here, and nothing that looks like it", async () => {
  const provider = runtimeProvider();
  const { csrPem } = await createCertificateRequest(provider, new SpiffeId("mesh.example", "shop", "cart"));
  const proven = await proveCertificateRequest(csrPem, new SignatureVerifier(provider));
  expect(ProvenRequest.isGenuine(proven)).toBe(true);
  for (const other of [null, undefined, "text", 7, {}, { ...proven }, () => proven])
    expect(ProvenRequest.isGenuine(other)).toBe(false);
});
