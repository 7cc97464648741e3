/** Host names and addresses as Istio's documents write them. */
import { IpAddress } from "../../../base/ip.ts";
import { type IpPrefix, parseIpPrefix } from "../../../base/prefix.ts";
import type { EndpointAddress } from "../document.ts";
import { type Located, type Problems, quote } from "../reader.ts";

/** One label of a name (RFC 1123 §2.1, `labels.IsDNS1123Label` of Istio): no underscore, upper case is taken. */
const label = "[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?";
const dnsLabel = new RegExp(`^${label}$`);
/** Istio: `*`, `*-name`, `*name`, or `name`. Only the first is of use; see `isPartialWildcard`. */
const firstLabel = new RegExp(`^(?:\\*|(?:\\*-?)?${label})$`);
const maxLabelLength = 63;
/** Istio `CheckDNS1123Preconditions`. */
const maxNameLength = 255;

export function isDnsLabel(text: string): boolean {
  return text.length <= maxLabelLength && dnsLabel.test(text);
}

/**
 * Istio `ValidateFQDN`: labels with dots, one at the end too. The last is no number, so that four numbers that are no
 * address, such as `10.0.0.256`, are never a name.
 */
export function isHostname(text: string): boolean {
  if (text.length === 0 || text.length > maxNameLength) return false;
  const labels = (text.endsWith(".") ? text.slice(0, -1) : text).split(".");
  return labels.every(isDnsLabel) && !/^[0-9]+$/.test(labels.at(-1) ?? "");
}

/** Istio `ValidateWildcardDomain`, without the `*` that stands for every name. */
export function isServiceHost(text: string): boolean {
  if (text === "*" || text.length > maxNameLength) return false;
  const dot = text.indexOf(".");
  const first = dot === -1 ? text : text.slice(0, dot);
  if (first.length > maxLabelLength || !firstLabel.test(first)) return false;
  const rest = dot === -1 ? "" : text.slice(dot + 1);
  return rest === "" ? first !== "*" : isHostname(rest);
}

/** `*name.example`: Istio warns of it and takes it. */
export function isPartialWildcard(host: string): boolean {
  return host.startsWith("*") && !host.startsWith("*.");
}

/** The name as it is looked up: case does not count, nor does the root's dot. */
export function normalHost(host: string): string {
  return (host.endsWith(".") ? host.slice(0, -1) : host).toLowerCase();
}

export function readEndpointAddress(
  read: Located<string>,
  path: string,
  problems: Problems,
): Located<EndpointAddress> | null {
  const { value, at } = read;
  const ip = IpAddress.parse(value);
  if (ip !== null) return { value: { kind: "ip", ip }, at };
  if (value.startsWith("unix://")) problems.add(at, `${path}: Unix domain sockets are not supported`, value);
  else if (isHostname(value)) return { value: { kind: "hostname", hostname: normalHost(value) }, at };
  else problems.add(at, `${path}: ${quote(value)} is neither an IP address nor a host name`, value);
  return null;
}

/** IP addresses or CIDR blocks. */
export function readPrefixes(
  texts: readonly Located<string>[],
  path: string,
  problems: Problems,
): readonly Located<IpPrefix>[] {
  return texts.flatMap(({ value, at }) => {
    const prefix = parseIpPrefix(value);
    if (prefix !== null) return [{ value: prefix, at }];
    problems.add(at, `${path}: ${quote(value)} is neither an IP address nor a CIDR block`, value);
    return [];
  });
}
