/**
 * Values of a policy that no caller and no port can ever have. Istio takes them, and a DENY that rests on one denies
 * nothing: so each is told, with what was probably meant.
 */
import { meshLimits } from "../../base/limits/mesh.ts";
import type {
  AuthorizationPolicyDocument,
  Condition,
  PolicyRule,
  SourceMatch,
  Values,
} from "../documents/document.ts";
import { nearestWord } from "../documents/nearest.ts";
import { type Located, quote } from "../documents/reader.ts";
import type { ConversionReport } from "./conversion_report.ts";

/** Why a value matches nothing, and what would; null when it may match. */
type Flaw = { readonly why: string; readonly meant: () => string | null } | null;
const noIdea = (): null => null;
type Judge<T> = (value: T) => Flaw;

export function warnOfNeverMatching(
  document: AuthorizationPolicyDocument,
  trustDomain: string,
  report: ConversionReport,
): void {
  const { value: action } = document.action;
  if (action !== "ALLOW" && action !== "DENY") return;
  new Judgement(document, trustDomain, report).rules();
}

class Judgement {
  readonly #document: AuthorizationPolicyDocument;
  readonly #report: ConversionReport;
  readonly #principal: Judge<string>;
  /** Guessing what was meant takes time, and a thousand warnings are not read. */
  #told = 0;

  constructor(document: AuthorizationPolicyDocument, trustDomain: string, report: ConversionReport) {
    this.#document = document;
    this.#report = report;
    this.#principal = (value) => principalFlaw(value, trustDomain);
  }

  rules(): void {
    for (const [index, rule] of this.#document.rules.entries()) this.#rule(rule, `spec.rules[${index}]`);
  }

  #rule(rule: PolicyRule, path: string): void {
    for (const [index, source] of rule.from.entries()) this.#source(source, `${path}.from[${index}].source`);
    rule.to.forEach(({ ports }, index) => {
      this.#values(ports, portFlaw, [
        `${path}.to[${index}].operation.ports`,
        `${path}.to[${index}].operation.notPorts`,
      ]);
    });
    for (const [index, condition] of rule.when.entries())
      this.#condition(condition, `${path}.when[${index}]`);
  }

  #source(source: SourceMatch, path: string): void {
    const { principals, namespaces, serviceAccounts } = source;
    this.#values(principals, this.#principal, [`${path}.principals`, `${path}.notPrincipals`]);
    this.#values(namespaces, namespaceFlaw, [`${path}.namespaces`, `${path}.notNamespaces`]);
    this.#values(serviceAccounts, serviceAccountFlaw, [
      `${path}.serviceAccounts`,
      `${path}.notServiceAccounts`,
    ]);
  }

  #condition(condition: Condition, path: string): void {
    const names = [`${path}.values`, `${path}.notValues`] as const;
    if (condition.key === "source.principal") this.#values(condition.match, this.#principal, names);
    if (condition.key === "source.namespace") this.#values(condition.match, namespaceFlaw, names);
    if (condition.key === "destination.port") this.#values(condition.match, portFlaw, names);
  }

  #values<T extends string | number>(
    { values, notValues }: Values<T>,
    judge: Judge<T>,
    [name, notName]: readonly [string, string],
  ): void {
    const isVoid = values.length > 0 && values.every(({ value }) => judge(value) !== null);
    const effect = this.#document.action.value === "DENY" ? "it denies nothing" : "it allows nothing";
    this.#tell(values, judge, name, isVoid ? `; ${effect}` : "");
    this.#tell(notValues, judge, notName, "; it excepts nothing");
  }

  #tell<T extends string | number>(
    values: readonly Located<T>[],
    judge: Judge<T>,
    name: string,
    effect: string,
  ): void {
    for (const { value, at } of values) {
      const flaw = judge(value);
      if (flaw === null) continue;
      if (++this.#told > meshLimits.maxErrorsPerDocument) return;
      const word = flaw.meant();
      const meant = word === null ? "" : `; did you mean ${word}?`;
      const message = `${name}: ${quote(String(value))} can never match: ${flaw.why}${effect}${meant}`;
      this.#report.warn(this.#document, "Ignored", message, at);
    }
  }
}

const namePattern = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;
const namespacePattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

function portFlaw(port: number): Flaw {
  return port > 0 ? null : { why: "no connection has port 0", meant: noIdea };
}

/** Wildcards as `stringMatch` takes them. */
interface Pattern {
  readonly kind: "presence" | "suffix" | "prefix" | "exact";
  readonly text: string;
}

function patternOf(value: string): Pattern {
  if (value === "*") return { kind: "presence", text: "" };
  if (value.startsWith("*")) return { kind: "suffix", text: value.slice(1) };
  if (value.endsWith("*")) return { kind: "prefix", text: value.slice(0, -1) };
  return { kind: "exact", text: value };
}

const oneStar = "a * only counts at the beginning or at the end";

function namespaceFlaw(value: string): Flaw {
  const { kind, text } = patternOf(value);
  if (text.includes("*")) return { why: oneStar, meant: noIdea };
  // What is around it does not matter: any part of a namespace, with letters where it is cut.
  const whole = `${kind === "suffix" ? "a" : ""}${text}${kind === "prefix" ? "a" : ""}`;
  if (kind === "presence" || namespacePattern.test(whole)) return null;
  const lower = value.toLowerCase();
  if (lower !== value && namespaceFlaw(lower) === null)
    return { why: "namespaces are in lower case", meant: () => lower };
  const [, inPrincipal = null] = /\/ns\/([^/]+)/.exec(value) ?? [];
  return { why: "it is not the name of a namespace", meant: () => inPrincipal };
}

function serviceAccountFlaw(value: string): Flaw {
  const slash = value.indexOf("/");
  const namespace = slash === -1 ? null : value.slice(0, slash);
  const name = value.slice(slash + 1);
  if ((namespace === null || namespacePattern.test(namespace)) && namePattern.test(name)) return null;
  const lower = value.toLowerCase();
  const meant = (): string | null =>
    lower !== value && serviceAccountFlaw(lower) === null
      ? lower
      : (kubernetesAccount(value)?.join("/") ?? null);
  return { why: "it is not the name of a service account", meant };
}

/** `system:serviceaccount:NAMESPACE:NAME`, as Kubernetes calls its accounts: namespace and name. */
function kubernetesAccount(value: string): readonly [string, string] | null {
  const [, namespace, name] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(value) ?? [];
  return namespace === undefined || name === undefined ? null : [namespace, name];
}

const scheme = "spiffe://";

/** A principal is `TRUST-DOMAIN/ns/NAMESPACE/sa/NAME`; peers of another trust domain are not let in. */
function principalFlaw(value: string, trustDomain: string): Flaw {
  const { kind, text } = patternOf(value);
  if (text.includes("*")) return { why: oneStar, meant: noIdea };
  if (kind === "presence" || canBePrincipal(kind, text, trustDomain)) return null;
  const meant = () => meantPrincipal(value, trustDomain);
  if (value.startsWith(scheme) || value.startsWith(`*${scheme}`))
    return { why: `a principal is written without ${scheme}`, meant };
  const [, foreign] = kind === "suffix" ? [] : (/^([^/]+)\/ns\//.exec(text) ?? []);
  if (foreign !== undefined && foreign !== trustDomain)
    return { why: `this mesh is ${trustDomain}, and ${foreign} is not an alias of it`, meant };
  return { why: "a principal is TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT", meant };
}

function canBePrincipal(kind: Pattern["kind"], text: string, trustDomain: string): boolean {
  switch (kind) {
    case "presence":
      return true;
    case "exact":
      return isPrincipal(text, trustDomain);
    case "prefix":
      return beginsPrincipal(text, trustDomain);
    case "suffix":
      return endsPrincipal(text, trustDomain);
  }
}

/** Whether some principal begins so; a name that is cut goes on with a letter. */
function beginsPrincipal(text: string, trustDomain: string): boolean {
  const head = `${trustDomain}/ns/`;
  if (text.length <= head.length) return head.startsWith(text);
  if (!text.startsWith(head)) return false;
  const [namespace = "", sa, name, ...rest] = text.slice(head.length).split("/");
  if (sa === undefined) return namespacePattern.test(`${namespace}a`);
  if (!namespacePattern.test(namespace) || rest.length > 0) return false;
  return name === undefined ? "sa".startsWith(sa) : sa === "sa" && namePattern.test(`${name}a`);
}

/** Whether some principal ends so; the part that is cut begins with a letter, or is the rest of a fixed word. */
function endsPrincipal(text: string, trustDomain: string): boolean {
  const [name = "", sa, namespace, ns, domain, ...rest] = text.split("/").reverse();
  if (rest.length > 0) return false;
  if (sa === undefined) return namePattern.test(`a${name}`);
  if (!namePattern.test(name)) return false;
  if (namespace === undefined) return "sa".endsWith(sa);
  if (sa !== "sa") return false;
  if (ns === undefined) return namespacePattern.test(`a${namespace}`);
  if (!namespacePattern.test(namespace)) return false;
  return domain === undefined ? "ns".endsWith(ns) : ns === "ns" && trustDomain.endsWith(domain);
}

function isPrincipal(text: string, trustDomain: string): boolean {
  const head = `${trustDomain}/ns/`;
  if (!text.startsWith(head)) return false;
  const [namespace = "", sa, name = "", ...rest] = text.slice(head.length).split("/");
  return rest.length === 0 && sa === "sa" && namespacePattern.test(namespace) && namePattern.test(name);
}

/** The first of the usual slips that, mended, can match. */
function meantPrincipal(value: string, trustDomain: string): string | null {
  const bare = value.replace(scheme, "");
  const account = kubernetesAccount(value);
  const named = nearestWord(bare.split("/")[0] ?? "", [trustDomain]);
  const candidates = [
    bare,
    bare.toLowerCase(),
    bare.replace(/^\/?ns\//, `${trustDomain}/ns/`),
    bare.replace(/^[^/]+\/ns\//, `${trustDomain}/ns/`),
    ...(named === null ? [] : [bare.replace(/^[^/]+/, named)]),
    ...(account === null ? [] : [`${trustDomain}/ns/${account[0]}/sa/${account[1]}`]),
    bare.replace(/^([a-z0-9-]+)\/([a-z0-9.-]+)$/, `${trustDomain}/ns/$1/sa/$2`),
    ...(namePattern.test(bare) ? [`*/sa/${bare}`] : []),
  ];
  return (
    candidates.find((candidate) => {
      const { kind, text } = patternOf(candidate);
      return candidate !== value && !text.includes("*") && canBePrincipal(kind, text, trustDomain);
    }) ?? null
  );
}
