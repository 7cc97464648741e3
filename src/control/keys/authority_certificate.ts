/** Who certifies a new authority: itself, the root that we have, or another CA (`vault_pki.ts`). */

import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { SigningKey } from "../../pki/crypto/private_key.ts";
import { encodePem } from "../../pki/der/pem.ts";
import type { AuthorityOptions, CertificateAuthority } from "../../pki/issue/ca.ts";
import { loadAuthority } from "../../pki/issue/load_authority.ts";
import type { AuthorityRow } from "../records/keys.ts";

export interface AuthorityQuestion {
  readonly kind: AuthorityRow["kind"];
  readonly key: SigningKey;
  readonly publicKeyInfo: Uint8Array;
  /** Our root, when its key can be used. */
  readonly root: CertificateAuthority | null;
  /** How long an intermediate is wanted to live; who signs it may cut it. */
  readonly lifetimeMs: number;
}

export type CertifiedAuthority = Pick<AuthorityRow, "kind" | "certificatePem" | "chainPem">;

export interface AuthorityCertifier {
  /** @throws MeshError `authority_unavailable`; `configuration`, blame local. */
  certify(question: AuthorityQuestion): Promise<CertifiedAuthority>;
}

/** Roots signed by themselves, and intermediates signed by them. */
export class OwnCertifier implements AuthorityCertifier {
  readonly #options: AuthorityOptions;

  constructor(options: AuthorityOptions) {
    this.#options = options;
  }

  async certify(question: AuthorityQuestion): Promise<CertifiedAuthority> {
    const { provider, trustDomain, clock } = this.#options;
    const { key, publicKeyInfo, kind, root, lifetimeMs } = question;
    const nowMs = clock.wallMs();
    const { createRootCertificate, issueIntermediateCertificate } = await loadAuthority();
    if (kind === "root") {
      const made = await createRootCertificate(provider, key, publicKeyInfo, trustDomain, nowMs);
      return { kind, certificatePem: encodePem("CERTIFICATE", made.der), chainPem: "" };
    }
    if (root === null) {
      throw new MeshError("authority_unavailable", "local", "an intermediate needs the key of our own root");
    }
    const made = await issueIntermediateCertificate(root.issuer, {
      publicKeyInfo,
      trustDomain,
      notBeforeMs: Math.max(nowMs - pkiLimits.authorityBackdateMs, root.certificate.notBeforeMs),
      notAfterMs: Math.min(nowMs + lifetimeMs, root.certificate.notAfterMs),
    });
    return {
      kind,
      certificatePem: encodePem("CERTIFICATE", made.der),
      chainPem: encodePem("CERTIFICATE", root.certificate.der),
    };
  }
}
