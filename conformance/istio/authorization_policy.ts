/** `ValidateAuthorizationPolicy` of Istio's `pkg/config/validation/validation.go`: action, scope, targets, rules. */
import { type Case, document, refused, stricter, taken } from "./case.ts";

const ap = (spec: string, metadata = ""): string => document("AuthorizationPolicy", spec, metadata);
const any = "rules: [{}]";
const gateway = "group: gateway.networking.k8s.io";
const custom = "action: CUSTOM\nprovider: {name: authz}";
const from = (source: string): string => `rules: [{from: [{source: {${source}}}]}]`;
const when = (condition: string): string => `rules: [{when: [{${condition}}]}]`;

const actions: readonly Case[] = [
  taken("nothing at all allows nothing", ap("")),
  taken("an empty spec allows nothing", ap("{}")),
  taken("ALLOW with no rules", ap("action: ALLOW")),
  taken("ALLOW with an empty list of rules", ap("action: ALLOW\nrules: []")),
  taken("ALLOW of everything", ap(`action: ALLOW\n${any}`)),
  taken("no action is ALLOW", ap(any)),
  taken("DENY of everything", ap(`action: DENY\n${any}`)),
  taken("AUDIT", ap(`action: AUDIT\n${any}`), "does not support the AUDIT action"),
  taken("AUDIT without rules", ap("action: AUDIT")),
  taken("CUSTOM", ap(`${custom}\n${any}`), "does not support the CUSTOM action"),
  refused("DENY without rules", ap("action: «DENY»"), "would never match"),
  refused("DENY with an empty list of rules", ap("action: «DENY»\nrules: []"), "would never match"),
  refused("CUSTOM without rules", ap("action: «CUSTOM»\nprovider: {name: authz}"), "would never match"),
  refused("CUSTOM without a provider", ap(`action: «CUSTOM»\n${any}`), "needs spec.provider"),
  refused(
    "CUSTOM with a provider without a name",
    ap(`action: CUSTOM\nprovider: «»{}\n${any}`),
    "name is missing",
  ),
  refused("CUSTOM with an empty name", ap(`action: CUSTOM\nprovider: {name: «»""}\n${any}`), "name is empty"),
  refused(
    "ALLOW with a provider",
    ap(`action: ALLOW\n«provider»: {name: authz}\n${any}`),
    "goes with the action CUSTOM",
  ),
  refused(
    "DENY with a provider",
    ap(`action: DENY\n«provider»: {name: authz}\n${any}`),
    "goes with the action CUSTOM",
  ),
  refused(
    "no action with a provider",
    ap(`«provider»: {name: authz}\n${any}`),
    "goes with the action CUSTOM",
  ),
  refused(
    "an action that is none",
    ap(`action: «BLOCK»\n${any}`),
    "must be one of ALLOW, DENY, AUDIT, CUSTOM",
  ),
  refused("an action in lower case", ap(`action: «deny»\n${any}`), "did you mean DENY?"),
  refused("a misspelt action field", ap(`«acton»: DENY\n${any}`), "did you mean action?"),
  refused("an action that is a list", ap(`action: «»[DENY]\n${any}`), "must be a string"),
];

const scopes: readonly Case[] = [
  taken("selected workloads", ap(`selector: {matchLabels: {app: db}}\n${any}`), "selects no workload"),
  taken("a selector without labels", ap(`selector: {}\n${any}`), "whole namespace"),
  taken("a selector with empty labels", ap(`selector: {matchLabels: {}}\n${any}`), "whole namespace"),
  taken("a label's name with a prefix", ap(`selector: {matchLabels: {example.com/app: db}}\n${any}`)),
  taken("a label's value of 63 characters", ap(`selector: {matchLabels: {app: ${"a".repeat(63)}}}\n${any}`)),
  taken(
    "a label's value that none can have",
    ap(`selector: {matchLabels: {app: "a b"}}\n${any}`),
    "nothing is selected",
  ),
  taken(
    "a label's name that none can have",
    ap(`selector: {matchLabels: {"a b": c}}\n${any}`),
    "nothing is selected",
  ),
  taken("a Service", ap(`targetRefs: [{kind: Service, name: a}]\n${any}`), "it is for a waypoint"),
  taken("a Service with an empty group", ap(`targetRefs: [{group: "", kind: Service, name: a}]\n${any}`)),
  taken("a Service of core", ap(`targetRefs: [{group: core, kind: Service, name: a}]\n${any}`)),
  taken(
    "a ServiceEntry",
    ap(`targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}]\n${any}`),
  ),
  taken("a Gateway", ap(`targetRefs: [{${gateway}, kind: Gateway, name: a}]\n${any}`)),
  taken("a GatewayClass", ap(`targetRefs: [{${gateway}, kind: GatewayClass, name: a}]\n${any}`)),
  taken("the older targetRef", ap(`targetRef: {${gateway}, kind: Gateway, name: a}\n${any}`)),
  taken(
    "an empty namespace of a target",
    ap(`targetRefs: [{kind: Service, name: a, namespace: ""}]\n${any}`),
  ),
  taken(
    "sixteen targets",
    ap(`targetRefs: [${"{kind: Service, name: a}, ".repeat(15)}{kind: Service, name: a}]\n${any}`),
  ),
  refused("a wildcard for a label's value", ap(`selector: {matchLabels: {app: «"*"»}}\n${any}`), "wildcard"),
  refused("a wildcard at its end", ap(`selector: {matchLabels: {app: «db*»}}\n${any}`), "wildcard"),
  refused("a wildcard in a label's name", ap(`selector: {matchLabels: {«app*»: db}}\n${any}`), "wildcard"),
  refused("a label without a name", ap(`selector: {matchLabels: {«»"": db}}\n${any}`), "without a name"),
  refused(
    "a label's value of 64 characters",
    ap(`selector: {matchLabels: {app: «${"a".repeat(64)}»}}\n${any}`),
    "longer",
  ),
  refused("matchExpressions", ap(`selector: {«matchExpressions»: []}\n${any}`), "has no field"),
  refused(
    "a selector and targets",
    ap(`«selector»: {matchLabels: {a: b}}\ntargetRefs: [{kind: Service, name: a}]\n${any}`),
    "exclude each other",
  ),
  refused(
    "a selector and one target",
    ap(`«selector»: {}\ntargetRef: {kind: Service, name: a}\n${any}`),
    "exclude each other",
  ),
  refused(
    "one target and targets",
    ap(`targetRef: {kind: Service, name: a}\n«targetRefs»: [{kind: Service, name: a}]\n${any}`),
    "exclude each other",
  ),
  refused(
    "a target of an unknown kind",
    ap(`targetRefs: [{group: apps, kind: «Deployment», name: a}]\n${any}`),
    "must be one of",
  ),
  refused(
    "a misspelt kind",
    ap(`targetRefs: [{${gateway}, kind: «Gatewy», name: a}]\n${any}`),
    "did you mean Gateway?",
  ),
  refused(
    "a kind in lower case",
    ap(`targetRefs: [{kind: «service», name: a}]\n${any}`),
    "did you mean Service?",
  ),
  refused(
    "an HTTPRoute",
    ap(`targetRefs: [{${gateway}, kind: «HTTPRoute», name: a}]\n${any}`),
    "must be one of",
  ),
  refused(
    "a WorkloadEntry",
    ap(`targetRefs: [{group: networking.istio.io, kind: «WorkloadEntry», name: a}]\n${any}`),
    "must be one of",
  ),
  refused(
    "Istio's own Gateway",
    ap(`targetRefs: [{group: «networking.istio.io», kind: Gateway, name: a}]\n${any}`),
    "is of group gateway.networking.k8s.io",
  ),
  refused(
    "a Gateway without a group",
    ap(`targetRefs: [{kind: «Gateway», name: a}]\n${any}`),
    "none is given",
  ),
  refused(
    "a ServiceEntry without a group",
    ap(`targetRefs: [{kind: «ServiceEntry», name: a}]\n${any}`),
    "is of group networking.istio.io",
  ),
  refused(
    "a Service of a group",
    ap(`targetRefs: [{group: «v1», kind: Service, name: a}]\n${any}`),
    "Service has no group",
  ),
  refused(
    "a misspelt group",
    ap(`targetRefs: [{group: «gateway.networking.k8s.oi», kind: Gateway, name: a}]\n${any}`),
    "did you mean gateway.networking.k8s.io?",
  ),
  refused("a target without a name", ap(`targetRefs: [«»{kind: Service}]\n${any}`), "name is missing"),
  refused(
    "a target with an empty name",
    ap(`targetRefs: [{kind: Service, name: «»""}]\n${any}`),
    "name is empty",
  ),
  refused("a target without a kind", ap(`targetRefs: [«»{name: a}]\n${any}`), "kind is missing"),
  refused(
    "a target of another namespace",
    ap(`targetRefs: [{kind: Service, name: a, namespace: «bank»}]\n${any}`),
    "must be left out",
  ),
  refused(
    "a target of the own namespace",
    ap(`targetRefs: [{kind: Service, name: a, namespace: «shop»}]\n${any}`),
    "must be left out",
  ),
  refused(
    "a target's name of 254 characters",
    ap(`targetRefs: [{kind: Service, name: «${"a".repeat(254)}»}]\n${any}`),
    "Istio takes 253",
  ),
  refused(
    "seventeen targets",
    ap(`«targetRefs»: [${"{kind: Service, name: a}, ".repeat(16)}{kind: Service, name: a}]\n${any}`),
    "more than 16",
  ),
  refused(
    "a target's field that is none",
    ap(`targetRefs: [{kind: Service, name: a, «sectionName»: x}]\n${any}`),
    "has no field",
  ),
  stricter("an empty list of targets", ap(`«targetRefs»: []\n${any}`), "is empty"),
];

const rules: readonly Case[] = [
  taken("an empty rule", ap("rules: [{}]")),
  taken(
    "from, to and when",
    ap(
      'rules: [{from: [{source: {namespaces: [a]}}], to: [{operation: {ports: ["80"]}}], when: [{key: source.ip, values: [10.0.0.0/8]}]}]',
    ),
  ),
  taken("512 rules", ap(`rules: [${"{}, ".repeat(511)}{}]`)),
  taken(
    "an empty when",
    ap('rules: [{to: [{operation: {ports: ["80"]}}], when: [{key: source.namespace, values: [a]}]}]'),
  ),
  refused("513 rules", ap(`«rules»: [${"{}, ".repeat(512)}{}]`), "Istio takes 512"),
  refused(
    "513 alternatives of from",
    ap(`rules: [{«from»: [${'{source: {namespaces: ["*"]}}, '.repeat(513)}]}]`),
    "Istio takes 512",
  ),
  refused("rules that are no list", ap("rules: «»{from: []}"), "must be a list"),
  refused("a rule that is no object", ap("rules: [«all»]"), "must be an object"),
  refused("a rule's field that is none", ap("rules: [{«form»: []}]"), "did you mean from?"),
  refused("a from without a source", ap("rules: [{from: [«»{}]}]"), "source is missing"),
  refused("a from with something else", ap("rules: [{from: [{«principals»: [a]}]}]"), "has no field"),
  refused("an empty source", ap("rules: [{from: [{source: «»{}}]}]"), "is empty"),
  refused("a source's field that is none", ap(from("«principal»: [a]")), "did you mean principals?"),
  refused("a to without an operation", ap("rules: [{to: [«»{}]}]"), "operation is missing"),
  refused("an empty operation", ap("rules: [{to: [{operation: «»{}}]}]"), "is empty"),
  refused(
    "an operation's field that is none",
    ap('rules: [{to: [{operation: {«port»: ["80"]}}]}]'),
    "did you mean ports?",
  ),
  refused("a condition without a key", ap("rules: [{when: [«»{values: [a]}]}]"), "key is missing"),
  refused("a condition with an empty key", ap('rules: [{when: [{key: «»"", values: [a]}]}]'), "key is empty"),
  refused(
    "a condition without values",
    ap("rules: [{when: [«»{key: source.ip}]}]"),
    "values or notValues is missing",
  ),
  refused(
    "a condition's field that is none",
    ap("rules: [{when: [{key: source.ip, «value»: [a], values: [10.0.0.1]}]}]"),
    "has no field",
  ),
  stricter("an empty from", ap("rules: [{«from»: []}]"), "is empty"),
  stricter("an empty to", ap("rules: [{«to»: []}]"), "is empty"),
  refused("a from without a value", ap("rules:\n- «from»:"), "has no value"),
];

const customFields = [
  "principals",
  "namespaces",
  "requestPrincipals",
  "serviceAccounts",
  "trustDomains",
] as const;

const customs: readonly Case[] = [
  taken("CUSTOM by address", ap(`${custom}\n${from("ipBlocks: [10.0.0.0/8]")}`)),
  taken("CUSTOM by original address", ap(`${custom}\n${from("remoteIpBlocks: [10.0.0.0/8]")}`)),
  taken("CUSTOM by path", ap(`${custom}\nrules: [{to: [{operation: {paths: [/admin*]}}]}]`)),
  taken("CUSTOM by header", ap(`${custom}\n${when('key: "request.headers[x]", values: [a]')}`)),
  taken("CUSTOM by source.ip", ap(`${custom}\n${when("key: source.ip, values: [10.0.0.1]")}`)),
  ...customFields.flatMap((field) => {
    const not = `not${field.charAt(0).toUpperCase()}${field.slice(1)}`;
    return [field, not].map((name) =>
      refused(
        `CUSTOM with ${name}`,
        ap(`${custom}\n${from(`«${name}»: [a]`)}`),
        "cannot be used with the action CUSTOM",
      ),
    );
  }),
  ...["source.namespace", "source.principal", "source.serviceAccount", "source.trustDomain"].map((key) =>
    refused(
      `CUSTOM with ${key}`,
      ap(`${custom}\n${when(`key: «${key}», values: [a]`)}`),
      "cannot be used with the action CUSTOM",
    ),
  ),
  ...[
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.claims[iss]",
  ].map((key) =>
    refused(
      `CUSTOM with ${key}`,
      ap(`${custom}\n${when(`key: «"${key}"», values: [a]`)}`),
      "cannot be used with the action CUSTOM",
    ),
  ),
];

const dryRun = (value: string): string => `annotations: {istio.io/dry-run: ${value}}`;

const dryRuns: readonly Case[] = [
  ...['"true"', '"false"', '"1"', '"0"', '"T"', '"False"'].map((value) =>
    taken(`a dry run of ${value}`, ap(`action: DENY\n${any}`, dryRun(value))),
  ),
  refused(
    "a dry run that is neither",
    ap(`action: DENY\n${any}`, dryRun("«maybe»")),
    "must be true or false",
  ),
  refused("a dry run of TrUe", ap(any, dryRun("«TrUe»")), "must be true or false"),
  refused(
    "a dry run of AUDIT",
    ap(`action: AUDIT\n${any}`, dryRun('«"true"»')),
    "goes with the actions ALLOW and DENY",
  ),
  refused(
    "a dry run of CUSTOM",
    ap(`${custom}\n${any}`, dryRun('«"true"»')),
    "goes with the actions ALLOW and DENY",
  ),
];

export const authorizationPolicyCases: readonly Case[] = [
  ...actions,
  ...scopes,
  ...rules,
  ...customs,
  ...dryRuns,
];
