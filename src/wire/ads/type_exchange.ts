/** Responses of one type on one stream and what the client said to them. */
import { adsLimits } from "../../base/limits/rpc.ts";
import type { DeltaRequest } from "./delta.ts";
import type { ResponsePart } from "./response_parts.ts";

export interface Refusal {
  readonly nonce: string;
  readonly message: string;
  /** Monotonic. */
  readonly atMs: number;
}

export interface SubscriptionStatus {
  readonly typeUrl: string;
  readonly mode: "wildcard" | "on-demand";
  /** Names asked for. */
  readonly names: number;
  /** The server's revision of the type, and the last ones that were sent and taken; null for none yet. */
  readonly revision: number;
  readonly sentRevision: number | null;
  readonly acknowledgedRevision: number | null;
  /** Whether a response is unanswered, since when, and whether more waits behind it. */
  readonly unansweredSinceMs: number | null;
  readonly behind: boolean;
  readonly responses: number;
  readonly acknowledgements: number;
  readonly refusals: number;
  /** Answers to a response that was not the last one. */
  readonly stale: number;
  /** Kept after it was mended, for whoever asks what happened. */
  readonly lastRefusal: Refusal | null;
  /** Whether the last answer was one. */
  readonly refused: boolean;
}

export class TypeExchange {
  readonly #typeUrl: string;
  #unanswered: { readonly part: ResponsePart; readonly nonce: string; readonly sentAtMs: number } | null =
    null;
  #sentRevision: number | null = null;
  #acknowledgedRevision: number | null = null;
  #responses = 0;
  #acknowledgements = 0;
  #refusals = 0;
  #stale = 0;
  #lastRefusal: Refusal | null = null;
  #refused = false;

  constructor(typeUrl: string) {
    this.#typeUrl = typeUrl;
  }

  /** Since when a response has been without an answer. */
  get sentAtMs(): number | null {
    return this.#unanswered?.sentAtMs ?? null;
  }

  get acknowledgedRevision(): number | null {
    return this.#acknowledgedRevision;
  }

  onSent(part: ResponsePart, nonce: string, nowMs: number): void {
    this.#unanswered = { part, nonce, sentAtMs: nowMs };
    this.#sentRevision = part.revision;
    this.#responses++;
  }

  /** A request without a nonce answers nothing. One with another nonce than the last is stale, and ignored as istiod does. */
  onAnswer({ responseNonce, errorDetail }: DeltaRequest, nowMs: number): void {
    if (responseNonce === "") return;
    const answered = this.#unanswered;
    if (answered?.nonce !== responseNonce) {
      this.#stale++;
      return;
    }
    this.#unanswered = null;
    this.#refused = errorDetail !== undefined;
    if (errorDetail === undefined) {
      this.#acknowledgements++;
      this.#acknowledgedRevision = answered.part.revision;
      return;
    }
    this.#refusals++;
    const message = errorDetail.message.slice(0, adsLimits.maxErrorChars);
    this.#lastRefusal = { nonce: responseNonce, message, atMs: nowMs };
  }

  status(
    subscription: {
      readonly wildcard: boolean;
      readonly names: ReadonlySet<string>;
      readonly lacksAnything: boolean;
    },
    revision: number,
  ): SubscriptionStatus {
    return {
      typeUrl: this.#typeUrl,
      mode: subscription.wildcard ? "wildcard" : "on-demand",
      names: subscription.names.size,
      revision,
      sentRevision: this.#sentRevision,
      acknowledgedRevision: this.#acknowledgedRevision,
      unansweredSinceMs: this.sentAtMs,
      behind: subscription.lacksAnything,
      responses: this.#responses,
      acknowledgements: this.#acknowledgements,
      refusals: this.#refusals,
      stale: this.#stale,
      lastRefusal: this.#lastRefusal,
      refused: this.#refused,
    };
  }
}
