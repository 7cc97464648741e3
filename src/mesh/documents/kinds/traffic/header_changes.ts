/** Changes to headers (Istio `Headers`; `ValidateHTTPHeaderOperationName` and its kin). */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import {
  answerOperators,
  type HeaderOps,
  type HeaderValue,
  type HeaderVariable,
  noHeaderChanges,
  noHeaderOps,
  requestOperators,
} from "../../../traffic/route_plan.ts";
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
  const readMap = (which: "set" | "add"): (readonly [string, HeaderValue])[] => {
    const values = ops.stringMap(which);
    checkCount(ops, which, values.size, trafficLimits.maxHeaderChanges, problems);
    return ops.map(which).flatMap(({ key, keyAt }): (readonly [string, HeaderValue])[] => {
      const value = values.get(key);
      if (value === undefined) return [];
      const read = { value: key, at: keyAt };
      if (isRequest && isAuthority(key)) {
        const host = readHeaderValue(value, `${ops.path(which)}.${key}`, problems);
        if (host !== null) authorities.push({ value: host, at: keyAt });
        return [];
      }
      const name = readChangedName(read, ops.path(which), problems);
      const text = readVariables(value, `${ops.path(which)}.${key}`, isRequest, problems);
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

/** RFC 9110 §5.5, without variables; `%%` is one sign, as Envoy writes it. */
export function readHeaderValue(read: Located<string>, path: string, problems: Problems): string | null {
  const text = readText(read, path, problems);
  if (text === null) return null;
  if (!text.replaceAll("%%", "").includes("%")) return text.replaceAll("%%", "%");
  problems.add(
    read.at,
    `${path} has a variable of Envoy's, which is not supported here; a sign of percent is written %%`,
    read.value,
  );
  return null;
}

/** The same with variables, of those that are known then. */
function readVariables(
  read: Located<string>,
  path: string,
  isRequest: boolean,
  problems: Problems,
): HeaderValue | null {
  const text = readText(read, path, problems);
  if (text === null) return null;
  if (!text.replaceAll("%%", "").includes("%")) return text.replaceAll("%%", "%");
  const parts: (string | HeaderVariable)[] = [];
  let from = 0;
  for (const match of text.matchAll(/%%|%([A-Z_]+)(?:\(([^()%]*)\))?(?::([0-9]{1,4}))?%|%/g)) {
    parts.push(text.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[0] === "%%") parts.push("%");
    else {
      const variable = variableOf(match, isRequest);
      if (typeof variable === "string") {
        problems.add(read.at, `${path}: ${variable}`, read.value);
        return null;
      }
      parts.push(variable);
    }
  }
  parts.push(text.slice(from));
  return parts.filter((part) => part !== "");
}

/** @returns what is wrong with it, in words, for one that there is not. */
function variableOf(match: RegExpExecArray, isRequest: boolean): HeaderVariable | string {
  const [text, name, argument, length] = match;
  if (name === undefined) return "a % that is not part of a variable is written %%";
  const known: readonly string[] = isRequest ? requestOperators : answerOperators;
  const operator = answerOperators.find((one) => one === name);
  if (operator === undefined || !known.includes(operator)) {
    const which = isRequest ? "for a request" : "for an answer";
    return `the variable %${name}% is not supported ${which}, only ${known.join(", ")}`;
  }
  const takesNames = operator === "REQ" || operator === "RESP";
  if (!takesNames && argument !== undefined) return `%${name}% takes no argument`;
  const names = takesNames ? (argument ?? "").toLowerCase().split("?") : [];
  const isName = (one: string) => isToken(one) || /^:(?:method|path|authority|scheme|status)$/.test(one);
  if (takesNames && (names.length > 2 || !names.every(isName)))
    return `%${name}% needs the name of a header, or two: %${name}(NAME?OTHER)%`;
  return { operator, names, maxLength: length === undefined ? null : Number(length), text };
}

function readText({ value, at }: Located<string>, path: string, problems: Problems): string | null {
  for (let i = 0; i < value.length; i++) {
    const char = value.charCodeAt(i);
    if ((char >= 0x20 && char < 0x7f) || char === 9) continue;
    problems.add(at, `${path} has a character that a header's value cannot have`, value);
    return null;
  }
  if (value.trim() === value && value.length <= trafficLimits.maxValueLength) return value;
  problems.add(at, `${path} begins or ends with a blank, or is too long`, value);
  return null;
}
