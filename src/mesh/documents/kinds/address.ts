/** Host names and addresses as Istio's documents write them. */
import { IpAddress } from "../../../base/ip.ts";
import { type IpPrefix, parseIpPrefix } from "../../../base/prefix.ts";
import type { EndpointAddress, Labels } from "../document.ts";
import type { Located, ObjectReader, Problems } from "../reader.ts";
import { quote } from "../reader.ts";

const LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
const HOSTNAME = new RegExp(`^(?=.{1,253}$)${LABEL}(\\.${LABEL})*$`);
const WILDCARD = new RegExp(`^(?=.{1,253}$)\\*\\.${LABEL}(\\.${LABEL})*$`);

/** Four numbers with dots that are no address, such as `10.0.0.256`, are never a name. */
export function isHostname(text: string): boolean {
  return HOSTNAME.test(text) && !/^[0-9.]+$/.test(text);
}

export function isServiceHost(text: string): boolean {
  return isHostname(text) || WILDCARD.test(text);
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
  else if (isHostname(value)) return { value: { kind: "hostname", hostname: value.toLowerCase() }, at };
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

/** `selector.matchLabels`, or a workload selector's `labels`. Null when there is no selector at all. */
export function readSelector(reader: ObjectReader, field: string, labelsField: string): Labels | null {
  if (!reader.has(field)) return null;
  const selector = reader.object(field, { known: [labelsField] });
  return selector?.has(labelsField) === true ? selector.stringMap(labelsField) : new Map();
}
