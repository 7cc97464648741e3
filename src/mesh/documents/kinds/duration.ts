/** Durations as Istio writes them: Go's `time.ParseDuration`, such as `1h30m`, `1.5s` or `250ms`. */
import { type ObjectReader, type Problems, quote } from "../reader.ts";

const parts = /([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|h|m|s)/g;
const whole = /^(?:[0-9]+(?:\.[0-9]+)?(?:ms|us|µs|ns|h|m|s))+$/;
const unitMs: Readonly<Record<string, number>> = {
  h: 3_600_000,
  m: 60_000,
  s: 1_000,
  ms: 1,
  us: 1e-3,
  µs: 1e-3,
  ns: 1e-6,
};
/** No duration of Istio's is longer. */
const maxTextLength = 40;

/** Milliseconds; null for what is none. `0` alone is a duration, as in Go. */
export function parseDuration(text: string): number | null {
  if (text === "0") return 0;
  if (text.length > maxTextLength || !whole.test(text)) return null;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(parts)) total += Number(amount) * (unitMs[unit ?? ""] ?? 0);
  return total;
}

/** Milliseconds of a field, from `leastMs` on; null when it is missing or, having said so, wrong. */
export function readDuration(
  reader: ObjectReader,
  field: string,
  leastMs: number,
  problems: Problems,
): number | null {
  const read = reader.string(field);
  if (read === null) return null;
  const milliseconds = parseDuration(read.value);
  const path = reader.path(field);
  if (milliseconds === null) {
    problems.add(
      read.at,
      `${path}: ${quote(read.value)} is not a duration such as 5s, 250ms or 1h30m`,
      read.value,
    );
    return null;
  }
  if (milliseconds >= leastMs) return milliseconds;
  problems.add(read.at, `${path} must be at least ${leastMs} ms, not ${quote(read.value)}`, read.value);
  return null;
}
