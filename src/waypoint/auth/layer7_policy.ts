/**
 * An AuthorizationPolicy as a waypoint enforces it: tests on facts, in three layers (a rule is an AND of clauses, a clause an OR of groups,
 * a group an AND of tests), as istiod generates them for Envoy (`pilot/pkg/security/authz/model/model.go`).
 */
import type { IpPrefix } from "../../base/prefix.ts";
import type {
  AuthorizationPolicyDocument,
  Condition,
  Layer7Condition,
  OperationMatch,
  PolicyRule,
  SourceMatch,
  Values,
} from "../../mesh/documents/document.ts";
import type { Located } from "../../mesh/documents/reader.ts";
import type { Location } from "../../mesh/location.ts";
import type { TrustDomains } from "./trust_domains.ts";

/** What is looked at, and the values of which one must fit; negated: of which none may. */
export type Test = { readonly negated: boolean } & (
  | { readonly about: "source_ip" | "remote_ip" | "destination_ip"; readonly prefixes: readonly IpPrefix[] }
  | { readonly about: "port"; readonly ports: readonly number[] }
  | { readonly about: "header"; readonly name: string; readonly texts: readonly string[] }
  | { readonly about: "claim"; readonly path: readonly string[]; readonly texts: readonly string[] }
  | { readonly about: TextSubject; readonly texts: readonly string[] }
  /** What holds for nothing: an attribute that does not exist here. */
  | { readonly about: "nothing" }
);

export type TextSubject =
  | "principal"
  | "namespace"
  | "service_account"
  | "trust_domain"
  | "request_principal"
  | "audience"
  | "presenter"
  | "host"
  | "method"
  | "path"
  | "sni";

export interface Layer7Rule {
  /** AND of ORs of ANDs. No clauses: it matches everything. */
  readonly clauses: readonly (readonly (readonly Test[])[])[];
  /** Of the rule in its document. */
  readonly index: number;
  readonly location: Location;
}

export interface Layer7Policy {
  /** `namespace/name`. */
  readonly key: string;
  readonly action: "ALLOW" | "DENY" | "AUDIT" | "CUSTOM";
  readonly dryRun: boolean;
  /** Of CUSTOM. */
  readonly provider: string | null;
  /** Those that can match; a rule that cannot be enforced as it is written is left out of ALLOW. */
  readonly rules: readonly Layer7Rule[];
  readonly location: Location;
}

/** @param isTcp for connections that are not HTTP: tests that need it are errors of generation. */
export function layer7Policy(
  document: AuthorizationPolicyDocument,
  trustDomains: TrustDomains,
  isTcp: boolean,
): Layer7Policy {
  const { metadata, action, dryRun, provider, location } = document;
  const reader = new RuleReader(metadata.namespace, trustDomains, isTcp);
  const rules = document.rules.flatMap((rule, index): Layer7Rule[] => {
    const clauses = reader.clauses(rule, action.value === "ALLOW");
    return clauses === null ? [] : [{ clauses, index, location: rule.at }];
  });
  const key = `${metadata.namespace}/${metadata.name}`;
  return { key, action: action.value, dryRun, provider, rules, location };
}

class RuleReader {
  readonly #namespace: string;
  readonly #trustDomains: TrustDomains;
  readonly #isTcp: boolean;

  constructor(namespace: string, trustDomains: TrustDomains, isTcp: boolean) {
    this.#namespace = namespace;
    this.#trustDomains = trustDomains;
    this.#isTcp = isTcp;
  }

  /**
   * What cannot be generated makes an ALLOW rule void, and is left out of others, which then match more (`checkError` of istiod's model).
   * @returns null for a rule that is void.
   */
  clauses(rule: PolicyRule, isAllow: boolean): Layer7Rule["clauses"] | null {
    const clauses = [
      ...(rule.to.length === 0 ? [] : [rule.to.map((to) => this.#operation(to))]),
      ...(rule.from.length === 0 ? [] : [rule.from.map((from) => this.#source(from))]),
      ...rule.when.map((condition) => [this.#condition(condition)]),
    ];
    const isVoid = clauses.flat(2).some((test) => !this.#canBeEnforced(test));
    if (isAllow && isVoid) return null;
    const kept = clauses.map((groups) =>
      groups.map((tests) => tests.filter((test) => this.#canBeEnforced(test))),
    );
    // An alternative of which nothing is left matches everything, and so does its clause.
    return kept.filter((groups) => groups.every((tests) => tests.length > 0));
  }

  #canBeEnforced(test: Test): boolean {
    if (test.about === "nothing") return false;
    return !this.#isTcp || !httpOnly.has(test.about);
  }

  #operation({ ports, hosts, methods, paths }: OperationMatch): readonly Test[] {
    return [
      ...both(ports, (found, negated) => ({ about: "port", ports: found, negated })),
      ...this.#texts("host", hosts),
      ...this.#texts("method", methods),
      ...this.#texts("path", paths),
    ];
  }

  #source(source: SourceMatch): readonly Test[] {
    return [
      ...this.#prefixes("source_ip", source.ipBlocks),
      ...this.#prefixes("remote_ip", source.remoteIpBlocks),
      ...this.#texts("namespace", source.namespaces),
      ...this.#texts("service_account", source.serviceAccounts),
      ...this.#texts("trust_domain", source.trustDomains),
      ...this.#texts("principal", source.principals),
      ...this.#texts("request_principal", source.requestPrincipals),
    ];
  }

  #condition(condition: Condition): readonly Test[] {
    switch (condition.key) {
      case "source.ip":
        return this.#prefixes("source_ip", condition.match);
      case "destination.ip":
        return this.#prefixes("destination_ip", condition.match);
      case "destination.port":
        return both(condition.match, (ports, negated) => ({ about: "port", ports, negated }));
      case "source.namespace":
        return this.#texts("namespace", condition.match);
      case "source.principal":
        return this.#texts("principal", condition.match);
      case "layer7":
        return this.#layer7(condition.is);
    }
  }

  #layer7(condition: Layer7Condition): readonly Test[] {
    switch (condition.key) {
      case "remote.ip":
        return this.#prefixes("remote_ip", condition.match);
      case "request.headers": {
        const { header } = condition;
        return both(condition.match, (texts, negated) => ({ about: "header", name: header, texts, negated }));
      }
      case "request.auth.claims": {
        const { claim } = condition;
        return both(condition.match, (texts, negated) => ({ about: "claim", path: claim, texts, negated }));
      }
      case "experimental.envoy.filters":
        return [{ about: "nothing", negated: false }];
      default:
        return this.#texts(conditionSubjects[condition.key], condition.match);
    }
  }

  #prefixes(about: "source_ip" | "remote_ip" | "destination_ip", values: Values<IpPrefix>): readonly Test[] {
    return both(values, (prefixes, negated) => ({ about, prefixes, negated }));
  }

  #texts(about: TextSubject, values: Values<string>): readonly Test[] {
    return both(values, (texts, negated) => ({ about, texts: this.#meant(about, texts), negated }));
  }

  /** Principals under every name of their trust domain; accounts with their namespace. */
  #meant(about: TextSubject, texts: readonly string[]): readonly string[] {
    if (about === "principal") return texts.flatMap((text) => this.#trustDomains.expand(text));
    if (about !== "service_account") return texts;
    return texts.map((text) => (text.includes("/") ? text : `${this.#namespace}/${text}`));
  }
}

const conditionSubjects = {
  "source.serviceAccount": "service_account",
  "source.trustDomain": "trust_domain",
  "connection.sni": "sni",
  "request.auth.principal": "request_principal",
  "request.auth.audiences": "audience",
  "request.auth.presenter": "presenter",
} as const;

const httpOnly: ReadonlySet<Test["about"]> = new Set<Test["about"]>([
  ...(["header", "claim", "request_principal", "audience", "presenter", "host", "method", "path"] as const),
]);

function both<T>(
  { values, notValues }: Values<T>,
  make: (values: readonly T[], negated: boolean) => Test,
): readonly Test[] {
  return [
    ...(values.length === 0 ? [] : [make(plain(values), false)]),
    ...(notValues.length === 0 ? [] : [make(plain(notValues), true)]),
  ];
}

function plain<T>(values: readonly Located<T>[]): readonly T[] {
  return values.map(({ value }) => value);
}
