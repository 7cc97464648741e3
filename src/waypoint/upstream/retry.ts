/** Whether one more attempt is made, and when (Envoy "x-envoy-retry-on"; Istio `HTTPRetry`). Pure. */
import { defaultRetryPolicy, type RetryCondition, type RetryPolicy } from "../../mesh/traffic/route_plan.ts";
import { type Fields, field } from "../exchange.ts";

/** How an attempt came to nothing, or to an answer of which nothing has been passed on yet. */
export type AttemptEnd =
  | { readonly kind: "answered"; readonly status: number; readonly fields: Fields }
  /** No connection, or no stream on one: not a byte of the request was sent. */
  | { readonly kind: "not_connected" }
  /** REFUSED_STREAM, or above the last stream of a GOAWAY: the peer says that it did nothing (RFC 9113 §8.7). */
  | { readonly kind: "refused" }
  | { readonly kind: "reset"; readonly sent: boolean }
  /** The time for one try is over. */
  | { readonly kind: "timeout" };

/** Methods that may be repeated although the first may have been done (RFC 9110 §9.2.2). */
const idempotent: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

export function mayRetry(policy: RetryPolicy, method: string, end: AttemptEnd): boolean {
  // Who wrote a policy of their own has said what may be repeated; the default has to hold for what anyone sends.
  if (policy === defaultRetryPolicy && !wasNotDone(end) && !idempotent.has(method)) return false;
  if (end.kind === "answered" && policy.retriableStatuses.includes(end.status)) return true;
  return policy.retryOn.some((condition) => meets(condition, end));
}

/** The upstream cannot have acted on the request. */
function wasNotDone(end: AttemptEnd): boolean {
  return end.kind === "not_connected" || end.kind === "refused" || (end.kind === "reset" && !end.sent);
}

function meets(condition: RetryCondition, end: AttemptEnd): boolean {
  const answered = end.kind === "answered" ? end : null;
  switch (condition) {
    case "5xx":
      return answered === null || answered.status >= 500;
    case "gateway-error":
      return answered === null || (answered.status >= 502 && answered.status <= 504);
    case "reset":
      return answered === null;
    case "reset-before-request":
      return end.kind === "reset" && !end.sent;
    case "connect-failure":
    // HTTP/3 is not spoken here; what it is tried for is a connection that fails.
    case "http3-post-connect-failure":
      return end.kind === "not_connected";
    case "refused-stream":
      return end.kind === "refused";
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
  return Math.min(maxMs, baseMs * 2 ** Math.min(attempt - 1, 30)) * random;
}
