/** Where a request carries tokens: headers, parameters of its query, cookies. Found there, and taken away. */
import { authLimits } from "../../base/limits/auth.ts";
import type { JwtRule } from "../../mesh/documents/security.ts";
import { type Fields, field, type RequestHead } from "../exchange.ts";

export interface TokenLocation {
  readonly kind: "header" | "param" | "cookie";
  /** Of a header in lower case. */
  readonly name: string;
  /** Of a header: what its value begins with. */
  readonly prefix: string;
  /** An authentication scheme, which RFC 9110 §11.1 has in either case. */
  readonly isScheme: boolean;
}

export interface FoundToken {
  readonly token: string;
  readonly location: TokenLocation;
}

/** Where a rule that names no location finds its tokens (RFC 6750 §2.1 and §2.3). */
const usual: readonly TokenLocation[] = [
  { kind: "header", name: "authorization", prefix: "Bearer ", isScheme: true },
  { kind: "param", name: "access_token", prefix: "", isScheme: false },
];

export function locationsOf(rule: JwtRule): readonly TokenLocation[] {
  const said: TokenLocation[] = [
    ...rule.fromHeaders.map(({ name, prefix }) => ({
      kind: "header" as const,
      name,
      prefix,
      isScheme: false,
    })),
    ...rule.fromParams.map((name) => ({ kind: "param" as const, name, prefix: "", isScheme: false })),
    ...rule.fromCookies.map((name) => ({ kind: "cookie" as const, name, prefix: "", isScheme: false })),
  ];
  return said.length === 0 ? usual : said;
}

export function locationKey({ kind, name, prefix }: TokenLocation): string {
  return `${kind} ${name} ${prefix}`;
}

/** Every token at these places, in their order. Null: more than a request may have. */
export function findTokens(
  head: RequestHead,
  locations: readonly TokenLocation[],
): readonly FoundToken[] | null {
  const found: FoundToken[] = [];
  for (const location of locations)
    for (const token of tokensAt(head, location)) {
      if (found.length === authLimits.maxTokensPerRequest) return null;
      found.push({ token, location });
    }
  return found;
}

function tokensAt(head: RequestHead, location: TokenLocation): readonly string[] {
  switch (location.kind) {
    case "header":
      return headerTokens(head.fields, location);
    case "param":
      return queryPairs(head.path).flatMap(({ name, value }) => (name === location.name ? [value] : []));
    case "cookie":
      return cookiePairs(head.fields).flatMap(({ name, value }) => (name === location.name ? [value] : []));
  }
}

function headerTokens(fields: Fields, { name, prefix, isScheme }: TokenLocation): readonly string[] {
  const found: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (fields[i] !== name) continue;
    const value = fields[i + 1] ?? "";
    const begin = value.slice(0, prefix.length);
    if (isScheme ? begin.toLowerCase() === prefix.toLowerCase() : begin === prefix)
      found.push(value.slice(prefix.length).trim());
  }
  return found;
}

/** Takes away what was found at the place. Without one of its tokens there, nothing changes. */
export function removeTokens(head: RequestHead, location: TokenLocation): void {
  switch (location.kind) {
    case "header":
      head.fields = withoutFields(head.fields, [location.name]);
      return;
    case "param": {
      const { path } = head;
      const pairs = queryPairs(path);
      const kept = pairs.filter(({ name }) => name !== location.name);
      if (kept.length === pairs.length) return;
      const start = path.slice(0, path.indexOf("?"));
      head.path = kept.length === 0 ? start : `${start}?${kept.map(({ text }) => text).join("&")}`;
      return;
    }
    case "cookie": {
      if (field(head.fields, "cookie") === null) return;
      const kept = cookiePairs(head.fields).filter(({ name }) => name !== location.name);
      const fields = withoutFields(head.fields, ["cookie"]);
      head.fields =
        kept.length === 0 ? fields : [...fields, "cookie", kept.map(({ text }) => text).join("; ")];
    }
  }
}

/** @param names in lower case. */
export function withoutFields(fields: Fields, names: readonly string[]): Fields {
  const kept: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2)
    if (!names.includes(fields[i] ?? "")) kept.push(fields[i] ?? "", fields[i + 1] ?? "");
  return kept;
}

interface Pair {
  readonly name: string;
  readonly value: string;
  /** As it is written. */
  readonly text: string;
}

function queryPairs(path: string): readonly Pair[] {
  const mark = path.indexOf("?");
  if (mark === -1 || mark === path.length - 1) return [];
  return path
    .slice(mark + 1)
    .split("&")
    .map((text) => {
      const equals = text.indexOf("=");
      const name = equals === -1 ? text : text.slice(0, equals);
      return { name: decoded(name), value: equals === -1 ? "" : decoded(text.slice(equals + 1)), text };
    });
}

/** As a form has it: what a reader behind us may take for a token must be taken for one here. */
function decoded(text: string): string {
  if (!/[%+]/.test(text)) return text;
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text;
  }
}

/** RFC 6265 §4.2.1; HTTP/2 may cut the field into several (RFC 9113 §8.2.3). */
function cookiePairs(fields: Fields): readonly Pair[] {
  const pairs: Pair[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (fields[i] !== "cookie") continue;
    for (const part of (fields[i + 1] ?? "").split(";")) {
      const text = part.trim();
      const equals = text.indexOf("=");
      if (equals === -1) continue;
      const value = text.slice(equals + 1);
      const isQuoted = value.length >= 2 && value.startsWith('"') && value.endsWith('"');
      pairs.push({ name: text.slice(0, equals).trim(), value: isQuoted ? value.slice(1, -1) : value, text });
    }
  }
  return pairs;
}
