/** Name constraints (RFC 5280 §4.2.1.10) of a CA, applied to what stands below it in a path. */
import type { Certificate } from "./certificate.ts";
import type { GeneralName, NameConstraints } from "./extensions.ts";

/**
 * Checks one certificate against the constraints of one of its issuers. URI and DNS constraints are evaluated; where
 * another kind of constraint meets a name of its kind the answer is a refusal, as it cannot be said to hold.
 *
 * @returns what is wrong, or null.
 */
export function violatedNameConstraint(
  certificate: Certificate,
  constraints: NameConstraints,
): string | null {
  for (const name of namesOf(certificate)) {
    const excluded = constraints.excluded.filter((subtree) => subtree.kind === name.kind);
    const permitted = constraints.permitted?.filter((subtree) => subtree.kind === name.kind) ?? [];
    if (excluded.length + permitted.length === 0) continue;
    if (name.value === null) return `has a ${name.kind} name under a constraint that is not evaluated`;
    const within = (subtree: GeneralName): boolean =>
      subtree.value !== null && isWithin(name.kind, name.value, subtree.value);
    if (excluded.some(within)) return "has a name that its issuer excludes";
    if (permitted.length > 0 && !permitted.some(within)) return "has a name that its issuer does not permit";
  }
  return null;
}

/** The subject counts as a directory name when it is not empty. */
function namesOf(certificate: Certificate): readonly GeneralName[] {
  const names = certificate.extensions.subjectAltNames;
  return certificate.hasSubject ? [...names, { kind: "directory", value: null }] : names;
}

function isWithin(kind: "uri" | "dns", name: string, subtree: string): boolean {
  return kind === "uri" ? isUriWithin(name, subtree) : isDnsWithin(name.toLowerCase(), subtree.toLowerCase());
}

/** `host` is that host alone, `.domain` is every host below it; a URI without a host name satisfies nothing. */
function isUriWithin(uri: string, subtree: string): boolean {
  const host = /^[a-z][a-z0-9+.-]*:\/\/([a-z0-9._-]+)(?:[/?#]|$)/i.exec(uri)?.[1]?.toLowerCase();
  // An exclusion that cannot be applied would let the name through, but such a URI is no SPIFFE identity and ends there.
  if (host === undefined) return false;
  const wanted = subtree.toLowerCase();
  return wanted.startsWith(".") ? host.endsWith(wanted) && host.length > wanted.length : host === wanted;
}

/** The name itself or anything with labels added on the left; the empty constraint is every name. */
function isDnsWithin(name: string, subtree: string): boolean {
  if (subtree === "") return true;
  return name === subtree || name.endsWith(subtree.startsWith(".") ? subtree : `.${subtree}`);
}
