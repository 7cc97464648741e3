/**
 * Conditions in Common Expression Language, made ready once. Only macros repeat anything in CEL, so what an expression can cost is known
 * from its text: what could take long is refused before the first request. What fails, or comes to anything but `true`, denies.
 */
import { type CelInput, CelScalar, celEnv, celMethod, isCelError, parse, plan } from "@bufbuild/cel";
import { strings } from "@bufbuild/cel/ext";
import { IpAddress } from "../../base/ip.ts";
import { authLimits } from "../../base/limits/auth.ts";
import { parseIpPrefix, prefixContains } from "../../base/prefix.ts";
import type { AccessConditionDocument } from "../../mesh/documents/document.ts";
import type { Location } from "../../mesh/location.ts";
import { type HttpFacts, joinedField, type RequestFacts } from "./request_facts.ts";

export interface Condition {
  /** `AccessCondition shop/office-hours`. */
  readonly key: string;
  readonly index: number;
  readonly location: Location;
  readonly message: string | null;
  readonly dryRun: boolean;
  /** Why it can never hold; null when it can. */
  readonly flaw: string | null;
  readonly evaluate: (seen: Seen) => Outcome;
}

export type Outcome = { readonly holds: boolean; readonly error: string | null };

/** What expressions look at. */
export interface Seen {
  readonly bindings: Record<string, CelInput>;
  /** Some list or map of the request is longer than an expression may go over. */
  readonly hasLongList: boolean;
}

/** `source.address.inNetwork("10.0.0.0/8")`. */
const inNetwork = celMethod(
  "inNetwork",
  CelScalar.STRING,
  [CelScalar.STRING],
  CelScalar.BOOL,
  function (block) {
    const ip = IpAddress.parse(this);
    const prefix = parseIpPrefix(block);
    if (ip === null) throw new Error(`${JSON.stringify(this)} is no IP address`);
    if (prefix === null) throw new Error(`${JSON.stringify(block)} is no CIDR block`);
    return prefixContains(prefix, ip);
  },
);

type Expr = ReturnType<typeof parse>["expr"];

/** Without `split`, which would make a long list of a long text. */
const functions = [...strings.filter(({ name }) => name !== "split"), inNetwork];
const environment = celEnv({ funcs: functions });

/** One that cannot be used is kept, and never holds: a condition that was meant must not be as if it had not been written. */
export function conditionsOf(document: AccessConditionDocument): readonly Condition[] {
  return document.conditions.map(({ expression, message, at }, index) => ({
    key: document.metadata.key,
    index,
    location: at,
    message,
    dryRun: document.dryRun,
    flaw: expressionFlaw(expression.value),
    evaluate: ready(expression.value),
  }));
}

function ready(text: string): Condition["evaluate"] {
  const flaw = expressionFlaw(text);
  if (flaw !== null) return () => ({ holds: false, error: flaw });
  const parsed = parse(text);
  const evaluate = plan(environment, parsed);
  const goesOverLists = loopsOf(parsed.expr).count > 0;
  return ({ bindings, hasLongList }) => {
    if (goesOverLists && hasLongList)
      return {
        holds: false,
        error: `a list of the request has more than ${authLimits.maxExpressionItems} items`,
      };
    const result = evaluate(bindings);
    if (isCelError(result)) return { holds: false, error: result.message };
    return typeof result === "boolean"
      ? { holds: result, error: null }
      : { holds: false, error: "it comes to something else than true or false" };
  };
}

/** Why an expression cannot be used; null when it can. */
export function expressionFlaw(text: string): string | null {
  const { maxExpressionChars, maxExpressionDepth, maxExpressionMacros } = authLimits;
  if (text.length > maxExpressionChars)
    return `the expression has ${text.length} characters; at most ${maxExpressionChars} are taken`;
  // Before it is read, since reading takes twice as long with each.
  const depth = depthOf(text);
  if (depth > maxExpressionDepth)
    return `the expression has ${depth} brackets within brackets; at most ${maxExpressionDepth} are taken`;
  try {
    const loops = loopsOf(parse(text).expr);
    if (loops.nested) return "the expression goes over a list within a list, which could take long";
    return loops.count > maxExpressionMacros
      ? `the expression goes over lists ${loops.count} times; at most ${maxExpressionMacros} are taken`
      : null;
  } catch (error) {
    return `the expression cannot be read: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Comments and texts of CEL (its specification, "Lexis"): what is in them is no bracket. */
const notCode =
  /\/\/[^\n]*|[bB]?[rR][bB]?(?:"""[\s\S]*?"""|'''[\s\S]*?'''|"[^"\n]*"|'[^'\n]*')|"""(?:\\[\s\S]|[^\\])*?"""|'''(?:\\[\s\S]|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g;

function depthOf(text: string): number {
  let open = 0;
  let deepest = 0;
  for (const char of text.replace(notCode, " ")) {
    if ("([{".includes(char)) deepest = Math.max(deepest, ++open);
    else if (")]}".includes(char)) open--;
  }
  return deepest;
}

interface Loops {
  readonly count: number;
  /** One is in what another repeats. */
  readonly nested: boolean;
}

function loopsOf(expr: Expr | undefined): Loops {
  const kind = expr?.exprKind;
  switch (kind?.case) {
    case "callExpr":
      return together([kind.value.target, ...kind.value.args].map(loopsOf));
    case "selectExpr":
      return loopsOf(kind.value.operand);
    case "listExpr":
      return together(kind.value.elements.map(loopsOf));
    case "structExpr":
      return together(
        kind.value.entries.flatMap(({ keyKind, value }) => [
          loopsOf(keyKind.case === "mapKey" ? keyKind.value : undefined),
          loopsOf(value),
        ]),
      );
    case "comprehensionExpr": {
      const { iterRange, accuInit, loopCondition, loopStep, result } = kind.value;
      const repeated = together([loopCondition, loopStep].map(loopsOf));
      const once = together([iterRange, accuInit, result].map(loopsOf));
      return {
        count: 1 + repeated.count + once.count,
        nested: repeated.count > 0 || once.nested,
      };
    }
    default:
      return { count: 0, nested: false };
  }
}

function together(loops: readonly Loops[]): Loops {
  return {
    count: loops.reduce((sum, { count }) => sum + count, 0),
    nested: loops.some(({ nested }) => nested),
  };
}

const readTime = plan(environment, parse("timestamp(text)"));

function timeOf(nowMs: number): CelInput {
  const time = readTime({ text: new Date(nowMs).toISOString() });
  return isCelError(time) ? null : time;
}

/** What an expression sees; Envoy's names of attributes, where it has them. @param nowMs since the Unix epoch. */
export function seenBy(facts: RequestFacts, nowMs: number): Seen {
  const { peer, http } = facts;
  const request = http === null ? new Map<string, CelInput>() : requestOf(http);
  request.set("time", timeOf(nowMs));
  const bindings = {
    source: map({
      address: facts.sourceIp.text,
      principal: peer?.principal ?? "",
      namespace: peer?.namespace ?? "",
      service_account: peer?.serviceAccount ?? "",
      trust_domain: peer?.trustDomain ?? "",
    }),
    remote: map({ address: facts.remoteIp.text }),
    destination: map({ address: facts.destinationIp?.text ?? "", port: BigInt(facts.destinationPort) }),
    connection: map({ sni: facts.sni }),
    request,
  };
  const { maxExpressionItems } = authLimits;
  const hasLongList =
    http !== null && (http.fields.length / 2 > maxExpressionItems || isLong(http.user?.claims));
  return { bindings, hasLongList };
}

function requestOf(http: HttpFacts): Map<string, CelInput> {
  const { user, fields } = http;
  const headers = new Map<string, CelInput>();
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? "";
    if (!headers.has(name)) headers.set(name, joinedField(fields, name) ?? "");
  }
  const auth = new Map<string, CelInput>();
  if (user !== null) {
    auth.set("principal", `${user.issuer}/${user.subject}`);
    auth.set("audiences", [...user.audiences]);
    if (typeof user.claims.azp === "string") auth.set("presenter", user.claims.azp);
    auth.set("claims", celValue(user.claims));
  }
  const { method, path, query, host, scheme } = http;
  return map({ method, path, query, host, scheme, headers, auth });
}

function map(entries: Readonly<Record<string, CelInput>>): Map<string, CelInput> {
  return new Map(Object.entries(entries));
}

/** JSON as CEL has it: numbers are doubles, which compare with integers by value. */
function celValue(value: unknown): CelInput {
  if (Array.isArray(value)) return value.map(celValue);
  if (typeof value === "object" && value !== null)
    return new Map(Object.entries(value).map(([name, one]) => [name, celValue(one)]));
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : null;
}

function isLong(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const items = Object.values(value);
  return items.length > authLimits.maxExpressionItems || items.some(isLong);
}
