/**
 * Certification path building and validation (RFC 5280 §6, RFC 4158), our own: the TLS library's verdict is not asked.
 * Depth first from the leaf; at each step the anchors of the issuer's name, then the presented intermediates of that
 * name, so that re-keyed roots, cross-signed CAs, loops and an arbitrary order all come out right. The work is bounded.
 */
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { SignatureVerifier } from "../crypto/signature.ts";
import type { CertificateUsage } from "../der/oids.ts";
import { type Certificate, isSelfIssued } from "../x509/certificate.ts";
import type { TrustAnchors } from "./anchors.ts";
import { checkIssuer, checkLeaf, checkNameConstraints, pathError } from "./path_rules.ts";

export interface PathQuestion {
  readonly leaf: Certificate;
  /** As presented, in any order; roots among them are tolerated. */
  readonly intermediates: readonly Certificate[];
  readonly anchors: TrustAnchors;
  readonly usage: CertificateUsage;
  /** Milliseconds since the Unix epoch. */
  readonly nowMs: number;
}

/** A path that holds: leaf first, trust anchor last, at least two. */
export interface CertificationPath {
  readonly certificates: readonly [Certificate, ...Certificate[], Certificate];
}

/** The beginning of one: leaf first. */
type Begun = readonly [Certificate, ...Certificate[]];

/**
 * @throws MeshError `certificate_*`, blame peer: of all the ways that failed, the one that came furthest.
 */
export async function validatePath(
  question: PathQuestion,
  verifier: SignatureVerifier,
): Promise<CertificationPath> {
  const wrong = checkLeaf(question.leaf, question.usage, question.nowMs);
  if (wrong !== null) throw wrong;
  return await new PathSearch(question, verifier).run();
}

class PathSearch {
  readonly #question: PathQuestion;
  readonly #verifier: SignatureVerifier;
  readonly #intermediates: readonly Certificate[];
  #signatureChecks = 0;
  #error: MeshError | null = null;
  #errorDepth = -1;

  constructor(question: PathQuestion, verifier: SignatureVerifier) {
    this.#question = question;
    this.#verifier = verifier;
    // A presented root decides nothing: the path ends at our own copy of it.
    this.#intermediates = question.intermediates.filter((one) => !question.anchors.has(one));
  }

  async run(): Promise<CertificationPath> {
    const { leaf } = this.#question;
    const path = await this.#extend([leaf]);
    if (path !== null) return path;
    throw this.#error ?? pathError("certificate_untrusted", leaf, "does not lead to a trust root");
  }

  async #extend(path: Begun): Promise<CertificationPath | null> {
    const child = path.at(-1) ?? path[0];
    const anchors = orderByKeyId(child, this.#question.anchors.bySubject(child.issuer));
    for (const anchor of anchors) {
      const found = await this.#finish(path, child, anchor);
      if (found !== null) return found;
    }
    const issuers = this.#intermediates.filter((one) => one.subject === child.issuer && !isOnPath(path, one));
    if (anchors.length + issuers.length === 0) {
      this.#remember(
        path,
        pathError(
          "certificate_untrusted",
          child,
          `is issued by "${child.issuerText}", which is no trust root`,
        ),
      );
      return null;
    }
    for (const issuer of orderByKeyId(child, issuers)) {
      if (path.length + 2 > pkiLimits.maxPathCertificates) {
        this.#remember(path, pathError("certificate_chain", child, "is too far from a trust root"));
        return null;
      }
      if (!(await this.#isIssuedBy(path, child, issuer, false))) continue;
      const found = await this.#extend([...path, issuer]);
      if (found !== null) return found;
    }
    return null;
  }

  async #finish(path: Begun, child: Certificate, anchor: Certificate): Promise<CertificationPath | null> {
    if (!(await this.#isIssuedBy(path, child, anchor, true))) return null;
    const certificates = [...path, anchor] as const;
    const violation = checkNameConstraints(certificates);
    if (violation === null) return { certificates };
    this.#remember(path, violation);
    return null;
  }

  async #isIssuedBy(
    path: readonly Certificate[],
    child: Certificate,
    issuer: Certificate,
    isAnchor: boolean,
  ): Promise<boolean> {
    const below = path.slice(1).filter((one) => !isSelfIssued(one)).length;
    const wrong = checkIssuer(issuer, this.#question.usage, this.#question.nowMs, below, isAnchor);
    if (wrong !== null) {
      this.#remember(path, wrong);
      return false;
    }
    if (++this.#signatureChecks > pkiLimits.maxSignatureChecks) {
      throw pathError("certificate_chain", this.#question.leaf, "needs too many signature checks");
    }
    try {
      if (await this.#verifier.verify(child, issuer)) return true;
      this.#remember(
        path,
        pathError("certificate_signature", child, `is not signed by "${issuer.subjectText}"`),
      );
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      this.#remember(path, pathError(error.code, child, `cannot be verified: ${error.message}`));
    }
    return false;
  }

  #remember(path: readonly Certificate[], error: MeshError): void {
    if (path.length <= this.#errorDepth) return;
    this.#errorDepth = path.length;
    this.#error = error;
  }
}

/** Same name and key twice on a path is a loop, whatever certificate says it (RFC 4158 §2.4.2). */
function isOnPath(path: readonly Certificate[], certificate: Certificate): boolean {
  return path.some((one) => one.authorityKey === certificate.authorityKey);
}

/** The key identifiers are a hint which of several issuers of one name it was (RFC 4158 §3.5.12), never a proof. */
function orderByKeyId(child: Certificate, issuers: readonly Certificate[]): readonly Certificate[] {
  const wanted = child.extensions.authorityKeyId;
  if (wanted === null) return issuers;
  const matches = (issuer: Certificate): boolean => issuer.extensions.subjectKeyId === wanted;
  return [...issuers.filter(matches), ...issuers.filter((issuer) => !matches(issuer))];
}
