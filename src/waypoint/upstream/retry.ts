/** Whether one more attempt is made, and when (Envoy "x-envoy-retry-on"; Istio `HTTPRetry`). Pure. */
import { backoffMs } from "../../base/backoff.ts";
import { defaultRetryPolicy, type RetryCondition, type RetryPolicy } from "../../mesh/traffic/route_plan.ts";
import { field } from "../exchange.ts";
import type { Outcome } from "../stages.ts";

/** How an attempt ended: as it was sent on, or with the time for one try. */
export type AttemptEnd = Outcome | { readonly kind: "timeout" };

/** Methods that may be repeated although the first may have been done (RFC 9110 §9.2.2). */
const idempotent: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

export function mayRetry(policy: RetryPolicy, method: string, end: AttemptEnd): boolean {
  // Who wrote a policy of their own has said what may be repeated; the default has to hold for what anyone sends.
  if (policy === defaultRetryPolicy && !wasNotDone(end) && !idempotent.has(method)) return false;
  if (end.kind === "answered" && policy.retriableStatuses.includes(end.head.status)) return true;
  return policy.retryOn.some((condition) => meets(condition, end));
}

/** The upstream cannot have acted on the request. */
function wasNotDone(end: AttemptEnd): boolean {
  return end.kind === "failed" && !end.mayHaveActed;
}

function meets(condition: RetryCondition, end: AttemptEnd): boolean {
  const answered = end.kind === "answered" ? end.head : null;
  switch (condition) {
    case "5xx":
      return answered === null || answered.status >= 500;
    case "gateway-error":
      return answered === null || (answered.status >= 502 && answered.status <= 504);
    case "reset":
      return answered === null;
    // A stream that was refused unread and one that broke before it was sent are the same for who sends it again.
    case "reset-before-request":
    case "refused-stream":
      return wasNotDone(end) && !isUnconnected(end);
    case "connect-failure":
    // HTTP/3 is not spoken here; what it is tried for is a connection that fails.
    case "http3-post-connect-failure":
      return isUnconnected(end);
    case "envoy-ratelimited":
      return answered !== null && field(answered.fields, "x-envoy-ratelimited") !== null;
    case "retriable-4xx":
      return answered?.status === 409;
    // Names of headers come with the request in Envoy; Istio has no field for them.
    case "retriable-headers":
      return false;
    default:
      return answered !== null && field(answered.fields, "grpc-status") === grpcStatus[condition];
  }
}

function isUnconnected(end: AttemptEnd): boolean {
  return end.kind === "failed" && end.flag === "UF";
}

/** https://grpc.io/docs/guides/status-codes; only trailers-only answers show it before the body. */
const grpcStatus = {
  cancelled: "1",
  "deadline-exceeded": "4",
  "resource-exhausted": "8",
  internal: "13",
  unavailable: "14",
} as const;

const defaultBackoff = { baseMs: 25, maxMs: 250 };

/** Full jitter (Envoy `JitteredExponentialBackOffStrategy`). @param attempt 1 before the second try. @param random uniform in [0, 1). */
export function retryDelayMs({ backoff }: RetryPolicy, attempt: number, random: number): number {
  const { baseMs, maxMs } = backoff ?? defaultBackoff;
  return backoffMs(
    attempt,
    { backoffStartMs: baseMs / 2, backoffMaxMs: maxMs / 2, backoffJitter: 1 },
    random,
  );
}
