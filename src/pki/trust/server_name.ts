/** Whether a certificate is a server's by the name it was dialled by (RFC 9525). */
import { IpAddress } from "../../base/ip.ts";
import { printable } from "../der/distinguished_name.ts";
import { bytesEqual } from "../der/values.ts";
import type { Certificate } from "../x509/certificate.ts";

/**
 * RFC 9525 §6: an address is compared with IP names alone, a name with DNS names alone; the common name means nothing
 * (§4.1), a URI name neither.
 *
 * @param host as dialled: a DNS name, or an IP address without brackets.
 */
export function isServerFor(certificate: Certificate, host: string): boolean {
  const names = certificate.extensions.subjectAltNames;
  const ip = IpAddress.parse(host);
  if (ip !== null) return names.some((name) => name.kind === "ip" && bytesEqual(name.bytes, ip.bytes));
  const wanted = dnsName(host);
  if (wanted === null) return false;
  return names.some((name) => name.kind === "dns" && matches(name.value.toLowerCase(), wanted));
}

/** Whether a name that is wanted is a URI, as SPIFFE's are. */
export function isUri(name: string): boolean {
  return name.includes("://");
}

/** A URI is compared as it is written: SPIFFE-ID §2 leaves no other spelling. */
export function hasUri(certificate: Certificate, uri: string): boolean {
  return certificate.extensions.subjectAltNames.some((name) => name.kind === "uri" && name.value === uri);
}

/** The names a certificate has, for messages. */
export function serverNames(certificate: Certificate): string {
  const names = certificate.extensions.subjectAltNames.flatMap((name) => {
    if (name.kind === "dns" || name.kind === "uri") return [printable(name.value)];
    if (name.kind === "ip")
      return [IpAddress.fromBytes(name.bytes)?.text ?? "an IP address of no known length"];
    return [];
  });
  const shown = names.slice(0, 8).join(", ");
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown || "none";
}

const labelPattern = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** A name as it is compared: lower case, without the root's dot; international names in their A-label form. @returns null for none. */
function dnsName(host: string): string | null {
  const name = host.toLowerCase().replace(/\.$/, "");
  const labels = name.split(".");
  // What ends in a number is an address that was written badly, never a name (WHATWG URL §3.5, RFC 1123 §2.1).
  if (
    name.length > 253 ||
    !labels.every((label) => labelPattern.test(label)) ||
    /^[0-9]+$/.test(labels.at(-1) ?? "")
  )
    return null;
  return name;
}

/** RFC 9525 §6.3: a `*` is a whole left-most label, stands for exactly one, and has two labels at least to its right. */
function matches(presented: string, wanted: string): boolean {
  if (!presented.startsWith("*.")) return presented === wanted;
  const suffix = presented.slice(1);
  const dot = wanted.indexOf(".");
  return suffix.split(".").length > 2 && !suffix.includes("*") && wanted.slice(dot) === suffix;
}
