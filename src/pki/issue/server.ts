/** The certificate of a server that is dialled by names and addresses: the control plane's own. */
import { MeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import { identityLimits } from "../../base/limits/control.ts";
import type { TlsCredentials } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import { generateSigningKey } from "../crypto/private_key.ts";
import { decodePemLabel, encodePem } from "../der/pem.ts";
import { isServerFor } from "../trust/server_name.ts";
import { parseCertificate } from "../x509/certificate.ts";
import type { Issuer } from "./issuer.ts";
import { issueSvidCertificate } from "./svid.ts";

export interface ServingRequest {
  readonly issuer: Issuer;
  /** The issuer itself when it is no root, then what is above it, without the root. */
  readonly chainPem: readonly string[];
  /** What the presented chain ends with: a host that joins with nothing but this root's pin finds it there. */
  readonly rootPem: string;
  /** Every root in force. */
  readonly rootsPem: string;
  /** The server's identity in the mesh, the one URI name. */
  readonly id: SpiffeId;
  /** DNS names and IP addresses, as they are dialled; not empty. */
  readonly hosts: readonly string[];
  /** Milliseconds since the Unix epoch. */
  readonly nowMs: number;
}

export interface ServingCertificate {
  readonly credentials: TlsCredentials;
  /** Hexadecimal. */
  readonly serialNumber: string;
  /** `Certificate.authorityKey` of who has issued it. */
  readonly issuerKey: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Makes a key and has it signed. @throws MeshError `configuration`, blame local, for a host that is none; the issuer's own. */
export async function issueServingCertificate(request: ServingRequest): Promise<ServingCertificate> {
  const { issuer, id, hosts, nowMs, rootPem } = request;
  const serverNames = parseHosts(hosts);
  const { key, publicKeyInfo } = await generateSigningKey(issuer.provider);
  const { notBeforeMs, notAfterMs } = issuer.certificate;
  const leafPem = await issueSvidCertificate(issuer, {
    id,
    publicKeyInfo,
    serverNames,
    notBeforeMs: Math.max(nowMs - identityLimits.servingBackdateMs, notBeforeMs),
    notAfterMs: Math.min(nowMs + identityLimits.servingLifetimeMs, notAfterMs),
  });
  const [der = new Uint8Array()] = decodePemLabel(leafPem, "CERTIFICATE");
  const leaf = parseCertificate(der);
  const missing = hosts.find((host) => !isServerFor(leaf, host));
  if (missing !== undefined) throw bad(`"${missing}" cannot be named in a certificate`);
  return {
    credentials: {
      certificateChainPem: [leafPem, ...request.chainPem, rootPem].join(""),
      privateKeyPem: encodePem("PRIVATE KEY", key.pkcs8),
      trustedRootsPem: request.rootsPem,
    },
    serialNumber: leaf.serialNumber,
    issuerKey: issuer.certificate.authorityKey,
    notBeforeMs: leaf.notBeforeMs,
    notAfterMs: leaf.notAfterMs,
  };
}

function parseHosts(
  hosts: readonly string[],
): NonNullable<Parameters<typeof issueSvidCertificate>[1]["serverNames"]> {
  if (hosts.length === 0) throw bad("the control plane needs a name or an address it is dialled by");
  if (hosts.length > identityLimits.maxServingNames) throw bad("the control plane has too many names");
  return hosts.map((host) => {
    const ip = IpAddress.parse(host);
    return ip === null
      ? { type: "dns", value: host.toLowerCase().replace(/\.$/, "") }
      : { type: "ip", value: ip.text };
  });
}

function bad(message: string): MeshError {
  return new MeshError("configuration", "local", message);
}
