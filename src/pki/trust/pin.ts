/** Fingerprints of public keys, `sha256:` and hexadecimal: short enough for a command line, and they outlive a renewed certificate. */
import { MeshError } from "../../base/errors.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { buffer } from "../crypto/signature.ts";
import { hex } from "../der/values.ts";
import type { Certificate } from "../x509/certificate.ts";

/** SHA-256 over the SubjectPublicKeyInfo in DER. */
export interface KeyPin {
  readonly text: string;
}

/** @throws MeshError `configuration`, blame local. */
export function parseKeyPin(text: string): KeyPin {
  if (/^sha256:[0-9a-f]{64}$/.test(text)) return { text };
  throw new MeshError(
    "configuration",
    "local",
    "a CA pin is sha256: and 64 hexadecimal digits, as join-token create prints it",
  );
}

export async function keyPin(certificate: Certificate, provider: CryptoProvider): Promise<KeyPin> {
  const digest = await provider.crypto.subtle.digest("SHA-256", buffer(certificate.publicKeyInfo));
  return { text: `sha256:${hex(new Uint8Array(digest))}` };
}
