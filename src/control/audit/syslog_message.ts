/** One row of the audit log as a message of RFC 5424. */
import { auditExportLimits } from "../../base/limits/control.ts";
import type { ChainedEntry } from "../records/audit.ts";
import { shortRecord } from "./audit_record.ts";

export interface SyslogOrigin {
  readonly hostName: string;
  readonly pid: number;
  readonly stateId: string;
}

/** Facility 13, "log audit"; severities of RFC 5424 §6.2.1: informational, warning, error. */
const facility = 13;
const severities = { ok: 6, refused: 4, failed: 3 } as const;

/** Printable ASCII alone, so that no actor or target can end the message, or begin another. */
export function syslogMessage({ hostName, pid, stateId }: SyslogOrigin, row: ChainedEntry): Uint8Array {
  const { atMs, action, outcome } = row.entry;
  const priority = facility * 8 + severities[outcome];
  const time = new Date(atMs).toISOString();
  const words = [time, word(hostName, 255), "fairlead-control", String(pid), word(action, 32), "-"];
  const head = `<${priority}>1 ${words.join(" ")} `;
  const room = auditExportLimits.maxSyslogBytes - head.length;
  return new TextEncoder().encode(`${head}${shortRecord(stateId, row, room)}`);
}

/** Octet counting (RFC 6587 §3.4.1, RFC 5425 §4.3), for streams. */
export function counted(message: Uint8Array): Uint8Array {
  const length = new TextEncoder().encode(`${message.length} `);
  const framed = new Uint8Array(length.length + message.length);
  framed.set(length);
  framed.set(message, length.length);
  return framed;
}

/** PRINTUSASCII of RFC 5424 §6, NILVALUE for what has none. */
function word(text: string, maxChars: number): string {
  const printable = text.replaceAll(/[^!-~]/g, "_").slice(0, maxChars);
  return printable === "" ? "-" : printable;
}
