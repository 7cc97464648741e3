/** The settings that say where the audit log goes, besides the state. */
import { optional } from "../setting.ts";
import { readNonEmpty } from "../value.ts";
import { readOtlpUrl, readSyslog } from "./audit_value.ts";

const group = "Audit";

export const auditSettings = {
  auditFile: optional(readNonEmpty, {
    flag: "--audit-file",
    hint: "PATH",
    group,
    help: "append the audit log to this file, a line of JSON a row; it may be rotated at any time",
  }),
  auditSyslog: optional(readSyslog, {
    flag: "--audit-syslog",
    hint: "URL",
    group,
    help: "send the audit log to a syslog server: udp, tcp or tls://HOST:PORT, or unix:///dev/log",
  }),
  auditSyslogRoot: optional(readNonEmpty, {
    flag: "--audit-syslog-root",
    hint: "PATH",
    group,
    help: "the roots by which a syslog server over TLS is known",
  }),
  auditOtlp: optional(readOtlpUrl, {
    flag: "--audit-otlp",
    hint: "URL",
    group,
    help: "send the audit log to an OpenTelemetry collector (OTLP over HTTP); /v1/logs without a path",
  }),
  auditOtlpRoot: optional(readNonEmpty, {
    flag: "--audit-otlp-root",
    hint: "PATH",
    group,
    help: "the roots by which the collector is known; the system's without it",
  }),
  auditOtlpHeaders: optional(readNonEmpty, {
    flag: "--audit-otlp-headers",
    hint: "PATH",
    group,
    help: "a file of headers for the collector, a line `Name: value` each; read again for each request",
  }),
  auditArchive: optional(readNonEmpty, {
    flag: "--audit-archive",
    hint: "PATH",
    group,
    help: "a folder into which rows are written before they are removed from the state",
  }),
} as const;
