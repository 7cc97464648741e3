/** Credentials of the in-memory TLS: real PEM, and a private key that really is the leaf's. */
import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import { MeshError } from "../../base/errors.ts";
import type { TlsCredentials } from "../host.ts";

export interface Credentials {
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[];
}

/** Verdicts are remembered: a node shows the same SVID thousands of times. */
const known = new Map<string, Credentials>();
const maxKnown = 256;

/** @returns the error as a TLS library gives it: PEM that cannot be read, or a key that is not the certificate's. */
export function readCredentials(credentials: TlsCredentials): Credentials | MeshError {
  const { certificateChainPem, privateKeyPem } = credentials;
  if (certificateChainPem.trim() === "") return { chain: [] };
  const key = `${certificateChainPem}${privateKeyPem}`;
  const remembered = known.get(key);
  if (remembered !== undefined) return remembered;
  const read = check(certificateChainPem, privateKeyPem);
  if (read instanceof MeshError) return read;
  if (known.size >= maxKnown) known.clear();
  known.set(key, read);
  return read;
}

function check(chainPem: string, privateKeyPem: string): Credentials | MeshError {
  try {
    const blocks = chainPem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    const certificates = blocks.map((block) => new X509Certificate(block));
    const [leaf] = certificates;
    if (leaf === undefined) return refuse("no certificate in the chain");
    const own = createPublicKey(createPrivateKey(privateKeyPem)).export({ type: "spki", format: "der" });
    const shown = leaf.publicKey.export({ type: "spki", format: "der" });
    if (!own.equals(shown)) return refuse("the private key is not the certificate's");
    return { chain: certificates.map((certificate) => new Uint8Array(certificate.raw)) };
  } catch (thrown) {
    return refuse(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

function refuse(message: string): MeshError {
  return new MeshError("tls_handshake", "local", message);
}
