/** Name constraints (RFC 5280 §4.2.1.10) of a CA, applied to what stands below it in a path. */
import type { Certificate } from "../x509/certificate.ts";
import type { GeneralName, NameConstraints } from "../x509/extensions.ts";

/**
 * Checks one certificate against the constraints of one of its issuers. URI and DNS names are evaluated; where a constraint
 * of another kind meets a name of its kind, or one of the two is not written as it must be, it cannot be said to hold.
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
    const isIn = [...excluded, ...permitted].map((subtree) => isWithin(name, subtree));
    if (isIn.includes(null)) return `has a ${name.kind} name under a constraint that cannot be evaluated`;
    if (isIn.slice(0, excluded.length).includes(true))
      return `has a ${name.kind} name that its issuer excludes`;
    if (permitted.length > 0 && !isIn.slice(excluded.length).includes(true)) {
      return `has a ${name.kind} name that its issuer does not permit`;
    }
  }
  return null;
}

/** The subject counts as a directory name when it is not empty. */
function namesOf(certificate: Certificate): readonly GeneralName[] {
  const names = certificate.extensions.subjectAltNames;
  return certificate.hasSubject ? [...names, { kind: "directory", value: null }] : names;
}

/** @returns null when it cannot be said. */
function isWithin(name: GeneralName, subtree: GeneralName): boolean | null {
  if (name.value === null || subtree.value === null) return null;
  const wanted = subtree.value.toLowerCase();
  return name.kind === "uri"
    ? isUriWithin(name.value, wanted)
    : isDnsWithin(name.value.toLowerCase(), wanted);
}

const hostPattern = /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/;
const uriHost = /^[a-z][a-z0-9+.-]*:\/\/([^/?#@:]+)(?:[/?#]|$)/i;

/** `host` is that host alone, `.domain` is every host below it. A URI without a host name can satisfy nothing. */
function isUriWithin(uri: string, subtree: string): boolean | null {
  const host = uriHost.exec(uri)?.[1]?.toLowerCase();
  const domain = subtree.startsWith(".") ? subtree.slice(1) : subtree;
  if (host === undefined || !hostPattern.test(host) || !hostPattern.test(domain)) return null;
  return subtree.startsWith(".") ? host.endsWith(subtree) : host === subtree;
}

/** The name itself or anything with labels added on the left; the empty constraint is every name. */
function isDnsWithin(name: string, subtree: string): boolean | null {
  if (!hostPattern.test(name) || (subtree !== "" && !hostPattern.test(subtree))) return null;
  return subtree === "" || name === subtree || name.endsWith(`.${subtree}`);
}
