/** Trust anchors: the roots an operator has given, several of one name when a root is being replaced. */
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { decodePemLabel } from "../der/pem.ts";
import { hex } from "../der/values.ts";
import { type Certificate, parseLocalCertificate } from "../x509/certificate.ts";

export class TrustAnchors {
  readonly certificates: readonly Certificate[];
  readonly #bySubject = new Map<string, Certificate[]>();
  readonly #ders = new Set<string>();
  readonly #keys = new Set<string>();

  constructor(certificates: readonly Certificate[]) {
    const unique: Certificate[] = [];
    for (const certificate of certificates) {
      const der = hex(certificate.der);
      if (this.#ders.has(der)) continue;
      this.#ders.add(der);
      unique.push(certificate);
      this.#keys.add(certificate.authorityKey);
      const sameName = this.#bySubject.get(certificate.subject);
      if (sameName === undefined) this.#bySubject.set(certificate.subject, [certificate]);
      else sameName.push(certificate);
    }
    this.certificates = unique;
  }

  bySubject(subject: string): readonly Certificate[] {
    return this.#bySubject.get(subject) ?? [];
  }

  /** Whether exactly this certificate is an anchor. */
  has(certificate: Certificate): boolean {
    return this.#ders.has(hex(certificate.der));
  }

  /** Whether an anchor has this name and key, so that a renewed root certificate changes nothing for what it issued. */
  hasAuthority(authorityKey: string): boolean {
    return this.#keys.has(authorityKey);
  }
}

/**
 * Parses a bundle of roots. Every one must be a CA certificate; one that is bad makes the bundle bad, as a root that is
 * silently missing is found out at the worst time.
 *
 * @throws MeshError `configuration`, blame local.
 */
export function parseRoots(pem: string): readonly Certificate[] {
  if (pem.length > pkiLimits.maxRootsBytes) throw bad("bundle of trust roots is larger than the limit");
  const ders = decodeRoots(pem);
  if (ders.length === 0) throw bad("bundle of trust roots holds no certificate");
  if (ders.length > pkiLimits.maxRoots)
    throw bad("bundle of trust roots holds more certificates than the limit");
  return ders.map((der, index) => {
    const root = parseLocalCertificate(der, `trust root ${index + 1}`);
    if (root.extensions.basicConstraints?.isCa !== true)
      throw bad(`trust root "${root.subjectText}" is not a CA certificate`);
    if (!root.hasSubject) throw bad(`trust root ${index + 1} has an empty name`);
    return root;
  });
}

/** `parseRoots` of a file, which an error names. @throws MeshError `configuration`, blame local. */
export function parseRootsFile(pem: string, path: string): readonly Certificate[] {
  try {
    return parseRoots(pem);
  } catch (thrown) {
    throw thrown instanceof MeshError ? bad(`${path}: ${thrown.message}`) : thrown;
  }
}

function decodeRoots(pem: string): readonly Uint8Array[] {
  try {
    return decodePemLabel(pem, "CERTIFICATE");
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new MeshError("configuration", "local", `bundle of trust roots: ${message}`, { cause: error });
  }
}

function bad(message: string): MeshError {
  return new MeshError("configuration", "local", message);
}
