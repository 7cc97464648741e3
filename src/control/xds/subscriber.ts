/** One client's stream: who it is, then requests into its session and responses out while there is room. */
import { pkiLimits } from "../../base/limits/pki.ts";
import { adsLimits } from "../../base/limits/rpc.ts";
import type { Logger } from "../../base/log.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Clock, Timer } from "../../host/host.ts";
import { trustBundleType } from "../../wire/ads/delta.ts";
import type { DeltaSession, SessionFault } from "../../wire/ads/server_session.ts";
import type { SubscriptionStatus } from "../../wire/ads/type_exchange.ts";
import type { DeltaRequestMessage } from "../../wire/grpc/delta_request.ts";
import type { ServerStream, StreamEvents } from "../../wire/grpc/server_stream.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import type { DeltaDiscoveryResponse } from "../../wire/messages/envoy_discovery.gen.ts";
import { type Caller, callerName } from "../identity/caller.ts";
import { checkNode, type NodeInfo, readNode } from "./node_info.ts";
import type { XdsMetrics } from "./xds_metrics.ts";

/** The part of a `ServerStream` that is used here. */
export type XdsStream = Pick<
  ServerStream<DeltaRequestMessage, DeltaDiscoveryResponse, unknown>,
  "sendEncoded" | "end" | "aboveHighWater" | "pause" | "resume"
>;

export interface SubscriberStatus {
  /** As in the audit log. */
  readonly caller: string;
  readonly kind: Caller["kind"];
  readonly node: NodeInfo;
  /** Wall clock. */
  readonly connectedAtMs: number;
  readonly types: readonly SubscriptionStatus[];
  /** Its connection does not take more at the moment. */
  readonly stalled: boolean;
}

/** What a subscriber needs of the server. */
export interface SubscriberHost {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: XdsMetrics;
  /** @returns null while the caller may still be believed. */
  recheck(caller: Caller): string | null;
  openSession(info: NodeInfo, caller: Caller): DeltaSession;
  /** Why the caller may not have a type; a type that is not known is answered with nothing instead, as istiod does. */
  refuseType(typeUrl: string, caller: Caller, info: NodeInfo): GrpcError | null;
  /** False while the mesh's resources are being changed: they are not sent then, and `pump` is called after it. */
  isSettled(): boolean;
  /** It is known who calls. @throws GrpcError when they have their share of streams. */
  onKnown(subscriber: Subscriber, caller: Caller): void;
  /** @throws GrpcError when there is no room for it. */
  onIdentified(subscriber: Subscriber): void;
  onClosed(subscriber: Subscriber): void;
}

export class Subscriber implements StreamEvents<DeltaRequestMessage> {
  readonly #host: SubscriberHost;
  readonly #stream: XdsStream;
  #caller: Caller | null = null;
  #identified: { readonly info: NodeInfo; readonly session: DeltaSession; readonly atMs: number } | null =
    null;
  #timer: Timer | null = null;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #credentialEnd: Timer | null = null;
  #closed = false;
  #isWaiting = false;

  /** Its address, as `networkSource` says. */
  readonly source: string;

  /** @param caller settles once it is known who calls; until then nothing of the stream is read. */
  constructor(host: SubscriberHost, stream: XdsStream, source: string, caller: Promise<Caller>) {
    this.#host = host;
    this.source = source;
    this.#stream = stream;
    stream.pause();
    this.#timer = host.clock.setTimer(adsLimits.firstRequestTimeoutMs, () => {
      this.#end(new GrpcError(grpcCode.deadlineExceeded, "no first request came"));
    });
    caller.then(
      (known) => {
        this.#known(known);
      },
      (thrown) => this.#end(thrown instanceof GrpcError ? thrown : internal()),
    );
  }

  #known(caller: Caller): void {
    if (this.#closed) return;
    try {
      this.#host.onKnown(this, caller);
    } catch (thrown) {
      if (!(thrown instanceof GrpcError)) throw thrown;
      this.#host.logger.log("warn", "xds", "stream refused", {
        caller: callerName(caller),
        reason: thrown.message,
      });
      this.#end(thrown);
      return;
    }
    this.#caller = caller;
    // Whoever is revoked has their streams cut; this one, which had no caller until now, was passed over.
    if (this.#host.recheck(caller) !== null) {
      this.#end(new GrpcError(grpcCode.unauthenticated, "the credential was revoked"));
      return;
    }
    this.#credentialEnd = whenCredentialEnds(this.#host.clock, caller, () => {
      this.#host.logger.log("info", "xds", "the token of a stream has expired", {
        caller: callerName(caller),
      });
      this.#end(
        new GrpcError(
          grpcCode.unavailable,
          "the token of this stream has expired; connect again with a new one",
        ),
      );
    });
    this.#stream.resume();
  }

  get caller(): Caller | null {
    return this.#caller;
  }

  get node(): NodeInfo | null {
    return this.#identified?.info ?? null;
  }

  onMessage(request: DeltaRequestMessage): void {
    if (this.#closed) return;
    const session = this.#identified?.session ?? this.#identify(request);
    if (session === null || this.#caller === null) return;
    const info = this.#identified?.info;
    const refusal = info === undefined ? null : this.#host.refuseType(request.typeUrl, this.#caller, info);
    if (refusal !== null) {
      this.#end(refusal);
      return;
    }
    if (request.heldEntries === undefined) this.#take(session, request);
    else this.#lookAndTake(session, request);
  }

  /** Whoever holds much is looked at in slices; the stream's next request comes after that. */
  #lookAndTake(session: DeltaSession, request: DeltaRequestMessage): void {
    this.#stream.pause();
    void new TimeSlice(this.#host.clock).run(session.look(request)).then((looked) => {
      if (this.#closed) return;
      this.#take(session, looked);
      this.#stream.resume();
    });
  }

  #take(session: DeltaSession, request: DeltaRequestMessage): void {
    const fault = session.onRequest(request, this.#host.clock.now());
    if (fault !== null) {
      this.#fail(fault);
      return;
    }
    this.#tellOfRefusal(request);
    this.pump();
  }

  onHalfClose(): void {
    this.#end(null);
  }

  onWritable(): void {
    this.pump();
  }

  onClose(): void {
    this.#close();
  }

  /** Whether it could not be looked at while resources were being changed. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /** Sends what may be sent. Called after each push, so it has to be cheap when there is nothing. */
  pump(): void {
    const session = this.#identified?.session;
    if (session === undefined || this.#closed) return;
    const isSettled = this.#host.isSettled();
    this.#isWaiting = !isSettled;
    const nowMs = this.#host.clock.now();
    while (!this.#stream.aboveHighWater) {
      const next = session.next(nowMs, isSettled);
      if (next === null) break;
      if ("kind" in next) {
        this.#fail(next);
        return;
      }
      this.#host.metrics.sent(next);
      this.#stream.sendEncoded(next.bytes);
    }
    this.#arm(session, nowMs);
  }

  /** Ends the stream from our side. */
  cut(error: GrpcError): void {
    this.#end(error);
  }

  status(): SubscriberStatus | null {
    if (this.#identified === null || this.#caller === null) return null;
    const { info, session, atMs } = this.#identified;
    return {
      caller: callerName(this.#caller),
      kind: this.#caller.kind,
      node: info,
      connectedAtMs: atMs,
      types: session.status(),
      stalled: this.#stream.aboveHighWater,
    };
  }

  /** The revision of the trust bundle that it took last; null for none. */
  get trustRevision(): number | null {
    return this.#identified?.session.acknowledgedRevision(trustBundleType) ?? null;
  }

  #identify(request: DeltaRequestMessage): DeltaSession | null {
    try {
      const caller = this.#caller;
      if (caller === null) throw internal();
      const info = readNode(request.node);
      checkNode(info, caller);
      const session = this.#host.openSession(info, caller);
      this.#identified = { info, session, atMs: this.#host.clock.wallMs() };
      this.#timer?.cancel();
      this.#timer = null;
      this.#host.onIdentified(this);
      return session;
    } catch (thrown) {
      if (!(thrown instanceof GrpcError)) throw thrown;
      const caller = this.#caller === null ? null : callerName(this.#caller);
      this.#host.logger.log("warn", "xds", "stream refused", { caller, reason: thrown.message });
      this.#end(thrown);
      return null;
    }
  }

  #tellOfRefusal({ typeUrl, errorDetail, responseNonce }: DeltaRequestMessage): void {
    if (errorDetail === undefined || responseNonce === "") return;
    this.#host.metrics.refused(typeUrl);
    this.#host.logger.log(
      "warn",
      "xds",
      "a node refused resources; they are not sent again until they change",
      {
        caller: this.#caller === null ? null : callerName(this.#caller),
        type: typeUrl,
        reason: errorDetail.message.slice(0, adsLimits.maxErrorChars),
      },
    );
  }

  #fail(fault: SessionFault): void {
    const caller = this.#caller === null ? null : callerName(this.#caller);
    this.#host.logger.log("warn", "xds", "stream ended", { caller, reason: fault.message });
    this.#end(new GrpcError(faultCodes[fault.kind], fault.message));
  }

  /** One timer, set again only for an earlier time: an acknowledgement every millisecond sets no timer every millisecond. */
  #arm(session: DeltaSession, nowMs: number): void {
    const deadline = session.deadlineMs(nowMs);
    if (deadline === null || deadline >= this.#timerAtMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = deadline;
    this.#timer = this.#host.clock.setTimer(Math.max(0, deadline - nowMs), () => {
      this.#timer = null;
      this.#timerAtMs = Number.POSITIVE_INFINITY;
      if (this.#closed) return;
      const fault = session.tick(this.#host.clock.now());
      if (fault === null) this.pump();
      else this.#fail(fault);
    });
  }

  #end(error: GrpcError | null): void {
    if (this.#closed) return;
    this.#close();
    if (error === null) this.#stream.end();
    else this.#stream.end(error);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = null;
    this.#credentialEnd?.cancel();
    this.#host.onClosed(this);
  }
}

/** `unavailable` where a client does best to come again at once; `resourceExhausted` where it should not. */
const faultCodes = {
  invalid: grpcCode.invalidArgument,
  flood: grpcCode.resourceExhausted,
  timeout: grpcCode.deadlineExceeded,
  behind: grpcCode.unavailable,
} as const;

function internal(): GrpcError {
  return new GrpcError(grpcCode.internal, "internal error");
}

/**
 * A stream that a token has opened ends with it, a little later: its client then shows the token it has now, as ztunnel reads it
 * again for each connection, or is a caller who no longer has one. istiod leaves such streams open for ever.
 *
 * A certificate's end ends no stream: a control plane that cannot sign for a while would lose, one by one, the nodes that it
 * still can tell whom not to trust. Revocation ends those.
 *
 * @param onEnd is called once, unless what is returned was cancelled before.
 */
function whenCredentialEnds(clock: Clock, caller: Caller, onEnd: () => void): Timer | null {
  if (caller.kind !== "workload" || caller.expiresAtMs === undefined) return null;
  const endMs = caller.expiresAtMs + adsLimits.expiredTokenGraceMs;
  let timer: Timer;
  const arm = (): void => {
    const leftMs = endMs - clock.wallMs();
    // A timer runs by the monotonic clock, and the wall clock may jump.
    timer = clock.setTimer(Math.min(Math.max(leftMs, 0), pkiLimits.clockCheckMs), () => {
      if (clock.wallMs() >= endMs) onEnd();
      else arm();
    });
  };
  arm();
  return { cancel: () => timer.cancel() };
}
