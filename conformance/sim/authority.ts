/** One CA for all simulated meshes of this process, and another that none of them trusts. Keys cost time and change nothing. */
import type { Clock, TlsCredentials } from "../../src/host/host.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { peculiarProvider } from "../../src/pki/crypto/peculiar_provider.ts";
import { encodePem } from "../../src/pki/der/pem.ts";
import { CertificateAuthority } from "../../src/pki/issue/ca.ts";
import { Forge } from "../../src/pki/testing/forge.ts";
import { createCertificateRequest } from "../../src/pki/x509/csr.ts";
import { seedCryptography } from "./seeded_cryptography.ts";
import { trustDomain } from "./workloads.ts";

const day = 24 * 60 * 60_000;
/** Two days before any simulated clock begins: a clock that jumps back still finds it valid. */
const madeAtMs = 1_767_225_600_000 - 10 * day;

/** Of a CA nothing but its wall clock matters. */
const standing: Clock = {
  now: () => 0,
  wallMs: () => madeAtMs,
  setTimer: () => ({ cancel() {} }),
  defer(callback) {
    callback();
  },
};

export interface SimulatedPki {
  readonly authority: CertificateAuthority;
  /** A mesh identity from a CA that no member trusts and that has our CA's name. */
  readonly foreign: TlsCredentials;
  /** A good certificate of somebody who is no workload. */
  readonly impostor: TlsCredentials;
}

/** The same in every process: a seed has to give the same run wherever it is run. */
export async function createPki(): Promise<SimulatedPki> {
  seedCryptography(0);
  const options = { clock: standing, provider: peculiarProvider(), trustDomain };
  const authority = await CertificateAuthority.create(options);
  return {
    authority,
    foreign: await forge(authority, "spiffe://cluster.local/ns/shop/sa/w00"),
    impostor: await issue(authority, new SpiffeId(trustDomain, "shop", "impostor")),
  };
}

/** From a root that bears the name of ours. */
async function forge({ certificate }: CertificateAuthority, uri: string): Promise<TlsCredentials> {
  const workshop = new Forge(peculiarProvider(), madeAtMs + 9 * day);
  const root = await workshop.ca({ subject: certificate.subjectText });
  const leaf = await workshop.leaf(root, { uris: [uri], notAfter: new Date(madeAtMs + 80 * day) });
  const pkcs8 = await workshop.provider.crypto.subtle.exportKey("pkcs8", leaf.keys.privateKey);
  return {
    certificateChainPem: leaf.pem,
    privateKeyPem: encodePem("PRIVATE KEY", new Uint8Array(pkcs8)),
    trustedRootsPem: root.pem,
  };
}

async function issue(authority: CertificateAuthority, id: SpiffeId): Promise<TlsCredentials> {
  const provider = peculiarProvider();
  const { csrPem, keys } = await createCertificateRequest(provider, id);
  const pkcs8 = await provider.crypto.subtle.exportKey("pkcs8", keys.privateKey);
  const { chainPem, rootsPem } = await authority.sign({ csrPem, id, lifetimeMs: 80 * day });
  return {
    certificateChainPem: chainPem.join(""),
    privateKeyPem: encodePem("PRIVATE KEY", new Uint8Array(pkcs8)),
    trustedRootsPem: rootsPem,
  };
}

/** The list of everything revoked so far. */
export function revocationList(
  authority: CertificateAuthority,
  serialNumbers: readonly string[],
  number: number,
): Promise<Uint8Array> {
  const revoked = serialNumbers.map((serialNumber) => ({
    serialNumber,
    revokedAtMs: madeAtMs,
    reason: "keyCompromise" as const,
  }));
  return authority.revocationList(revoked, BigInt(number), madeAtMs + 3_000 * day);
}
