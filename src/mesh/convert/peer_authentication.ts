/**
 * PeerAuthentication → DENY policies (istiod `convertPeerAuthentication` of `ambient/authorization.go`): a tunnel
 * refuses plaintext by policy alone. DISABLE is the same as PERMISSIVE, because a tunnel cannot refuse mutual TLS.
 */
import { flatMapInSteps, inSteps } from "../../base/turns/steps.ts";
import { type Authorization, type Clause, emptyMatch, type Rule } from "../authorization.ts";
import type { Labels, MutualTlsMode, PeerAuthenticationDocument } from "../documents/document.ts";
import type { Location } from "../location.ts";
import type { ConversionContext } from "./conversion_context.ts";
import { selects } from "./selector.ts";
import { isOlder } from "./service_entry.ts";

/** `_` is in no Kubernetes name, so no written policy can have these. */
const staticStrict = "istio_converted_static_strict";
const convertedPrefix = "converted_peer_authentication_";

const noIdentity: Clause = { matches: [{ ...emptyMatch, notPrincipals: [{ kind: "presence" }] }] };

/** What the PeerAuthentications of a mesh come to together: inheritance is mesh, namespace, workload. */
export class PeerAuthentications {
  readonly #context: ConversionContext;
  readonly #documents: readonly PeerAuthenticationDocument[];
  readonly #mesh: PeerAuthenticationDocument | null;
  readonly #byNamespace = new Map<string, PeerAuthenticationDocument>();
  /** By one label of the selector: a workload without it is not held against it. */
  readonly #selecting = new Map<
    string,
    { readonly document: PeerAuthenticationDocument; readonly place: number }[]
  >();
  readonly #selectingDocuments: PeerAuthenticationDocument[] = [];

  private constructor(documents: readonly PeerAuthenticationDocument[], context: ConversionContext) {
    this.#context = context;
    this.#documents = documents;
    this.#mesh = oldest(documents.filter((document) => this.#isMeshWide(document)));
  }

  static *of(
    documents: readonly PeerAuthenticationDocument[],
    context: ConversionContext,
  ): Generator<void, PeerAuthentications> {
    const made = new PeerAuthentications(documents, context);
    /** Selectors that name a label with its value: one is found by the rarest of its own. */
    const uses = new Map<string, number>();
    yield* inSteps(documents, (document) => {
      for (const key of labelKeys(document)) uses.set(key, (uses.get(key) ?? 0) + 1);
    });
    yield* inSteps(documents, (document) => made.#add(document, uses));
    return made;
  }

  /** Everything workloads may name. The strict policy is there whenever any PeerAuthentication is, as in istiod. */
  *policies(): Generator<void, readonly Authorization[]> {
    const first = this.#documents[0];
    if (first === undefined) return [];
    const strict =
      [this.#mesh, ...this.#documents].find((document) => document?.mode.value === "STRICT") ?? first;
    const converted = yield* flatMapInSteps(this.#selectingDocuments, (document) => {
      const policy = this.#convert(document);
      return policy === null ? [] : [policy];
    });
    return [
      this.#policy(
        staticStrict,
        this.#context.rootNamespace,
        [{ clauses: [noIdentity], location: strict.mode.at }],
        strict.location,
      ),
      ...converted,
    ];
  }

  /** The names, `namespace/name`, of the policies that a workload gets. */
  policyNames(namespace: string, labels: Labels): readonly string[] {
    const workload = oldest(this.#selectingFor(namespace, labels));
    // A policy that holds exceptions replaces the strict one, since any DENY that matches denies.
    if (workload !== null && this.#attachesConverted(workload))
      return [`${namespace}/${convertedPrefix}${workload.metadata.name}`];
    const mode = workload === null ? this.#inherited(namespace) : this.#modeOf(workload);
    return mode === "STRICT" ? [`${this.#context.rootNamespace}/${staticStrict}`] : [];
  }

  #add(document: PeerAuthenticationDocument, uses: ReadonlyMap<string, number>): void {
    const { namespace, createdMs } = document.metadata;
    if (namespace === this.#context.rootNamespace) return;
    if (!hasSelector(document)) {
      const current = this.#byNamespace.get(namespace);
      if (current === undefined || isOlder(createdMs, current.metadata.createdMs))
        this.#byNamespace.set(namespace, document);
      return;
    }
    const place = this.#selectingDocuments.push(document);
    const [rarest = ""] = labelKeys(document).sort((a, b) => (uses.get(a) ?? 0) - (uses.get(b) ?? 0));
    const list = this.#selecting.get(rarest);
    if (list === undefined) this.#selecting.set(rarest, [{ document, place }]);
    else list.push({ document, place });
  }

  /** In the order of documents. */
  #selectingFor(namespace: string, labels: Labels): readonly PeerAuthenticationDocument[] {
    if (this.#selecting.size === 0) return [];
    return [...labels]
      .flatMap(([name, { value }]) => this.#selecting.get(labelKey(namespace, name, value)) ?? [])
      .filter(({ document }) => selects(document.selector ?? new Map(), labels))
      .sort((a, b) => a.place - b.place)
      .map(({ document }) => document);
  }

  /** Whether the ports say anything else than the mode. istiod does not count DISABLE as an exception from an inherited STRICT. */
  #attachesConverted(document: PeerAuthenticationDocument): boolean {
    const modes = [...document.portLevelMtls.values()].map(({ value }) => value);
    if (this.#modeOf(document) !== "STRICT") return modes.includes("STRICT");
    if (document.mode.value === "UNSET") return modes.includes("PERMISSIVE");
    return modes.some(isPermissive);
  }

  #convert(document: PeerAuthenticationDocument): Authorization | null {
    if (!this.#attachesConverted(document)) return null;
    const rules = this.#modeOf(document) === "STRICT" ? [strictExcept(document)] : strictPorts(document);
    return this.#policy(
      `${convertedPrefix}${document.metadata.name}`,
      document.metadata.namespace,
      rules,
      document.location,
    );
  }

  #policy(name: string, namespace: string, rules: readonly Rule[], location: Location): Authorization {
    return { name, namespace, scope: "WORKLOAD_SELECTOR", action: "DENY", dryRun: false, rules, location };
  }

  #modeOf(document: PeerAuthenticationDocument): MutualTlsMode {
    return document.mode.value === "UNSET"
      ? this.#inherited(document.metadata.namespace)
      : document.mode.value;
  }

  #inherited(namespace: string): MutualTlsMode {
    const own = this.#byNamespace.get(namespace)?.mode.value ?? "UNSET";
    return own === "UNSET" ? (this.#mesh?.mode.value ?? "UNSET") : own;
  }

  #isMeshWide(document: PeerAuthenticationDocument): boolean {
    return document.metadata.namespace === this.#context.rootNamespace && !hasSelector(document);
  }
}

/** No identity, and none of the ports that are excepted. */
function strictExcept(document: PeerAuthenticationDocument): Rule {
  const excepted = [...document.portLevelMtls]
    .filter(([, { value }]) => isPermissive(value))
    .map(([port]) => port);
  const clauses = excepted
    .sort((a, b) => a - b)
    .map((port): Clause => ({ matches: [{ ...emptyMatch, notDestinationPorts: [port] }] }));
  return { clauses: [noIdentity, ...clauses], location: document.mode.at };
}

/** One rule for each strict port. */
function strictPorts(document: PeerAuthenticationDocument): readonly Rule[] {
  const strict = [...document.portLevelMtls]
    .filter(([, { value }]) => value === "STRICT")
    .sort(([a], [b]) => a - b);
  return strict.map(([port, { at }]) => ({
    clauses: [
      { matches: [{ ...emptyMatch, notPrincipals: [{ kind: "presence" }], destinationPorts: [port] }] },
    ],
    location: at,
  }));
}

function isPermissive(mode: MutualTlsMode): boolean {
  return mode === "PERMISSIVE" || mode === "DISABLE";
}

/** NUL is in none of them. */
function labelKey(namespace: string, name: string, value: string): string {
  return `${namespace}\0${name}\0${value}`;
}

function labelKeys({ metadata, selector }: PeerAuthenticationDocument): string[] {
  return [...(selector ?? [])].map(([name, { value }]) => labelKey(metadata.namespace, name, value));
}

function hasSelector(document: PeerAuthenticationDocument): boolean {
  return document.selector !== null && document.selector.size > 0;
}

/** At each level the oldest counts; without creation times, the first in the order of documents. */
function oldest(documents: readonly PeerAuthenticationDocument[]): PeerAuthenticationDocument | null {
  let best: PeerAuthenticationDocument | null = null;
  for (const document of documents) {
    if (best === null || isOlder(document.metadata.createdMs, best.metadata.createdMs)) best = document;
  }
  return best;
}
