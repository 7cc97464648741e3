/**
 * Authentication and authorization of a waypoint as stages of its pipeline. Without documents nothing passes; with new ones every request
 * that comes is decided by them, and those that are open are decided again.
 */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { DocumentsInForce } from "../../mesh/documents/in_force.ts";
import type { ExternalAuthorizer, PathNormalization } from "../../mesh/documents/security.ts";
import { formatLocation } from "../../mesh/location.ts";
import type { Downstream, Exchange, Fields, LocalReply } from "../exchange.ts";
import { localReply } from "../local_reply.ts";
import {
  describeRequestDenial,
  mintRequestPermit,
  type PermitGrounds,
  type RequestDenial,
  type RequestPermit,
} from "../request_permit.ts";
import type { AuthStages, Ending, Verdict } from "../stages.ts";
import type { AcceptedToken, Authenticated } from "./authentication.ts";
import { type Consultation, consultations, decideLocally, notesOn, ruleDenial } from "./authorization.ts";
import type { AskAuthorizer, AuthorizerAnswer } from "./authorizer.ts";
import { sampleBody } from "./body_sample.ts";
import type { KeyReader } from "./issuer_keys.ts";
import type { DryRunNote } from "./policy_sections.ts";
import { deniedReply, failed, missing, refuse } from "./refusals.ts";
import { factsOfConnection, factsOfRequest, type RequestFacts } from "./request_facts.ts";
import { type MeshFacts, type RuleSet, RuleSets, type TargetRules } from "./target_rules.ts";
import { withoutFields } from "./token_locations.ts";

export interface WaypointAuthOptions extends KeyReader, MeshFacts {
  readonly ask: AskAuthorizer;
}

const clientCertificate = "x-forwarded-client-cert";
const noFields: Fields = [];
const anonymous: Authenticated = { user: null, tokens: [] };

export class WaypointAuth implements AuthStages {
  readonly #options: WaypointAuthOptions;
  readonly #sets: RuleSets;
  #rules: RuleSet | null = null;
  /** Counts the sets of rules that were in force. */
  version = 0;
  #pending: DocumentsInForce | null = null;
  #running: Promise<void> | null = null;
  readonly #authenticated = new WeakMap<Exchange, Authenticated>();

  constructor(options: WaypointAuthOptions) {
    this.#options = options;
    this.#sets = new RuleSets(options, options);
  }

  /** What is done to paths before anything matches them; Istio's default while nothing is said. */
  get pathNormalization(): PathNormalization {
    return this.#rules?.config?.pathNormalization ?? "BASE";
  }

  /** `namespace/name` of the AuthorizationPolicies for workloads that are enforced here, in sidecar mode. */
  get workloadPolicies(): ReadonlySet<string> {
    return this.#rules?.workloadPolicies ?? none;
  }

  /** Puts the documents in force, in slices. Of several that come meanwhile the last counts. */
  update(documents: DocumentsInForce): Promise<void> {
    this.#pending = documents;
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #run(): Promise<void> {
    for (;;) {
      const documents = this.#pending;
      if (documents === null) return;
      this.#pending = null;
      try {
        const rules = await this.#sets.make(documents, new TimeSlice(this.#options.clock));
        this.#rules = rules;
        this.version++;
        this.#warn(rules);
      } catch (thrown) {
        // Whatever the documents are like, they are read by now: this is a bug of ours, and the rules of before stay in force.
        const { message } = asMeshError(thrown, "bug", "local");
        this.#options.logger.log("error", "bug", "please report this: rules could not be made", {
          error: message,
        });
      }
    }
  }

  /** What documents say that can only deny. */
  #warn(rules: RuleSet): void {
    const { logger } = this.#options;
    for (const { key, index, location, flaw } of rules.flawedConditions())
      logger.log("warn", "policy", "a condition cannot be used, and denies what it is for", {
        ...{ resource: key, condition: index, at: formatLocation(location), reason: flaw },
      });
    for (const provider of rules.missingAuthorizers())
      logger.log(
        "warn",
        "policy",
        "the mesh has no authorizer of this name; what is to be asked of it is denied",
        {
          provider,
        },
      );
  }

  /** The stage of authentication: what claims an identity is taken off, the end user is known after it. */
  readonly authenticate = (exchange: Exchange): Verdict | Promise<Verdict> => {
    const { request, downstream } = exchange;
    const rules = this.#rulesOf(downstream);
    if (rules === null) return this.#first(() => this.authenticate(exchange));
    // Of a client's own side nothing is known that its words could be checked against: whoever serves the request does.
    if (downstream.place.side === "outbound") return null;
    tellPeer(exchange, rules.tellsPeer);
    const result = rules.authentication.run(request);
    if (result instanceof Promise) return result.then((later) => this.#know(exchange, later));
    return this.#know(exchange, result);
  };

  /** The stage of authorization: the exchange has a permit after it, or is answered. */
  readonly authorize = (exchange: Exchange): Verdict | Promise<Verdict> => {
    const { downstream, request } = exchange;
    const facts = factsOfRequest(
      downstream,
      request,
      exchange.user,
      this.#rules?.config?.trustedProxies ?? 0,
    );
    const { tokens } = this.#authenticated.get(exchange) ?? anonymous;
    const decided = this.#decide({ downstream, facts, tokens }, exchange);
    return decided instanceof Promise
      ? decided.then((later) => permitted(exchange, later))
      : permitted(exchange, decided);
  };

  /** Whether a connection that is not HTTP may be carried. */
  readonly admit = (downstream: Downstream): Decided | Promise<Decided> =>
    this.#decide({ downstream, facts: factsOfConnection(downstream), tokens: [] }, null);

  /** Whether an open exchange may go on. One that is not decided yet is decided by the rules of then. */
  readonly recheck = (exchange: Exchange): Ending | null => this.recheckConnection(exchange.permit);

  readonly recheckConnection = (permit: RequestPermit | null): Ending | null => {
    const denial = permit?.recheck(this.#options.clock.wallMs()) ?? null;
    if (denial === null) return null;
    const isToken = denial.reason === "token_expired" || denial.reason === "token_withdrawn";
    const error = new MeshError(
      isToken ? "token_ended" : "policy_changed",
      "policy",
      describeRequestDenial(denial),
    );
    return { error, reply: refuse(denial, isToken ? 401 : 403) };
  };

  /** What comes while the first rules are being made waits for them; without any to come, nothing passes. */
  #first<T>(then: () => T | Promise<T>): LocalReply | Promise<T> {
    return this.#running === null ? unknownPolicies : this.#running.then(then);
  }

  #rulesOf(downstream: Downstream): TargetRules | null {
    return this.#rules?.rulesOf(downstream) ?? null;
  }

  #know(exchange: Exchange, result: Authenticated | LocalReply): Verdict {
    if (!("tokens" in result)) return result;
    exchange.user = result.user;
    if (result.tokens.length > 0) this.#authenticated.set(exchange, result);
    return null;
  }

  #decide(subject: Subject, exchange: Exchange | null): Decided | Promise<Decided> {
    const rules = this.#rulesOf(subject.downstream);
    if (rules === null) return this.#first(() => this.#decide(subject, exchange));
    if (subject.downstream.place.side === "outbound")
      return mintRequestPermit({ ...ownCall, version: this.version }, () => null);
    const asked = consultations(rules, subject.facts, this.#rules?.config ?? null);
    if (asked.length > 0) return this.#consult(subject, exchange);
    return this.#decideLocally(subject, rules, none, noFields);
  }

  /** Asks whoever has to be asked, until no rule in force wants another. */
  async #consult(subject: Subject, exchange: Exchange | null): Promise<Decided> {
    const answered = new Set<string>();
    const responseFields: Fields = [];
    for (;;) {
      const rules = this.#rulesOf(subject.downstream);
      if (rules === null) return unknownPolicies;
      const next = consultations(rules, subject.facts, this.#rules?.config ?? null).find(
        ({ authorizer }) => authorizer === null || !answered.has(authorizerKey(authorizer)),
      );
      // Decided on what the request was when it came: an authorizer's headers must not open other rules.
      if (next === undefined) return this.#decideLocally(subject, rules, answered, responseFields);
      const { authorizer } = next;
      if (authorizer === null) return refuse(missing(next));
      const refusal =
        exchange === null
          ? await this.#askOfConnection(subject.downstream, next, authorizer)
          : await this.#askOfRequest(exchange, next, authorizer, responseFields);
      if (refusal !== null) return refusal;
      answered.add(authorizerKey(authorizer));
    }
  }

  async #askOfRequest(
    exchange: Exchange,
    consultation: Consultation,
    authorizer: ExternalAuthorizer,
    responseFields: Fields,
  ): Promise<LocalReply | null> {
    const { downstream, request } = exchange;
    const { body } = authorizer;
    const sample = body === null ? nothing : await sampleBody(exchange, body.maxBytes);
    if (sample === null) return refuse(failed(consultation, "the request's content broke off"));
    if (body !== null && !sample.isWhole && !body.allowPartial)
      return localReply(
        413,
        "UAEX",
        "Payload Too Large",
        `the content is more than ${authorizer.name} is shown`,
      );
    const question = { downstream, head: request, body: sample.bytes, isWholeBody: sample.isWhole };
    const answer = await this.#options.ask(authorizer, question);
    switch (answer.kind) {
      case "denied":
        return deniedReply(consultation, answer);
      case "failed":
        return authorizer.failOpen
          ? null
          : refuse(failed(consultation, answer.reason), authorizer.statusOnError);
      case "allowed":
        applyChanges(exchange, answer);
        responseFields.push(...answer.responseFields);
        return null;
    }
  }

  async #askOfConnection(
    downstream: Downstream,
    consultation: Consultation,
    authorizer: ExternalAuthorizer,
  ): Promise<LocalReply | null> {
    if (authorizer.kind === "http")
      return refuse(failed(consultation, "it is asked about HTTP requests alone"));
    const question = { downstream, head: null, body: nothing.bytes, isWholeBody: true };
    const answer = await this.#options.ask(authorizer, question);
    if (answer.kind === "denied")
      return refuse(ruleDenial("denied_by_authorizer", consultation.match, authorizer.name));
    if (answer.kind === "failed" && !authorizer.failOpen) return refuse(failed(consultation, answer.reason));
    return null;
  }

  #decideLocally(
    subject: Subject,
    rules: TargetRules,
    answered: ReadonlySet<string>,
    responseFields: Fields,
  ): Decided {
    const nowMs = this.#options.clock.wallMs();
    const decision = decideLocally(rules, subject.facts, nowMs);
    if (rules.hasNotes) this.#note(rules, subject, nowMs);
    if (!decision.allowed) return refuse(decision.denial);
    const expiresAtMs = endOf(subject.tokens, nowMs);
    const grounds = { policy: decision.policy, version: this.version, expiresAtMs, responseFields };
    return this.#permit(subject, grounds, answered);
  }

  /** What has no effect is told all the same: that is what it is for. */
  #note(rules: TargetRules, { facts, downstream }: Subject, nowMs: number): void {
    for (const { policy, rule, action } of notesOn(rules, facts, nowMs))
      this.#options.logger.log("info", "policy", describeNote(action, rule), {
        ...{
          policy,
          rule,
          "src.identity": downstream.peer?.uri ?? null,
          method: facts.http?.method,
          path: facts.http?.path,
        },
      });
  }

  #permit(
    { downstream, facts, tokens }: Subject,
    grounds: PermitGrounds,
    answered: ReadonlySet<string>,
  ): RequestPermit {
    let decidedBy = this.#rules;
    return mintRequestPermit(grounds, (nowMs) => {
      const rules = this.#rulesOf(downstream);
      if (rules === null) return null;
      const ended = endedToken(rules, tokens, grounds, nowMs);
      if (ended !== null) return ended;
      // Nothing but the time has changed, and only conditions look at it.
      if (this.#rules === decidedBy && !rules.hasConditions) return null;
      for (const consultation of consultations(rules, facts, this.#rules?.config ?? null)) {
        const { authorizer } = consultation;
        if (authorizer === null || !answered.has(authorizerKey(authorizer)))
          return failed(
            consultation,
            "it has to be asked since policy changed, and is asked when a request begins",
          );
      }
      const decision = decideLocally(rules, facts, nowMs);
      if (!decision.allowed) return decision.denial;
      decidedBy = this.#rules;
      return null;
    });
  }
}

/** Policies are about who is called: they are enforced there, and not by who calls. */
const ownCall = { policy: null, expiresAtMs: null, responseFields: noFields };

/** What is decided about. */
interface Subject {
  readonly downstream: Downstream;
  readonly facts: RequestFacts;
  readonly tokens: readonly AcceptedToken[];
}

type Decided = LocalReply | RequestPermit;

const none: ReadonlySet<string> = new Set();
function describeNote(action: DryRunNote["action"], rule: number | null): string {
  if (action === "AUDIT") return "audited";
  if (action === "DENY") return "dry run: this would have been denied";
  return rule === null ? "dry run: no rule would have allowed this" : "dry run: this would have been allowed";
}

/** By all that it says: one that was only written again is the same. */
function authorizerKey({ at: _, ...said }: ExternalAuthorizer): string {
  return JSON.stringify(said, (_name, value: unknown) => (value instanceof Map ? [...value] : value));
}

const nothing = { bytes: new Uint8Array(0), isWhole: true };

function permitted(exchange: Exchange, decided: Decided): Verdict {
  if (!("grounds" in decided)) return decided;
  exchange.permit = decided;
  return null;
}

const unknownPolicies = localReply(503, "UAEX", "", "no policy is known yet, so nothing is let through");

/** Peers are known by their certificates alone: what a request says of them is taken off (Envoy `forward_client_cert_details`). */
function tellPeer({ request, downstream: { waypoint, peer } }: Exchange, isAsked: boolean): void {
  if (request.fields.includes(clientCertificate))
    request.fields = withoutFields(request.fields, [clientCertificate]);
  if (isAsked && peer !== null)
    request.fields.push(clientCertificate, `By=${waypoint.identity.uri};URI=${peer.uri}`);
}

function applyChanges(
  { request }: Exchange,
  { changes, removed }: AuthorizerAnswer & { kind: "allowed" },
): void {
  if (removed.length > 0) request.fields = withoutFields(request.fields, removed);
  for (const { name, value, append } of changes) {
    if (!append) request.fields = withoutFields(request.fields, [name]);
    request.fields.push(name, value);
  }
}

/** When the first of the tokens is over. One that was accepted within the skew of clocks is not cut at once. */
function endOf(tokens: readonly AcceptedToken[], nowMs: number): number | null {
  let end: number | null = null;
  for (const { verified } of tokens) {
    const { expiresAtMs } = verified.user;
    if (expiresAtMs === null) continue;
    const own = nowMs < expiresAtMs ? expiresAtMs : verified.believedUntilMs;
    end = end === null ? own : Math.min(end, own);
  }
  return end;
}

function endedToken(
  rules: TargetRules,
  tokens: readonly AcceptedToken[],
  { expiresAtMs }: PermitGrounds,
  nowMs: number,
): RequestDenial | null {
  const denial = (reason: "token_expired" | "token_withdrawn", detail: string): RequestDenial => {
    return { reason, policy: null, rule: null, location: null, detail };
  };
  if (expiresAtMs !== null && nowMs >= expiresAtMs) return denial("token_expired", "");
  for (const { verified, verifier } of tokens) {
    const { issuer } = verified.user;
    if (!rules.authentication.verifiers.includes(verifier))
      return denial("token_withdrawn", `its issuer ${issuer} is not believed here any more`);
    if (!verifier.stillHolds(verified))
      return denial("token_withdrawn", `the keys of ${issuer} do not check it any more`);
  }
  return null;
}
