/**
 * AuthorizationPolicy → the policy a tunnel enforces, exactly as istiod converts it for ztunnel
 * (`convertAuthorizationPolicy` and `handleRule` of `ambient/authorization.go`).
 */
import {
  type Authorization,
  type Clause,
  emptyMatch,
  type Match,
  type Rule,
  type StringMatch,
} from "../authorization.ts";
import type {
  AuthorizationPolicyDocument,
  Condition,
  OperationMatch,
  PolicyRule,
  SourceMatch,
} from "../documents/document.ts";
import type { Located } from "../documents/reader.ts";
import type { ConversionContext } from "./conversion_context.ts";
import type { ConversionReport } from "./conversion_report.ts";
import { warnOfNeverMatching } from "./never_matches.ts";

/** @returns null when the tunnel has nothing to enforce; the report says why. */
export function convertAuthorizationPolicy(
  document: AuthorizationPolicyDocument,
  context: ConversionContext,
  report: ConversionReport,
): Authorization | null {
  const { action, metadata, targetRefs } = document;
  if (targetRefs.length > 0) {
    const targets = targetRefs.map(({ value }) => value).join(", ");
    report.warn(
      document,
      "Ignored",
      `it is for a waypoint (${targets}); tunnels do not enforce it`,
      targetRefs[0]?.at,
    );
    return null;
  }
  if (action.value === "AUDIT" || action.value === "CUSTOM") {
    report.warn(
      document,
      "UnsupportedValue",
      `a tunnel does not support the ${action.value} action; it has no effect`,
      action.at,
    );
    return null;
  }
  const rules = document.rules.flatMap(
    (rule) => convertRule(rule, action.value === "ALLOW", metadata.namespace) ?? [],
  );
  const policy: Authorization = {
    name: metadata.name,
    namespace: metadata.namespace,
    scope: scopeOf(document, context),
    action: action.value === "ALLOW" ? "ALLOW" : "DENY",
    dryRun: document.dryRun,
    rules,
    location: document.location,
  };
  warnOfLayer7(document, policy, report);
  warnOfNeverMatching(document, context.trustDomain, report);
  return policy;
}

function scopeOf(document: AuthorizationPolicyDocument, context: ConversionContext): Authorization["scope"] {
  if (document.selector !== null) return "WORKLOAD_SELECTOR";
  return document.metadata.namespace === context.rootNamespace ? "GLOBAL" : "NAMESPACE";
}

/**
 * `to`, then `from`, then each `when`, as clauses that all must match. What needs HTTP makes an ALLOW rule void, and is left out of a
 * DENY rule; a DENY clause that is empty after that never matches.
 */
function convertRule(rule: PolicyRule, isAllow: boolean, namespace: string): Rule | null {
  if (isAllow && layer7Of(rule).length > 0) return null;
  const clauses: Clause[] = [];
  if (rule.to.length > 0) clauses.push({ matches: rule.to.map(operationMatch) });
  if (rule.from.length > 0)
    clauses.push({ matches: rule.from.map((source) => sourceMatch(source, namespace)) });
  for (const condition of rule.when) clauses.push({ matches: [conditionMatch(condition)] });
  return { clauses, location: rule.at };
}

function operationMatch({ ports }: OperationMatch): Match {
  return {
    ...emptyMatch,
    destinationPorts: plain(ports.values),
    notDestinationPorts: plain(ports.notValues),
  };
}

function sourceMatch(source: SourceMatch, namespace: string): Match {
  const account = ({ value }: Located<string>) => serviceAccount(value, namespace);
  return {
    ...emptyMatch,
    sourceIps: plain(source.ipBlocks.values),
    notSourceIps: plain(source.ipBlocks.notValues),
    namespaces: texts(source.namespaces.values),
    notNamespaces: texts(source.namespaces.notValues),
    serviceAccounts: source.serviceAccounts.values.map(account),
    notServiceAccounts: source.serviceAccounts.notValues.map(account),
    principals: texts(source.principals.values),
    notPrincipals: texts(source.principals.notValues),
  };
}

function conditionMatch(condition: Condition): Match {
  if (condition.key === "layer7") return emptyMatch;
  switch (condition.key) {
    case "source.ip":
      return {
        ...emptyMatch,
        sourceIps: plain(condition.match.values),
        notSourceIps: plain(condition.match.notValues),
      };
    case "destination.ip":
      return {
        ...emptyMatch,
        destinationIps: plain(condition.match.values),
        notDestinationIps: plain(condition.match.notValues),
      };
    case "destination.port":
      return {
        ...emptyMatch,
        destinationPorts: plain(condition.match.values),
        notDestinationPorts: plain(condition.match.notValues),
      };
    case "source.namespace":
      return {
        ...emptyMatch,
        namespaces: texts(condition.match.values),
        notNamespaces: texts(condition.match.notValues),
      };
    case "source.principal":
      return {
        ...emptyMatch,
        principals: texts(condition.match.values),
        notPrincipals: texts(condition.match.notValues),
      };
  }
}

function plain<T>(values: readonly Located<T>[]): readonly T[] {
  return values.map(({ value }) => value);
}

function texts(values: readonly Located<string>[]): readonly StringMatch[] {
  return values.map(({ value }) => stringMatch(value));
}

/** `*` is presence, `*x` a suffix, `x*` a prefix; `*x*` is the suffix `x*` (istiod `stringToMatch`). */
export function stringMatch(text: string): StringMatch {
  if (text === "*") return { kind: "presence" };
  if (text.startsWith("*")) return { kind: "suffix", value: text.slice(1) };
  if (text.endsWith("*")) return { kind: "prefix", value: text.slice(0, -1) };
  return { kind: "exact", value: text };
}

function serviceAccount(
  text: string,
  policyNamespace: string,
): { readonly namespace: string; readonly serviceAccount: string } {
  const slash = text.indexOf("/");
  if (slash === -1) return { namespace: policyNamespace, serviceAccount: text };
  return { namespace: text.slice(0, slash), serviceAccount: text.slice(slash + 1) };
}

function layer7Of(rule: PolicyRule): readonly string[] {
  return [
    ...rule.to.flatMap((operation) => operation.layer7),
    ...rule.from.flatMap((source) => source.layer7),
    ...rule.when.flatMap((condition) => (condition.key === "layer7" ? [condition.name] : [])),
  ];
}

/** istiod's three cases and, nearly, its words (`httpRuleFmt`). */
function warnOfLayer7(
  document: AuthorizationPolicyDocument,
  policy: Authorization,
  report: ConversionReport,
): void {
  const rule = document.rules.find((candidate) => layer7Of(candidate).length > 0);
  if (rule === undefined) return;
  const found = [...new Set(document.rules.flatMap(layer7Of))].sort().join(", ");
  const begin = `a tunnel does not see these attributes (found: ${found}); a waypoint is needed to enforce them.`;
  if (policy.action === "ALLOW") {
    report.warn(
      document,
      "UnsupportedValue",
      `${begin} Rules with them are left out, so less is allowed than written.`,
      rule.at,
    );
  } else if (policy.rules.some(canMatch)) {
    report.warn(
      document,
      "UnsupportedValue",
      `${begin} They are left out of the DENY rules, so more is denied than written.`,
      rule.at,
    );
  } else {
    report.warn(
      document,
      "UnsupportedValue",
      `${begin} Nothing else is left of this DENY policy: it has NO effect here.`,
      rule.at,
    );
  }
}

function canMatch(rule: Rule): boolean {
  return rule.clauses.every((clause) =>
    clause.matches.some((match) => Object.values(match).some((values) => values.length > 0)),
  );
}
