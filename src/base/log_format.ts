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
  if (format === "json")
    return `${JSON.stringify({ level, time, scope: target, message, ...fields }, leaveOutNull)}\n`;
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

function leaveOutNull(_key: string, value: unknown): unknown {
  return value === null ? undefined : value;
}

/** Addresses stand bare, other words in quotes, as in ztunnel's access log. Nothing a peer sends can start a line of its own. */
function formatValue(key: string, value: string | number | boolean): string {
  if (typeof value !== "string") return String(value);
  return key.endsWith("addr") ? escapeText(value) : JSON.stringify(value);
}

function escapeText(text: string): string {
  return JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"');
}
