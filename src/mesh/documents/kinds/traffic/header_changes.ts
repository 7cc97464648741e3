/** Changes to headers (Istio `Headers`; `ValidateHTTPHeaderOperationName` and its kin). */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import { type HeaderOps, noHeaderChanges, noHeaderOps } from "../../../traffic/route_plan.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { RouteHeaders } from "../../traffic_specs.ts";
import { checkCount } from "../bounds.ts";
import { isToken } from "./scalars.ts";

const fields = { known: ["set", "add", "remove"] };

/** Of whom the connection is, and how messages end: no route may change them (RFC 9110 §7.6.1, RFC 9112 §6). */
const framing: readonly string[] = [
  ...["connection", "transfer-encoding", "content-length", "upgrade", "te", "trailer", "keep-alive"],
  ...["proxy-connection", "http2-settings"],
];

/** Null when it is not said. */
export function readRouteHeaders(
  reader: ObjectReader,
  field: string,
  problems: Problems,
): RouteHeaders | null {
  const headers = reader.object(field, { known: ["request", "response"] });
  if (headers === null) return null;
  const request = readOps(headers, "request", true, problems);
  const response = readOps(headers, "response", false, problems);
  return { request: request.ops, response: response.ops, authority: request.authority };
}

export const noRouteHeaders: RouteHeaders = { ...noHeaderChanges, authority: null };

interface Ops {
  readonly ops: HeaderOps;
  /** `Host` is not a header to change; it is who is called (Istio `translateAppendHeaders`). */
  readonly authority: string | null;
}

function readOps(reader: ObjectReader, field: string, isRequest: boolean, problems: Problems): Ops {
  const ops = reader.object(field, fields);
  if (ops === null) return { ops: noHeaderOps, authority: null };
  const authorities: Located<string>[] = [];
  const readMap = (which: "set" | "add"): (readonly [string, string])[] => {
    const values = ops.stringMap(which);
    checkCount(ops, which, values.size, trafficLimits.maxHeaderChanges, problems);
    return ops.map(which).flatMap(({ key, keyAt }): (readonly [string, string])[] => {
      const value = values.get(key);
      if (value === undefined) return [];
      const read = { value: key, at: keyAt };
      if (isRequest && isAuthority(key)) {
        authorities.push({ value: value.value, at: keyAt });
        return [];
      }
      const name = readChangedName(read, ops.path(which), problems);
      const text = readHeaderValue(value, `${ops.path(which)}.${key}`, problems);
      return name === null || text === null ? [] : [[name, text]];
    });
  };
  const set = readMap("set");
  const add = readMap("add");
  const removed = ops.strings("remove");
  checkCount(ops, "remove", removed.length, trafficLimits.maxHeaderChanges, problems);
  const remove = removed.flatMap((read) => readChangedName(read, ops.path("remove"), problems) ?? []);
  const [authority, second] = authorities;
  if (second !== undefined) problems.add(second.at, `${ops.name} sets the authority a second time`, "Host");
  return { ops: { remove, set, add }, authority: authority?.value ?? null };
}

function isAuthority(name: string): boolean {
  return name.toLowerCase() === "host" || name.toLowerCase() === ":authority";
}

/** Lower case; null, having said why, for what must not be changed. */
export function readChangedName(
  { value, at }: Located<string>,
  path: string,
  problems: Problems,
): string | null {
  const name = value.toLowerCase();
  const say = (why: string): null => {
    problems.add(at, `${path}: ${quote(value)} ${why}`, value);
    return null;
  };
  if (name.startsWith(":")) return say("is not a header: names that begin with a colon are not changed");
  if (name === "host") return say("cannot be changed here; rewrite the authority instead");
  if (framing.includes(name)) return say("belongs to the connection, and is not changed by a route");
  return isToken(value) ? name : say("is not the name of a header");
}

/** RFC 9110 §5.5. Envoy's variables (`%REQ(x)%`) are not read; `%%` is one sign, as Envoy writes it. */
export function readHeaderValue(
  { value, at }: Located<string>,
  path: string,
  problems: Problems,
): string | null {
  const plain = value.replaceAll("%%", "");
  if (plain.includes("%")) {
    problems.add(
      at,
      `${path} has a variable of Envoy's, which is not supported; a sign of percent is written %%`,
      value,
    );
    return null;
  }
  for (let i = 0; i < value.length; i++) {
    const char = value.charCodeAt(i);
    if ((char >= 0x20 && char < 0x7f) || char === 9) continue;
    problems.add(at, `${path} has a character that a header's value cannot have`, value);
    return null;
  }
  if (value.trim() !== value || value.length > trafficLimits.maxValueLength) {
    problems.add(at, `${path} begins or ends with a blank, or is too long`, value);
    return null;
  }
  return value.replaceAll("%%", "%");
}
