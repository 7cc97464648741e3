/**
 * What the stages of the pipeline look like. Each has one owner and knows no other; `app.ts` puts them in order. A stage that has
 * nothing to wait for returns its verdict, not a promise: most requests then wait for nothing but the upstream.
 */
import type { Context } from "hono";
import type { MeshError } from "../base/errors.ts";
import type { Body } from "./body.ts";
import type { Downstream, Endpoint, Exchange, LocalReply, ResponseHead } from "./exchange.ts";
import type { RequestPermit } from "./request_permit.ts";

/**
 * A middleware of users, with its bounds around it. Either calls `onDone` once, and may do so from within; promises are for users' code.
 *
 * @param next goes on behind it, once.
 */
export type UserStage = (c: Context, next: (onDone: OnDone) => void, onDone: OnDone) => void;

/** @param error of what is behind the middleware, which it did not cause; null for none. `c.res` is the answer then. */
export type OnDone = (error: { readonly thrown: unknown } | null) => void;

/** Null: it goes on. */
export type Verdict = LocalReply | null;
export type Stage = (exchange: Exchange) => Verdict | Promise<Verdict>;

/** How one attempt to send a request on ended. */
export type Outcome =
  | { readonly kind: "answered"; readonly head: ResponseHead; readonly body: Body | null }
  | {
      readonly kind: "failed";
      readonly error: MeshError;
      /** Envoy's short code: `UF` not connected, `UC` connection ended, `UR` stream reset, `UPE` protocol error, `UO` too many connections. */
      readonly flag: "UF" | "UC" | "UR" | "UPE" | "UT" | "UO";
      /** Whether the upstream may have acted on the request: false when nothing of it was sent, or it was refused unread (RFC 9113 §8.7). */
      readonly mayHaveActed: boolean;
    };

export interface Attempt {
  /** When the final head is there, or none will come: once, and never from within what brings it. To be called once. */
  tell(onOutcome: (outcome: Outcome) => void): void;
  /** Gives it up, also after its outcome: the answer's body fails then. */
  cancel(error: MeshError): void;
}

/** Sends the request on, once. The exchange's body is taken; for another attempt it is to be rewound (`Body.keep`, `Body.rewind`). */
export type Forward = (exchange: Exchange, endpoint: Endpoint) => Attempt;

/** The same for whoever carries it out: a request without a permit cannot be sent. */
export type PermittedForward = (exchange: Exchange, endpoint: Endpoint, permit: RequestPermit) => Attempt;

/** Why something that is open ends before its time. */
export interface Ending {
  readonly error: MeshError;
  /** For a request that is not answered yet. */
  readonly reply: LocalReply;
}

/** Which endpoint is next. @param tried of this exchange, in order. */
export type Balance = (exchange: Exchange, tried: readonly Endpoint[]) => Endpoint | LocalReply;

/** Who calls, and whether they may. */
export interface AuthStages {
  readonly authenticate: Stage;
  /** Sets `permit`, or answers. */
  readonly authorize: Stage;
  /** Whether an open exchange may go on, after policy, token or trust changed. */
  readonly recheck: (exchange: Exchange) => Ending | null;
  /** Whether a connection that is not HTTP, or not read, may be carried. */
  readonly admit: (
    downstream: Downstream,
  ) => LocalReply | RequestPermit | Promise<LocalReply | RequestPermit>;
  /** Whether one that is carried may go on. */
  readonly recheckConnection: (permit: RequestPermit) => Ending | null;
}

export interface Stages extends AuthStages {
  /** Telemetry: a request begins; its end, whatever it was. */
  readonly begin: (exchange: Exchange) => void;
  readonly end: (exchange: Exchange) => void;
  /** Of users, for the service that is called; outermost first. */
  readonly middleware: (exchange: Exchange) => readonly UserStage[];
  /** Sets `rule` and `destination`, or answers (redirects, direct answers, preflights). */
  readonly route: Stage;
  /** Rate limits: they may depend on the rule. */
  readonly limit: Stage;
  /** Changes the head that is sent on. */
  readonly rewrite: Stage;
  readonly fault: Stage;
  /** Retries, time-outs, circuits: sends on by `forward` to what `balance` gives, and sets `response` and `responseBody`, or answers. */
  readonly attempt: (exchange: Exchange, forward: Forward) => Promise<Verdict>;
  /** Changes the head of the answer, our own answers' too. */
  readonly respond: (exchange: Exchange) => void;
  /** Where a connection that is not HTTP goes. */
  readonly connect: (downstream: Downstream) => Endpoint | LocalReply;
}
