/** The authorities of this control plane as they are now, ready for use. */
import { MeshError } from "../../base/errors.ts";
import { decodePemLabel, encodePem } from "../../pki/der/pem.ts";
import type { CertificateAuthority } from "../../pki/issue/ca.ts";
import { TrustAnchors } from "../../pki/trust/anchors.ts";
import { type Certificate, isSelfIssued, parseLocalCertificate } from "../../pki/x509/certificate.ts";
import type { AuthorityRow, AuthorityState } from "../records/keys.ts";

export interface LoadedAuthority {
  readonly id: string;
  readonly kind: AuthorityRow["kind"];
  readonly state: Exclude<AuthorityState, "retired">;
  readonly certificate: Certificate;
  /** From its issuer up to its root, as far as they are known; empty for a root. */
  readonly above: readonly Certificate[];
  /** The roots that stand for it: one, unless an operator's own files name several. */
  readonly roots: readonly Certificate[];
  readonly createdAtMs: number;
  /** Null while its key cannot be reached. */
  readonly ca: CertificateAuthority | null;
  /** Why it cannot. */
  readonly unavailable: string | null;
  /** Its key is in a file that an operator keeps away from here. */
  readonly keptAway: boolean;
}

export interface AuthorityView {
  readonly authorities: readonly LoadedAuthority[];
  /** The one that issues. */
  readonly active: LoadedAuthority | null;
  /** Every root in force, none twice. */
  readonly roots: readonly Certificate[];
  readonly rootsPem: string;
}

export function authorityView(authorities: readonly LoadedAuthority[]): AuthorityView {
  const roots = new TrustAnchors(authorities.flatMap((one) => one.roots)).certificates;
  return {
    authorities,
    active: authorities.find((one) => one.state === "active") ?? null,
    roots,
    rootsPem: roots.map((root) => encodePem("CERTIFICATE", root.der)).join(""),
  };
}

export interface RowCertificates {
  readonly certificate: Certificate;
  /** Between it and its root. */
  readonly intermediates: readonly Certificate[];
  readonly root: Certificate;
}

/** @throws MeshError `configuration`, blame local, for a row that cannot be. */
export function readRowCertificates(
  row: Pick<AuthorityRow, "id" | "certificatePem" | "chainPem">,
): RowCertificates {
  const what = `the certificate of authority ${row.id}`;
  const [certificate, ...above] = decodePemLabel(`${row.certificatePem}\n${row.chainPem}`, "CERTIFICATE").map(
    (der) => parseLocalCertificate(der, what),
  );
  const root = above[above.length - 1] ?? certificate;
  if (certificate === undefined || root === undefined || !isSelfIssued(root)) {
    throw new MeshError("configuration", "local", `${what} has no root`);
  }
  return { certificate, intermediates: above.slice(0, -1), root };
}
