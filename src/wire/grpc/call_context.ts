/** What a call needs of the world around it; `Clock` of the host fits. */
import type { CallLoad } from "./call_load.ts";

export interface CallClock {
  /** Monotonic milliseconds. */
  now(): number;
  setTimer(delayMs: number, callback: () => void): { cancel(): void };
  /** Runs `work` after everything else that is ready; without it nothing is done in slices. */
  defer?(work: () => void): void;
}

export interface CallContext {
  /** Null: deadlines are told to handlers, and nothing enforces them. For tests on machines alone. */
  readonly clock: CallClock | null;
  /** Shared by the calls of a connection; null: unbounded. */
  readonly load: CallLoad | null;
  /** A request that is larger is refused with RESOURCE_EXHAUSTED. */
  readonly maxRequestBytes: number;
  /** From the beginning of a request, or of a message of a stream, to its end; null or left out: for ever. */
  readonly requestTimeoutMs?: number | null;
  /** A handler failed with something that is no GrpcError: the peer sees INTERNAL and no more, this is told the rest. */
  readonly onFault: ((path: string, thrown: unknown) => void) | null;
}
