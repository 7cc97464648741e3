/** An intermediate that Vault's PKI engine certifies: the root stays in Vault, the intermediate's key stays where ours are. */

import { MeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { decodePemLabel, encodePem } from "../../pki/der/pem.ts";
import { bytesEqual } from "../../pki/der/values.ts";
import { loadAuthority } from "../../pki/issue/load_authority.ts";
import { type Certificate, isSelfIssued, parseLocalCertificate } from "../../pki/x509/certificate.ts";
import type { AuthorityCertifier, AuthorityQuestion, CertifiedAuthority } from "./authority_certificate.ts";
import type { OutsideAuthority } from "./outside_lists.ts";
import { textField } from "./vault_answer.ts";
import { vaultPath } from "./vault_connection.ts";
import type { VaultData, VaultSession } from "./vault_session.ts";

export interface VaultPkiOptions {
  readonly session: Pick<VaultSession, "request">;
  readonly provider: CryptoProvider;
  readonly trustDomain: string;
  /** `pki` by default. */
  readonly mount: string;
  /** Name or id of one of the mount's issuers; null for its default. */
  readonly issuer: string | null;
  /** The mesh's root where Vault's issuer is itself an intermediate and does not tell what is above it. */
  readonly rootsPem: string | null;
}

export class VaultPkiCertifier implements AuthorityCertifier, OutsideAuthority {
  readonly #options: VaultPkiOptions;
  readonly #mount: string;
  readonly #issuer: string;
  readonly #path: string;

  /** @throws MeshError `configuration`, blame local. */
  constructor(options: VaultPkiOptions) {
    this.#options = options;
    const mount = vaultPath(options.mount, "the mount of PKI");
    const { issuer } = options;
    this.#mount = mount;
    this.#issuer = issuer === null ? "default" : vaultPath(issuer, "the issuer");
    this.#path =
      issuer === null
        ? `${mount}/root/sign-intermediate`
        : `${mount}/issuer/${vaultPath(issuer, "the issuer")}/sign-intermediate`;
  }

  async certify({ key, publicKeyInfo, lifetimeMs }: AuthorityQuestion): Promise<CertifiedAuthority> {
    const { session, provider, trustDomain } = this.#options;
    const { createAuthorityRequest } = await loadAuthority();
    const csr = await createAuthorityRequest(provider, key, publicKeyInfo, trustDomain);
    const body: VaultData = {
      csr,
      format: "pem",
      // The name in the request, which differs from that of every other intermediate of ours.
      use_csr_values: true,
      max_path_length: 0,
      not_before_duration: `${Math.floor(pkiLimits.authorityBackdateMs / 1000)}s`,
      ttl: `${Math.floor(lifetimeMs / 1000)}s`,
    };
    const data = await session.request("POST", this.#path, body);
    if (data === null) throw unusable(`has no ${this.#path}`);
    return this.#read(data);
  }

  async revoke(serialNumbers: readonly string[]): Promise<Uint8Array> {
    const { session } = this.#options;
    for (const serial of serialNumbers) {
      const serial_number = serial.match(/../g)?.join(":") ?? serial;
      if ((await session.request("POST", `${this.#mount}/revoke`, { serial_number })) === null)
        throw unusable(`does not know the intermediate ${serial_number}, so it cannot be revoked`);
    }
    const data = await session.request("GET", `${this.#mount}/issuer/${this.#issuer}/crl`);
    const [list] = decodePemLabel(textField(data, "crl") ?? "", "X509 CRL");
    if (list === undefined) throw unusable("has returned no revocation list");
    return list;
  }

  #read(data: VaultData): CertifiedAuthority {
    const [certificate] = certificatesIn(textField(data, "certificate") ?? "");
    if (certificate === undefined) throw unusable("has returned no certificate");
    const chain = Array.isArray(data.ca_chain) ? data.ca_chain.filter((one) => typeof one === "string") : [];
    const told = chain.length > 0 ? chain.join("\n") : (textField(data, "issuing_ca") ?? "");
    const known = [...certificatesIn(told), ...certificatesIn(this.#options.rootsPem ?? "")];
    const above = order(certificate, known);
    const root = above.at(-1);
    if (root === undefined || !isSelfIssued(root)) {
      throw new MeshError(
        "configuration",
        "local",
        "Vault's PKI engine does not show the root above its issuer; give the root as a file (--ca-root)",
      );
    }
    const chainPem = above.map((one) => encodePem("CERTIFICATE", one.der)).join("");
    return { kind: "intermediate", certificatePem: encodePem("CERTIFICATE", certificate.der), chainPem };
  }
}

/** From `certificate` up to a root by names; whether they hold is checked where the authority is loaded. */
function order(certificate: Certificate, known: readonly Certificate[]): readonly Certificate[] {
  const path: Certificate[] = [];
  let last = certificate;
  while (!isSelfIssued(last)) {
    const issuer = known.find(
      (one) => one.subject === last.issuer && !path.some((seen) => bytesEqual(seen.der, one.der)),
    );
    if (issuer === undefined) break;
    path.push(issuer);
    last = issuer;
  }
  return path;
}

function certificatesIn(pem: string): readonly Certificate[] {
  const found = decodePemLabel(pem, "CERTIFICATE");
  if (found.length > keysLimits.maxVaultChain)
    throw unusable(`tells a chain of ${found.length} certificates`);
  return found.map((der) => parseLocalCertificate(der, "the answer of Vault's PKI engine"));
}

function unusable(what: string): MeshError {
  return new MeshError("authority_unavailable", "upstream", `Vault's PKI engine ${what}`);
}
