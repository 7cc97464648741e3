/** The outcome of one attempt, told once: by the answer's head, or by what went wrong before it. */
import { MeshError } from "../../base/errors.ts";
import { Body, type BodySource } from "../body.ts";
import type { Endpoint, Exchange, ResponseHead } from "../exchange.ts";
import type { Attempt, Outcome } from "../stages.ts";

type Flag = Extract<Outcome, { kind: "failed" }>["flag"];

export class PendingOutcome implements Attempt {
  readonly exchange: Exchange;
  readonly endpoint: Endpoint;
  #outcome: Outcome | null = null;
  #onOutcome: ((outcome: Outcome) => void) | null = null;
  /** Of the answer, once there is one. */
  #body: Body | null = null;
  #cancelled: MeshError | null = null;
  /** Tears down what carries the attempt; set by it. */
  onCancel: ((error: MeshError) => void) | null = null;
  /** The connection ended before a word of the answer, and the request may be sent again: called once, in the place of the outcome. */
  onUnanswered: (() => void) | null = null;

  constructor(exchange: Exchange, endpoint: Endpoint) {
    this.exchange = exchange;
    this.endpoint = endpoint;
    exchange.onAbort((error) => this.cancel(error));
  }

  get isSettled(): boolean {
    return this.#outcome !== null;
  }

  tell(onOutcome: (outcome: Outcome) => void): void {
    this.#onOutcome = onOutcome;
    if (this.#outcome !== null) this.#tell(this.#outcome);
  }

  #settle(outcome: Outcome): void {
    this.#outcome = outcome;
    if (this.#onOutcome !== null) this.#tell(outcome);
  }

  /** Not from within: whoever brings it is in the midst of a message. */
  #tell(outcome: Outcome): void {
    void atOnce.then(() => this.#onOutcome?.(outcome));
  }

  /** Why it was given up; null while it was not. */
  get cancelled(): MeshError | null {
    return this.#cancelled;
  }

  cancel(error: MeshError): void {
    if (this.#cancelled !== null) return;
    this.#cancelled = error;
    const { onCancel } = this;
    this.onCancel = null;
    onCancel?.(error);
    this.fail(error, "UT", true);
    this.#body?.fail(error);
  }

  interim(head: ResponseHead): void {
    if (this.#cancelled === null && !this.isSettled) this.exchange.onInterim?.(head);
  }

  /** The final head is there. @param source null for an answer without content. @returns its content, which the attempt fills. */
  answered(head: ResponseHead, source: BodySource | null): Body | null {
    if (this.isSettled) return null;
    this.#body = source === null ? null : new Body(source);
    this.#settle({ kind: "answered", head, body: this.#body });
    return this.#body;
  }

  /** No answer comes, or not all of it. */
  fail(error: MeshError, flag: Flag, mayHaveActed: boolean): void {
    if (this.isSettled) {
      this.#body?.fail(error);
      return;
    }
    const { onUnanswered } = this;
    if (onUnanswered !== null && flag === "UC" && this.#cancelled === null) {
      this.onUnanswered = null;
      onUnanswered();
      return;
    }
    this.#settle({ kind: "failed", error, flag, mayHaveActed });
  }
}

const atOnce = Promise.resolve();

export function upstreamGone(): MeshError {
  return new MeshError(
    "connection_closed",
    "upstream",
    "the upstream closed its connection before the answer's end",
  );
}
