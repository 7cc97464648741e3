/** Certificates for the TLS half of the contract: chains of our CA and of a foreign one. */

import { hostLimits } from "../../base/limits/host.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { Forge, type Forged, type ForgeOptions } from "../../pki/testing/forge.ts";
import type { TlsCredentials } from "../host.ts";

export interface TestIdentity {
  readonly credentials: TlsCredentials;
  /** DER, as it is sent: leaf first, no root. */
  readonly chain: readonly Uint8Array[];
}

export interface TestAuthority {
  readonly root: Forged;
  readonly server: TestIdentity;
  readonly client: TestIdentity;
  readonly foreign: TestIdentity;
  readonly expired: TestIdentity;
  readonly selfSigned: TestIdentity;
  /** One certificate more than a chain may have. */
  readonly longChain: TestIdentity;
  readonly otherRoot: Forged;
  /** Trusts our root, shows nothing. */
  readonly anonymous: TlsCredentials;
}

let made: Promise<TestAuthority> | null = null;

/** Made once a process. */
export function testAuthority(): Promise<TestAuthority> {
  made ??= make();
  return made;
}

async function make(): Promise<TestAuthority> {
  const forge = new Forge(runtimeProvider(), Date.now());
  const root = await forge.ca();
  const upper = await forge.ca({ subject: "CN=upper", issuer: root });
  const lower = await forge.ca({ subject: "CN=lower", issuer: upper });
  const otherRoot = await forge.ca({ subject: "CN=other root" });
  const identity = async (issuers: readonly Forged[], options: ForgeOptions = {}): Promise<TestIdentity> => {
    const issuer = issuers[0];
    const leaf =
      issuer === undefined ? await forge.leaf(root, { issuer: null }) : await forge.leaf(issuer, options);
    return describeIdentity([leaf, ...issuers], root.pem);
  };
  return {
    root,
    otherRoot,
    server: await identity([lower, upper]),
    client: await identity([lower, upper]),
    foreign: await identity([otherRoot]).then(({ credentials, chain }) => ({
      chain: chain.slice(0, 1),
      credentials: {
        ...credentials,
        certificateChainPem: encodePem("CERTIFICATE", chain[0] ?? new Uint8Array()),
      },
    })),
    expired: await identity([lower, upper], {
      notBefore: new Date(Date.now() - 7_200_000),
      notAfter: new Date(Date.now() - 3_600_000),
    }),
    selfSigned: await identity([]),
    longChain: await identity(await chainOfIssuers(forge, root, hostLimits.maxPeerCertificates)),
    anonymous: { certificateChainPem: "", privateKeyPem: "", trustedRootsPem: root.pem },
  };
}

/** @returns the last of them first, without the root. */
async function chainOfIssuers(forge: Forge, root: Forged, length: number): Promise<readonly Forged[]> {
  const issuers = [root];
  while (issuers.length <= length) {
    const issuer = issuers.at(-1) ?? root;
    issuers.push(await forge.ca({ subject: `CN=issuer ${issuers.length}`, issuer }));
  }
  return issuers.slice(1).reverse();
}

/** @param certificates leaf first. */
export async function describeIdentity(
  certificates: readonly Forged[],
  trustedRootsPem: string,
): Promise<TestIdentity> {
  const leaf = certificates[0];
  if (leaf === undefined) throw new Error("an identity has a certificate");
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", leaf.keys.privateKey);
  return {
    chain: certificates.map((certificate) => certificate.der),
    credentials: {
      certificateChainPem: certificates.map((certificate) => certificate.pem).join(""),
      privateKeyPem: encodePem("PRIVATE KEY", new Uint8Array(pkcs8)),
      trustedRootsPem,
    },
  };
}
