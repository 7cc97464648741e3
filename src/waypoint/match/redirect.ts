/** Where a redirect leads (Envoy `RouteEntryImplBase::newUri`). */
import type { HttpMatch, Redirect } from "../../mesh/traffic/route_plan.ts";
import type { RequestHead } from "../exchange.ts";
import { type PathRewriter, pathRewriter } from "./rewrite.ts";

const defaultPorts = { http: 80, https: 443 } as const;

/** @param port that was called, of the service. */
export function redirectLocation(
  redirect: Redirect,
  head: RequestHead,
  match: HttpMatch | null,
  port: number,
): string {
  const scheme = redirect.scheme ?? head.scheme;
  const wanted = wantedPort(redirect, port, scheme);
  const host = redirect.host ?? hostOf(head, scheme, wanted !== null || redirect.port !== null);
  const target = redirect.path === null ? head.path : rewriterOf(redirect)(head.path, match);
  return `${scheme}://${host}${wanted === null ? "" : `:${wanted}`}${target}`;
}

/** Null: none is written. */
function wantedPort(redirect: Redirect, called: number, scheme: "http" | "https"): number | null {
  if (redirect.port === null || redirect.port === "scheme") return null;
  const port = redirect.port === "request" ? called : redirect.port;
  return port === defaultPorts[scheme] ? null : port;
}

/** The request's own, without its port where that would be wrong. */
function hostOf(head: RequestHead, scheme: "http" | "https", otherPort: boolean): string {
  const { authority } = head;
  const at = portStart(authority);
  if (at === -1) return authority;
  const isDefault = authority.slice(at + 1) === String(defaultPorts[head.scheme]);
  return otherPort || (scheme !== head.scheme && isDefault) ? authority.slice(0, at) : authority;
}

/** Of `host:port` and `[::1]:port`; -1 without a port. */
function portStart(authority: string): number {
  const match = /:\d+$/.exec(authority);
  if (match === null) return -1;
  const isBareIpv6 = authority.indexOf(":") !== match.index && !authority.startsWith("[");
  return isBareIpv6 ? -1 : match.index;
}

/** Patterns are compiled once for each redirect. */
const rewriters = new WeakMap<Redirect, PathRewriter>();

function rewriterOf(redirect: Redirect): PathRewriter {
  const known = rewriters.get(redirect);
  if (known !== undefined || redirect.path === null) return known ?? ((target) => target);
  const made = pathRewriter(redirect.path);
  rewriters.set(redirect, made);
  return made;
}
