/** The tests of a rule as functions, made once: what depends on the rule alone is worked out before the first request. */
import type { IpAddress } from "../../base/ip.ts";
import { type IpPrefix, prefixContains } from "../../base/prefix.ts";
import type { Layer7Rule, Test } from "./layer7_policy.ts";
import type { RequestFacts } from "./request_facts.ts";
import { matchesGlob, matchesText, PathTemplate, type TextMatch, textMatch } from "./text_match.ts";

export type Matcher = (facts: RequestFacts) => boolean;

export function ruleMatcher(rule: Layer7Rule): Matcher {
  return allOf(rule.clauses.map((groups) => anyOf(groups.map((tests) => allOf(tests.map(testMatcher))))));
}

function testMatcher(test: Test): Matcher {
  const fits = positive(test);
  return test.negated ? (facts) => !fits(facts) : fits;
}

function positive(test: Test): Matcher {
  switch (test.about) {
    case "source_ip":
      return ipMatcher(test.prefixes, (facts) => facts.sourceIp);
    case "remote_ip":
      return ipMatcher(test.prefixes, (facts) => facts.remoteIp);
    case "destination_ip":
      return ipMatcher(test.prefixes, (facts) => facts.destinationIp);
    case "port": {
      const ports = new Set(test.ports);
      return (facts) => ports.has(facts.destinationPort);
    }
    case "nothing":
      return () => false;
    case "header":
      return headerMatcher(test.name, test.texts);
    case "claim": {
      const fits = claimMatcher(test.texts);
      return (facts) => fits(claimAt(facts.http?.user?.claims, test.path));
    }
    case "principal":
      return texts(test.texts, ({ peer }) => peer?.principal ?? "");
    case "namespace":
      return ({ peer }) => peer !== null && test.texts.some((text) => matchesGlob(text, peer.namespace));
    case "service_account": {
      const accounts = new Set(test.texts);
      return ({ peer }) => peer !== null && accounts.has(`${peer.namespace}/${peer.serviceAccount}`);
    }
    case "trust_domain":
      return texts(test.texts, ({ peer }) => peer?.trustDomain ?? "");
    case "sni":
      return texts(test.texts, ({ sni }) => sni);
    case "host":
      return texts(
        test.texts.map((text) => text.toLowerCase()),
        ({ http }) => http?.host ?? "",
      );
    case "method":
      return texts(test.texts, ({ http }) => http?.method ?? "");
    case "path":
      return pathMatcher(test.texts);
    case "request_principal":
      return anyOf(test.texts.map(requestPrincipalMatcher));
    case "audience": {
      const fits = claimMatcher(test.texts);
      return ({ http }) => fits(http?.user?.claims.aud);
    }
    case "presenter": {
      const fits = claimMatcher(test.texts);
      return ({ http }) => fits(http?.user?.claims.azp);
    }
  }
}

/** Exact texts are looked up; the others are tried one after another. A connection that is not HTTP, or has no peer, has the subject "". */
function texts(patterns: readonly string[], subject: (facts: RequestFacts) => string): Matcher {
  const fits = textsMatcher(patterns);
  return (facts) => {
    const value = subject(facts);
    return value !== "" && fits(value);
  };
}

function textsMatcher(patterns: readonly string[]): (value: string) => boolean {
  const matches = patterns.map(textMatch);
  const exact = new Set(matches.flatMap((match) => (match.kind === "exact" ? [match.text] : [])));
  const others = matches.filter(({ kind }) => kind !== "exact");
  if (others.length === 0) return (value) => exact.has(value);
  return (value) => exact.has(value) || others.some((match) => matchesText(match, value));
}

function pathMatcher(patterns: readonly string[]): Matcher {
  const templates = patterns.filter(PathTemplate.is).map((text) => new PathTemplate(text));
  const plain = texts(
    patterns.filter((text) => !PathTemplate.is(text)),
    ({ http }) => http?.path ?? "",
  );
  if (templates.length === 0) return plain;
  return (facts) => {
    const path = facts.http?.path;
    return plain(facts) || (path !== undefined && templates.some((template) => template.matches(path)));
  };
}

/**
 * Each value of the header by itself, as Envoy's RBAC does: one that must not be there cannot be hidden behind another. `*` is a header that
 * is there, an empty one too (Istio `HeaderMatcher`).
 */
function headerMatcher(name: string, patterns: readonly string[]): Matcher {
  const isPresence = patterns.includes("*");
  const fits = textsMatcher(patterns);
  return ({ http }) => {
    const fields = http?.fields ?? [];
    for (let i = 0; i + 1 < fields.length; i += 2)
      if (fields[i] === name && (isPresence || fits(fields[i + 1] ?? ""))) return true;
    return false;
  };
}

function claimMatcher(patterns: readonly string[]): (value: unknown) => boolean {
  const fits = textsMatcher(patterns);
  return (value) => {
    if (typeof value === "string") return fits(value);
    return Array.isArray(value) && value.some((one) => typeof one === "string" && fits(one));
  };
}

export function claimAt(claims: unknown, path: readonly string[]): unknown {
  let value = claims;
  for (const name of path) {
    if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, name))
      return undefined;
    value = Reflect.get(value, name);
  }
  return value;
}

/** istiod `requestPrincipalGenerator`. */
function requestPrincipalMatcher(pattern: string): Matcher {
  const { issuer, subject } = requestPrincipalParts(pattern);
  return ({ http }) => {
    const claims = http?.user?.claims;
    if (claims === undefined) return false;
    const { iss, sub } = claims;
    return (
      typeof iss === "string" &&
      typeof sub === "string" &&
      matchesText(issuer, iss) &&
      matchesText(subject, sub)
    );
  };
}

interface RequestPrincipalParts {
  readonly issuer: TextMatch;
  readonly subject: TextMatch;
}

/**
 * Split at the last slash, since an issuer may be a URL. A star at the beginning of the whole is the issuer's, one at the end the
 * subject's, and any other star is a character.
 */
export function requestPrincipalParts(pattern: string): RequestPrincipalParts {
  const slash = pattern.lastIndexOf("/");
  const issuer = slash === -1 ? pattern : pattern.slice(0, slash);
  const subject = slash === -1 ? "" : pattern.slice(slash + 1);
  const exact = (text: string): TextMatch => ({ kind: "exact", text });
  if (pattern === "*") return { issuer: { kind: "present" }, subject: { kind: "present" } };
  if (pattern.startsWith("*")) {
    if (slash === -1) return { issuer: { kind: "present" }, subject: textMatch(pattern) };
    return { issuer: textMatch(issuer), subject: exact(subject) };
  }
  if (!pattern.endsWith("*")) return { issuer: exact(issuer), subject: exact(subject) };
  if (slash === -1) return { issuer: textMatch(pattern), subject: { kind: "present" } };
  return { issuer: exact(issuer), subject: textMatch(subject) };
}

function ipMatcher(
  prefixes: readonly IpPrefix[],
  subject: (facts: RequestFacts) => IpAddress | null,
): Matcher {
  const single = new Set(
    prefixes.flatMap(({ ip, length }) => (length === ip.bytes.length * 8 ? [ip.text] : [])),
  );
  const ranges = prefixes.filter(({ ip, length }) => length !== ip.bytes.length * 8);
  return (facts) => {
    const ip = subject(facts);
    if (ip === null) return false;
    return single.has(ip.text) || ranges.some((prefix) => prefixContains(prefix, ip));
  };
}

function allOf(matchers: readonly Matcher[]): Matcher {
  const [first, second] = matchers;
  if (first === undefined) return () => true;
  if (second === undefined) return first;
  return (facts) => {
    for (const matches of matchers) if (!matches(facts)) return false;
    return true;
  };
}

function anyOf(matchers: readonly Matcher[]): Matcher {
  const [first, second] = matchers;
  if (first === undefined) return () => false;
  if (second === undefined) return first;
  return (facts) => {
    for (const matches of matchers) if (matches(facts)) return true;
    return false;
  };
}
