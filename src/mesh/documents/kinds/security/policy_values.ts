/** The lists of values in an AuthorizationPolicy, each checked as Istio does (`pkg/config/security/security.go`). */
import { IpAddress, parsePort } from "../../../../base/ip.ts";
import { meshLimits } from "../../../../base/limits/mesh.ts";
import { type IpPrefix, parseIpPrefix } from "../../../../base/prefix.ts";
import type { Values } from "../../document.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../../reader.ts";

/** One value of a list; null, having said why, when it is none. */
export type ValueReader<T> = (value: Located<string>, path: string, problems: Problems) => Located<T> | null;

/** Whatever it says. */
export const anyText: ValueReader<string> = (value) => value;

/** An address or a block (`ValidateIPs`). */
export const ipBlock: ValueReader<IpPrefix> = ({ value, at }, path, problems) => {
  const prefix = parseIpPrefix(value);
  if (prefix !== null) return { value: prefix, at };
  problems.add(
    at,
    `${path}: ${quote(value)} is neither an IP address nor a CIDR block${blockHint(value)}`,
    value,
  );
  return null;
};

/** What is wrong with most of them. */
function blockHint(text: string): string {
  const slash = text.indexOf("/");
  const ip = slash === -1 ? null : IpAddress.parse(text.slice(0, slash));
  if (ip !== null && /^[0-9]+$/.test(text.slice(slash + 1)))
    return `: its length is from 0 to ${ip.bytes.length * 8}`;
  return text.includes("*") ? "; a wildcard is not a block, write 10.0.0.0/8" : "";
}

/** Istio writes ports as strings here (`ValidatePorts`). */
export const port: ValueReader<number> = ({ value, at }, path, problems) => {
  const number = parsePort(value);
  if (number !== null) return { value: number, at };
  problems.add(at, `${path}: ${quote(value)} is not a port`, value);
  return null;
};

/** `namespace/name`, or `name` in the policy's own namespace (`CheckServiceAccount`). */
export const serviceAccount: ValueReader<string> = ({ value, at }, path, problems) => {
  const parts = value.split("/");
  let why: string | null = null;
  if (value.includes("*")) why = "cannot have a wildcard; principals can";
  else if (value.length > maxServiceAccountLength)
    why = `is longer than ${maxServiceAccountLength} characters`;
  else if (parts.length > 2 || parts.includes("")) why = "is not namespace/name, nor a name";
  if (why === null) return { value, at };
  problems.add(at, `${path}: ${quote(value)} ${why}`, value);
  return null;
};

const maxServiceAccountLength = 320;

/** At most one `*`, at the beginning or the end (`CheckWildcardValues`). */
export const wildcard: ValueReader<string> = ({ value, at }, path, problems) => {
  const stars = value.split("*").length - 1;
  if (stars === 0 || (stars === 1 && (value.startsWith("*") || value.endsWith("*")))) return { value, at };
  problems.add(at, `${path}: ${quote(value)} may have one *, at its beginning or its end`, value);
  return null;
};

/** `CheckTrustDomainValues`. */
export const trustDomain: ValueReader<string> = (value, path, problems) => {
  if (!value.value.includes("/")) return wildcard(value, path, problems);
  problems.add(value.at, `${path}: ${quote(value.value)} is not a trust domain: it has a /`, value.value);
  return null;
};

const one = "{*}";
const anyWord = "{**}";
/** RFC 3986 §3.3, pchar, as Istio's `validLiteral` has it. */
const literal = /^[a-zA-Z0-9\-._~%!$&'()+,;:@=]+$/;

/** `{*}` is one segment, `{**}` the rest; each is a segment by itself, and nothing follows the second (`CheckValidPathTemplate`). */
export const pathTemplate: ValueReader<string> = ({ value, at }, path, problems) => {
  const why = templateFlaw(value);
  if (why === null) return { value, at };
  problems.add(at, `${path}: ${quote(value)} ${why}`, value);
  return null;
};

function templateFlaw(template: string): string | null {
  const hasOperator = template.includes(one) || template.includes(anyWord);
  let ended = false;
  for (const segment of segmentsOf(template)) {
    const isOperator = segment === one || segment === anyWord;
    if (isOperator && ended) return `has an operator after ${anyWord}, which must be the last`;
    if (segment === anyWord) ended = true;
    if (isOperator) continue;
    if (/[{}]/.test(segment))
      return `has { or } in ${quote(segment)}, which is neither ${one} nor ${anyWord}`;
    if (hasOperator && !literal.test(segment))
      return `has the segment ${quote(segment)}, which cannot be beside ${one} or ${anyWord}`;
  }
  return null;
}

/** Without the empty ones at both ends. A pattern for the end would look at each of a thousand slashes again and again. */
function segmentsOf(path: string): readonly string[] {
  const segments = path.split("/");
  let begin = 0;
  let end = segments.length;
  while (begin < end - 1 && segments[begin] === "") begin++;
  while (end > begin + 1 && segments[end - 1] === "") end--;
  return segments.slice(begin, end);
}

export function notField(field: string): string {
  return `not${field.charAt(0).toUpperCase()}${field.slice(1)}`;
}

/** A field and its `not` counterpart. */
export function readValues<T>(
  reader: ObjectReader,
  field: string,
  not: string,
  read: ValueReader<T>,
  problems: Problems,
): Values<T> {
  return {
    values: readList(reader, field, read, problems),
    notValues: readList(reader, not, read, problems),
  };
}

/** An empty list says nothing and an empty text matches nothing; Istio refuses both. */
export function readList<T>(
  reader: ObjectReader,
  field: string,
  read: ValueReader<T>,
  problems: Problems,
): readonly Located<T>[] {
  if (!reader.has(field)) return [];
  const list = reader.strings(field);
  const path = reader.path(field);
  if (list.length === 0 && !problems.any)
    problems.add(reader.where(field), `${path} is empty; remove it`, field);
  if (read === serviceAccount && list.length > meshLimits.maxServiceAccounts)
    problems.add(
      reader.where(field),
      `${path} has more than ${meshLimits.maxServiceAccounts} entries`,
      field,
    );
  return list.flatMap((value) => {
    if (value.value !== "") return read(value, path, problems) ?? [];
    problems.add(value.at, `${path} has an empty value`);
    return [];
  });
}
