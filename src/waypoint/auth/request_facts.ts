/** What policy looks at: one request (or connection) as a flat value, worked out once and kept for deciding again. */
import { IpAddress } from "../../base/ip.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { Downstream, EndUser, Fields, RequestHead } from "../exchange.ts";

export interface RequestFacts {
  /** Null for plain text. */
  readonly peer: SpiffeId | null;
  /** Of the connection. */
  readonly sourceIp: IpAddress;
  /** The client's, as far as the trusted proxies say it. */
  readonly remoteIp: IpAddress;
  /** Null when a service was called by name. */
  readonly destinationIp: IpAddress | null;
  /** The service's port. */
  readonly destinationPort: number;
  readonly sni: string;
  /** Null of a connection that is not HTTP: its policies do without. */
  readonly http: HttpFacts | null;
}

export interface HttpFacts {
  readonly method: string;
  /** Lower case, with its port. */
  readonly host: string;
  /** Without query and fragment. */
  readonly path: string;
  readonly query: string;
  readonly scheme: string;
  readonly fields: Fields;
  readonly user: EndUser | null;
}

/** @param trustedProxies how many proxies before this one have written X-Forwarded-For and are believed. */
export function factsOfRequest(
  downstream: Downstream,
  head: RequestHead,
  user: EndUser | null,
  trustedProxies: number,
): RequestFacts {
  const end = head.path.search(/[?#]/);
  const http = {
    method: head.method,
    host: head.authority.toLowerCase(),
    path: end === -1 ? head.path : head.path.slice(0, end),
    query: end === -1 || head.path[end] !== "?" ? "" : (head.path.slice(end + 1).split("#", 1)[0] ?? ""),
    scheme: head.scheme,
    // A copy: stages change the head after it was decided.
    fields: head.fields.slice(),
    user,
  };
  return {
    peer: downstream.peer,
    sourceIp: downstream.source.ip,
    remoteIp: remoteIpOf(downstream, head.fields, trustedProxies),
    destinationIp: downstream.destination.ip,
    destinationPort: downstream.destination.port,
    sni: downstream.sni,
    http,
  };
}

export function factsOfConnection(downstream: Downstream): RequestFacts {
  return {
    peer: downstream.peer,
    sourceIp: downstream.source.ip,
    remoteIp: downstream.source.ip,
    destinationIp: downstream.destination.ip,
    destinationPort: downstream.destination.port,
    sni: downstream.sni,
    http: null,
  };
}

/** All values of a field, joined as they would be one (RFC 9110 §5.3); null when it is absent. @param name lower case. */
export function joinedField(fields: Fields, name: string): string | null {
  let joined: string | null = null;
  for (let i = 0; i + 1 < fields.length; i += 2)
    if (fields[i] === name)
      joined = joined === null ? (fields[i + 1] ?? "") : `${joined},${fields[i + 1] ?? ""}`;
  return joined;
}

/**
 * The entry of X-Forwarded-For that the outermost trusted proxy wrote: the last for one, the last but one for two. The header is the
 * client's own word otherwise, so without trusted proxies, with fewer entries or with one that is no address the connection's source is
 * meant (Envoy `getLastAddressFromXFF`).
 */
function remoteIpOf({ source }: Downstream, fields: Fields, trustedProxies: number): IpAddress {
  if (trustedProxies === 0) return source.ip;
  const header = joinedField(fields, "x-forwarded-for");
  const entries = header === null ? [] : header.split(",");
  const entry = entries.at(-trustedProxies)?.trim() ?? "";
  return (entries.length < trustedProxies ? null : parseEntry(entry)) ?? source.ip;
}

/** Some proxies write the port as well. */
function parseEntry(entry: string): IpAddress | null {
  const bracketed = /^\[([^\]]+)\](?::\d+)?$/.exec(entry);
  if (bracketed !== null) return IpAddress.parse(bracketed[1] ?? "");
  const colon = entry.indexOf(":");
  return IpAddress.parse(colon !== -1 && colon === entry.lastIndexOf(":") ? entry.slice(0, colon) : entry);
}
