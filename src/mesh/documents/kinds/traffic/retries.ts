/** Retries (Istio `ValidateHTTPRetry`; `pilot/pkg/networking/core/route/retry/retry.go`). */
import { defaultRetryPolicy, type RetryCondition, type RetryPolicy } from "../../../traffic/route_plan.ts";
import { type ObjectReader, type Problems, quote } from "../../reader.ts";
import { readFlag, readTime } from "./scalars.ts";

const fields = {
  known: [
    ...[
      "attempts",
      "perTryTimeout",
      "retryOn",
      "retryRemoteLocalities",
      "retryIgnorePreviousHosts",
      "backoff",
    ],
  ],
};
const conditions: readonly RetryCondition[] = [
  ...(["5xx", "gateway-error", "reset", "reset-before-request", "connect-failure"] as const),
  ...(["envoy-ratelimited", "retriable-4xx", "refused-stream", "retriable-headers"] as const),
  ...(["http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal"] as const),
  ...(["resource-exhausted", "unavailable"] as const),
];

export interface ReadRetries {
  /** Null: none. */
  readonly policy: RetryPolicy | null | "unset";
  readonly saysAvoidTried: boolean;
}

export function readRetries(route: ObjectReader, problems: Problems): ReadRetries {
  const reader = route.object("retries", fields);
  if (reader === null) return { policy: "unset", saysAvoidTried: false };
  const attempts = reader.integer("attempts", 0, 100)?.value ?? 0;
  if (attempts === 0) {
    const useless = fields.known.find((field) => field !== "attempts" && reader.has(field));
    if (useless !== undefined)
      problems.add(reader.where(useless), `${reader.path(useless)} has no effect with 0 attempts`, useless);
    return { policy: null, saysAvoidTried: false };
  }
  const { retryOn, retriableStatuses } = readRetryOn(reader, problems);
  const avoidTried = readFlag(reader, "retryIgnorePreviousHosts", problems);
  const baseMs = readTime(reader, "backoff", problems);
  const policy: RetryPolicy = {
    attempts,
    perTryTimeoutMs: readTime(reader, "perTryTimeout", problems),
    retryOn,
    retriableStatuses,
    // Envoy: the longest is ten times the base.
    backoff: baseMs === null ? null : { baseMs, maxMs: baseMs * 10 },
    avoidTried: avoidTried ?? true,
    remoteLocalities: readFlag(reader, "retryRemoteLocalities", problems) ?? false,
  };
  return { policy, saysAvoidTried: avoidTried !== null };
}

function readRetryOn(
  reader: ObjectReader,
  problems: Problems,
): Pick<RetryPolicy, "retryOn" | "retriableStatuses"> {
  const read = reader.string("retryOn");
  if (read === null || read.value === "")
    return { retryOn: defaultRetryPolicy.retryOn, retriableStatuses: [] };
  const retryOn: RetryCondition[] = [];
  const retriableStatuses: number[] = [];
  for (const part of read.value.split(",").map((text) => text.trim())) {
    const condition = conditions.find((known) => known === part);
    if (condition !== undefined) retryOn.push(condition);
    else if (/^[1-5]\d\d$/.test(part)) retriableStatuses.push(Number(part));
    // It says that the numbers beside it count, which they do without it.
    else if (part !== "retriable-status-codes" && part !== "")
      problems.add(
        read.at,
        `${reader.path("retryOn")}: ${quote(part)} is neither a condition nor a status`,
        part,
        conditions,
      );
  }
  return { retryOn, retriableStatuses };
}
