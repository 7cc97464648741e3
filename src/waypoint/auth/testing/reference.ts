/**
 * Whether a rule matches, in plain lines: what `rule_index.ts` and `matcher.ts` do faster. It is the oracle that they are tested against,
 * so it shares no code with them, and is slow without shame.
 */
import { prefixContains } from "../../../base/prefix.ts";
import type { Layer7Policy, Layer7Rule, Test } from "../layer7_policy.ts";
import type { RequestFacts } from "../request_facts.ts";

export interface FirstMatch {
  readonly policy: Layer7Policy;
  readonly rule: Layer7Rule;
}

/** The first rule of the first policy that matches. */
export function referenceMatch(policies: readonly Layer7Policy[], facts: RequestFacts): FirstMatch | null {
  for (const policy of policies)
    for (const rule of policy.rules) if (ruleMatches(rule, facts)) return { policy, rule };
  return null;
}

function ruleMatches(rule: Layer7Rule, facts: RequestFacts): boolean {
  return rule.clauses.every((groups) => groups.some((tests) => tests.every((test) => holds(test, facts))));
}

function holds(test: Test, facts: RequestFacts): boolean {
  return anyFits(test, facts) !== test.negated;
}

function anyFits(test: Test, facts: RequestFacts): boolean {
  const { http, peer } = facts;
  switch (test.about) {
    case "source_ip":
      return test.prefixes.some((prefix) => prefixContains(prefix, facts.sourceIp));
    case "remote_ip":
      return test.prefixes.some((prefix) => prefixContains(prefix, facts.remoteIp));
    case "destination_ip": {
      const ip = facts.destinationIp;
      return ip !== null && test.prefixes.some((prefix) => prefixContains(prefix, ip));
    }
    case "port":
      return test.ports.includes(facts.destinationPort);
    case "principal":
      return test.texts.some((text) => textFits(text, peer?.principal ?? ""));
    case "namespace":
      return peer !== null && test.texts.some((text) => globFits(text, peer.namespace));
    case "service_account":
      return peer !== null && test.texts.includes(`${peer.namespace}/${peer.serviceAccount}`);
    case "trust_domain":
      return peer !== null && test.texts.some((text) => text === "*" || textFits(text, peer.trustDomain));
    case "sni":
      return test.texts.some((text) => textFits(text, facts.sni));
    case "nothing":
      return false;
  }
  if (http === null) return false;
  const claims = http.user?.claims ?? {};
  switch (test.about) {
    case "request_principal":
      return test.texts.some((text) => requestPrincipalFits(text, claims.iss, claims.sub));
    case "audience":
      return claimFits(claims.aud, test.texts);
    case "presenter":
      return claimFits(claims.azp, test.texts);
    case "claim": {
      let value: unknown = claims;
      for (const name of test.path)
        value = isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
      return claimFits(value, test.texts);
    }
    case "header": {
      const values = http.fields.filter(
        (_, index) => index % 2 === 1 && http.fields[index - 1] === test.name,
      );
      return values.some((value) => test.texts.some((text) => text === "*" || textFits(text, value)));
    }
    case "host":
      return http.host !== "" && test.texts.some((text) => textFits(text.toLowerCase(), http.host));
    case "method":
      return test.texts.some((text) => textFits(text, http.method));
    case "path":
      return test.texts.some((text) =>
        /\{\*\*?\}/.test(text) ? templateFits(text, http.path) : textFits(text, http.path),
      );
  }
}

function textFits(pattern: string, value: string): boolean {
  if (pattern === "*") return value.length > 0;
  if (pattern[0] === "*") return value.endsWith(pattern.substring(1));
  if (pattern.at(-1) === "*") return value.startsWith(pattern.substring(0, pattern.length - 1));
  return value === pattern;
}

/** As a regular expression; only for short texts of tests. */
function globFits(pattern: string, value: string): boolean {
  return new RegExp(`^${pattern.split("*").map(quoted).join(".*")}$`, "s").test(value);
}

function templateFits(template: string, path: string): boolean {
  const any = "a-zA-Z0-9\\-._~%!$&'()+,;:@=";
  const source = quoted(template)
    .replaceAll("\\{\\*\\*\\}", `[${any}/]*`)
    .replaceAll("\\{\\*\\}", `[${any}]+`);
  return new RegExp(`^${source}$`).test(path);
}

function quoted(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** Issuer and subject are split at the last slash; a star leaves one of them open (istiod `requestPrincipalGenerator`). */
function requestPrincipalFits(pattern: string, iss: unknown, sub: unknown): boolean {
  if (typeof iss !== "string" || typeof sub !== "string") return false;
  const slash = pattern.lastIndexOf("/");
  const hasBoth = slash >= 0;
  const issuer = hasBoth ? pattern.slice(0, slash) : pattern;
  const subject = hasBoth ? pattern.slice(slash + 1) : "";
  if (pattern === "*") return iss !== "" && sub !== "";
  if (pattern.startsWith("*")) {
    if (!hasBoth) return iss !== "" && sub.endsWith(pattern.slice(1));
    return (issuer === "*" ? iss !== "" : iss.endsWith(issuer.slice(1))) && sub === subject;
  }
  if (pattern.endsWith("*")) {
    if (!hasBoth) return iss.startsWith(pattern.slice(0, -1)) && sub !== "";
    return iss === issuer && (subject === "*" ? sub !== "" : sub.startsWith(subject.slice(0, -1)));
  }
  return iss === issuer && sub === subject;
}

function claimFits(value: unknown, texts: readonly string[]): boolean {
  const values = Array.isArray(value) ? value : [value];
  return values.some((one) => typeof one === "string" && texts.some((text) => textFits(text, one)));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
