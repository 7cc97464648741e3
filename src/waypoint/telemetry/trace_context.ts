/**
 * Which trace a request belongs to: W3C Trace Context (https://www.w3.org/TR/trace-context/), else B3 in one header or in several
 * (https://github.com/openzipkin/b3-propagation). What is malformed is as if it were not there, as both say.
 */
import { type Fields, field } from "../exchange.ts";

export interface TraceContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** Of the caller's span: 16 hexadecimal digits. */
  readonly spanId: string;
  /** Null: the caller leaves it open. */
  readonly sampled: boolean | null;
  readonly form: "w3c" | "b3" | "b3-multi";
}

const traceparent = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const b3Single = /^([0-9a-f]{16}|[0-9a-f]{32})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?$/;
const traceIdOf = /^(?:[0-9a-f]{16}|[0-9a-f]{32})$/;
const spanIdOf = /^[0-9a-f]{16}$/;

export function readTraceContext(fields: Fields): TraceContext | null {
  return readW3c(field(fields, "traceparent")) ?? readB3(field(fields, "b3")) ?? readB3Multi(fields);
}

function readW3c(value: string | null): TraceContext | null {
  const match = value === null ? null : traceparent.exec(value);
  if (match === null) return null;
  const [, version = "", traceId = "", spanId = "", flags = "", rest] = match;
  // §3.2.2.1: ff is no version, and version 00 has four parts.
  if (version === "ff" || (version === "00" && rest !== undefined)) return null;
  if (isZero(traceId) || isZero(spanId)) return null;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1, form: "w3c" };
}

function readB3(value: string | null): TraceContext | null {
  const match = value === null ? null : b3Single.exec(value);
  if (match === null) return null;
  const [, traceId = "", spanId = "", state] = match;
  return contextOf(traceId, spanId, state === undefined ? null : state !== "0", "b3");
}

function readB3Multi(fields: Fields): TraceContext | null {
  const traceId = field(fields, "x-b3-traceid");
  const spanId = field(fields, "x-b3-spanid");
  if (traceId === null || spanId === null || !traceIdOf.test(traceId) || !spanIdOf.test(spanId)) return null;
  const sampled = field(fields, "x-b3-sampled");
  const isDebug = field(fields, "x-b3-flags") === "1";
  return contextOf(traceId, spanId, isDebug ? true : sampled === null ? null : sampled === "1", "b3-multi");
}

function contextOf(
  traceId: string,
  spanId: string,
  sampled: boolean | null,
  form: TraceContext["form"],
): TraceContext | null {
  if (isZero(traceId) || isZero(spanId)) return null;
  return { traceId: traceId.padStart(32, "0"), spanId, sampled, form };
}

function isZero(id: string): boolean {
  return /^0+$/.test(id);
}

/** In the form in which the caller speaks of it, and in W3C's, since who comes next may know only that. @returns the fields with the new context in place of the old one. */
export function withTraceContext(
  fields: Fields,
  { traceId, spanId, sampled, form }: TraceContext & { readonly sampled: boolean },
): Fields {
  const kept: Fields = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? "";
    if (name !== "traceparent" && name !== "b3" && !name.startsWith("x-b3-"))
      kept.push(name, fields[i + 1] ?? "");
  }
  const flag = sampled ? "1" : "0";
  kept.push("traceparent", `00-${traceId}-${spanId}-0${flag}`);
  if (form === "b3") kept.push("b3", `${traceId}-${spanId}-${flag}`);
  if (form === "b3-multi") kept.push("x-b3-traceid", traceId, "x-b3-spanid", spanId, "x-b3-sampled", flag);
  return kept;
}
