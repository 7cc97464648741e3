/**
 * The server's side of one delta ADS stream, without the stream: requests in, responses out, one unanswered response a type at most.
 * Policies go out before the workloads that name them, and are taken back after them (`assert_rbac` of ztunnel
 * `src/state.rs` ignores a name it does not know, which allows).
 */
import { adsLimits } from "../../base/limits/rpc.ts";
import { TokenBucket } from "../../base/token_bucket.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import { addressType, authorizationType, type DeltaRequest } from "./delta.ts";
import { HeldResources } from "./held_resources.ts";
import { ResourceSet } from "./resource_set.ts";
import type { ResponseEncoder, ResponsePart } from "./response_parts.ts";
import { ServerSubscription, TooFarBehind } from "./server_subscription.ts";
import { type SubscriptionStatus, TypeExchange } from "./type_exchange.ts";

export type SessionLimits = {
  readonly [Name in
    | "maxNamesPerStream"
    | "maxNameChars"
    | "maxTypesPerStream"
    | "maxInitialVersions"
    | "responseBytes"
    | "firstResponseBytes"
    | "acknowledgeTimeoutMs"
    | "policiesFirstMs"]: number;
} & { readonly requests: { readonly burst: number; readonly perSecond: number } };

/** Why the stream has to end. */
export interface SessionFault {
  readonly kind: "invalid" | "flood" | "timeout" | "behind";
  readonly message: string;
}

interface Subscribed {
  readonly subscription: ServerSubscription;
  readonly exchange: TypeExchange;
  readonly set: ResourceSet;
  readonly sinceMs: number;
}

export interface OutgoingResponse {
  readonly typeUrl: string;
  readonly nonce: string;
  /** A whole `DeltaDiscoveryResponse`; others may be sent the same bytes. */
  readonly bytes: Uint8Array;
  readonly resources: number;
  readonly removed: number;
}

export class DeltaSession {
  readonly #sets: ReadonlyMap<string, ResourceSet>;
  readonly #encoder: ResponseEncoder;
  readonly #implicit: readonly string[];
  readonly #limits: SessionLimits;
  readonly #rate: TokenBucket;
  readonly #types = new Map<string, Subscribed>();

  /**
   * @param sets by type; a type that is not among them is answered and stays empty.
   * @param implicit groups whose members an on-demand client is given unasked.
   */
  constructor(
    sets: ReadonlyMap<string, ResourceSet>,
    encoder: ResponseEncoder,
    implicit: readonly string[] = [],
    limits: SessionLimits = adsLimits,
  ) {
    this.#sets = sets;
    this.#encoder = encoder;
    this.#implicit = implicit;
    this.#limits = limits;
    this.#rate = new TokenBucket(limits.requests);
  }

  /**
   * Looks at a request before it is taken, in steps: what of all it names its client holds. It is taken by `onRequest` next, with nothing of
   * the stream in between.
   */
  *look<Request extends DeltaRequest>(request: Request): Generator<void, Request> {
    const { heldEntries, typeUrl } = request;
    if (heldEntries === undefined || this.#types.has(typeUrl)) return request;
    if (heldEntries.count > this.#limits.maxInitialVersions) return request;
    const set = this.#sets.get(typeUrl) ?? new ResourceSet(typeUrl);
    return { ...request, held: yield* HeldResources.look(set, heldEntries) };
  }

  /** @param nowMs monotonic. @returns why the stream has to end, or null. */
  onRequest(request: DeltaRequest, nowMs: number): SessionFault | null {
    if (!this.#rate.take(nowMs)) return { kind: "flood", message: "too many requests on one stream" };
    const known = this.#types.get(request.typeUrl);
    const fault = this.#check(request, known);
    if (fault !== null) return { kind: "invalid", message: fault };
    if (known === undefined) this.#begin(request, nowMs);
    else {
      // A stale nonce answers nothing any more; the names beside it are still what the client wants.
      known.exchange.onAnswer(request, nowMs);
      known.subscription.update(request);
    }
    return null;
  }

  /**
   * The next response that may be sent now; to be asked again until null after each request, each change, and when there is room.
   *
   * @param isMeshSettled false: addresses and policies are being changed, and cannot be read.
   * @returns null when there is none, a fault when this stream cannot be brought up to date.
   */
  next(nowMs: number, isMeshSettled = true): OutgoingResponse | SessionFault | null {
    try {
      for (const typeUrl of this.#order(isMeshSettled)) {
        const type = this.#types.get(typeUrl);
        const part = type === undefined ? null : this.#nextOf(typeUrl, type, nowMs);
        if (type !== undefined && part !== null) return this.#send(type, part, nowMs);
      }
      return null;
    } catch (thrown) {
      if (thrown instanceof TooFarBehind) return { kind: "behind", message: thrown.message };
      throw thrown;
    }
  }

  /** When `tick` or `next` has something to do although nothing happened; null for never. */
  deadlineMs(nowMs: number): number | null {
    const deadlines = [...this.#types.values()].flatMap(({ exchange }) =>
      exchange.sentAtMs === null ? [] : [exchange.sentAtMs + this.#limits.acknowledgeTimeoutMs],
    );
    const grace = this.#otherTypeAwaitedUntilMs();
    if (grace !== null && nowMs < grace) deadlines.push(grace);
    return deadlines.length === 0 ? null : Math.min(...deadlines);
  }

  tick(nowMs: number): SessionFault | null {
    for (const [typeUrl, { exchange }] of this.#types) {
      if (exchange.sentAtMs === null || nowMs < exchange.sentAtMs + this.#limits.acknowledgeTimeoutMs)
        continue;
      return { kind: "timeout", message: `no answer to a response of type ${typeUrl}` };
    }
    return null;
  }

  status(): readonly SubscriptionStatus[] {
    return [...this.#types.values()].map(({ subscription, exchange, set }) =>
      exchange.status(subscription, set.revision),
    );
  }

  /** The revision of a type that the client took last, every response before it answered; null for none yet. */
  acknowledgedRevision(typeUrl: string): number | null {
    return this.#types.get(typeUrl)?.exchange.acknowledgedRevision ?? null;
  }

  #begin(request: DeltaRequest, nowMs: number): void {
    const { typeUrl } = request;
    const set = this.#sets.get(typeUrl) ?? new ResourceSet(typeUrl);
    const { heldEntries } = request;
    const held =
      request.held ?? (heldEntries === undefined ? null : runSteps(HeldResources.look(set, heldEntries)));
    const subscription = new ServerSubscription(set, request, held, this.#implicit, this.#limits);
    this.#types.set(typeUrl, { subscription, exchange: new TypeExchange(typeUrl), set, sinceMs: nowMs });
  }

  #check(request: DeltaRequest, known: Subscribed | undefined): string | null {
    if (request.typeUrl === "") return "a request without a type";
    const { maxTypesPerStream, maxNameChars, maxNamesPerStream, maxInitialVersions } = this.#limits;
    const names = [...request.resourceNamesSubscribe, ...request.resourceNamesUnsubscribe];
    if ([request.typeUrl, ...names].some((name) => name.length > maxNameChars)) return "a name is too long";
    if (known === undefined && this.#types.size >= maxTypesPerStream) return "too many types on one stream";
    const subscribed = [...this.#types.values()].reduce((sum, type) => sum + type.subscription.names.size, 0);
    if (subscribed + request.resourceNamesSubscribe.length > maxNamesPerStream)
      return "too many names on one stream";
    const held = request.heldEntries?.count ?? Object.keys(request.initialResourceVersions).length;
    if (held > maxInitialVersions) return "too many initial versions";
    return null;
  }

  /** Types without an order among them first: roots before what is signed by them. */
  #order(isMeshSettled: boolean): readonly string[] {
    const others = [...this.#types.keys()].filter(
      (each) => each !== addressType && each !== authorizationType,
    );
    return isMeshSettled ? [...others, authorizationType, addressType, authorizationType] : others;
  }

  #nextOf(typeUrl: string, { subscription, exchange }: Subscribed, nowMs: number): ResponsePart | null {
    if (exchange.sentAtMs !== null) return null;
    if (subscription.inParts) return subscription.next("everything");
    if (typeUrl === addressType && this.#policiesMissing(nowMs)) return null;
    if (typeUrl === authorizationType && this.#addressesBehind(nowMs)) {
      return subscription.lacksUpserts ? subscription.next("upserts") : null;
    }
    return subscription.next("everything");
  }

  /** Whether policies that workloads may name have not been sent yet. */
  #policiesMissing(nowMs: number): boolean {
    const policies = this.#types.get(authorizationType);
    if (policies !== undefined) return policies.subscription.lacksUpserts;
    return this.#awaitsOtherType(nowMs);
  }

  /** Whether workloads that may name policies which are gone have not been sent again yet. */
  #addressesBehind(nowMs: number): boolean {
    return this.#types.get(addressType)?.subscription.lacksAnything ?? this.#awaitsOtherType(nowMs);
  }

  #awaitsOtherType(nowMs: number): boolean {
    const until = this.#otherTypeAwaitedUntilMs();
    return until !== null && nowMs < until;
  }

  /**
   * Of policies and addresses one has been asked for: the other is awaited, since order between them is kept only among what is known
   * to be wanted (ztunnel asks for both right after another, addresses first). Not for ever: some ask for one alone.
   */
  #otherTypeAwaitedUntilMs(): number | null {
    const policies = this.#types.get(authorizationType);
    const addresses = this.#types.get(addressType);
    const only = policies ?? addresses;
    if (only === undefined || (policies !== undefined && addresses !== undefined)) return null;
    if (!only.subscription.lacksAnything) return null;
    return only.sinceMs + this.#limits.policiesFirstMs;
  }

  #send({ exchange }: Subscribed, part: ResponsePart, nowMs: number): OutgoingResponse {
    const { nonce, bytes } = part.encoded(this.#encoder);
    exchange.onSent(part, nonce, nowMs);
    const { typeUrl, resources, removed } = part;
    return { typeUrl, nonce, bytes, resources: resources.length, removed: removed.length };
  }
}
