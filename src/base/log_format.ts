/** The two forms of a log line, as ztunnel writes them: tab-separated text, or one JSON object. */
import type { LogFields, LogLevel } from "./log.ts";

export type LogFormat = "text" | "json";

const order: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** Whether a line of `level` is written when the log is set to `threshold`. */
export function isLogged(level: LogLevel, threshold: LogLevel): boolean {
  return order.indexOf(level) >= order.indexOf(threshold);
}

/** @param wallMs milliseconds since the Unix epoch. @returns one line with its newline. */
export function formatLogLine(
  format: LogFormat,
  wallMs: number,
  level: LogLevel,
  target: string,
  message: string,
  fields: LogFields | undefined,
): string {
  const time = new Date(wallMs).toISOString();
  if (format === "json") return jsonLine({ level, time, scope: target, message }, fields);
  let line = `${time}\t${level}\t${target}\t${escapeText(message)}`;
  let separator = "\t";
  for (const key in fields) {
    const value = fields[key];
    if (value === null || value === undefined) continue;
    line += `${separator}${key}=${formatValue(key, value)}`;
    separator = " ";
  }
  return `${line}\n`;
}

/** Without a replacer function, which `JSON.stringify` would call for every field and which costs more than all the rest. */
function jsonLine(line: Record<string, LogFields[string]>, fields: LogFields | undefined): string {
  for (const key in fields) {
    const value = fields[key];
    if (value !== null && value !== undefined) line[key] = value;
  }
  return `${JSON.stringify(line)}\n`;
}

/** Addresses stand bare, other words in quotes, as in ztunnel's access log. Nothing a peer sends can start a line of its own. */
function formatValue(key: string, value: string | number | boolean): string {
  if (typeof value !== "string") return String(value);
  if (key.endsWith("addr")) return escapeText(value);
  return isPlain.test(value) ? `"${value}"` : JSON.stringify(value);
}

/** Printable ASCII but the quote and the backslash: what `JSON.stringify` leaves as it is, and nearly every value. */
const isPlain = /^[ !#-[\]-~]*$/;

function escapeText(text: string): string {
  if (isPlain.test(text)) return text;
  return JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"');
}
