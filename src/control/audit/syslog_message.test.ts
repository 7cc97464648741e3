import { expect, test } from "bun:test";
import { auditExportLimits } from "../../base/limits/control.ts";
import type { ChainedEntry } from "../records/audit.ts";
import { counted, syslogMessage } from "./syslog_message.ts";

const origin = { hostName: "control host", pid: 17, stateId: "ab".repeat(16) };

function row(detail: string, outcome: "ok" | "refused" | "failed" = "ok"): ChainedEntry {
  return {
    entry: {
      id: 7,
      atMs: Date.parse("2026-11-22T12:00:00.500Z"),
      actor: "ada",
      action: "nodes revoke",
      target: "edge-1",
      namespace: null,
      outcome,
      detail,
      before: null,
      after: null,
    },
    salt: Uint8Array.of(1),
    hash: Uint8Array.of(2),
  } as unknown as ChainedEntry;
}

const text = (given: ChainedEntry): string => new TextDecoder().decode(syslogMessage(origin, given));

test("a row has a head of RFC 5424, whose severity says how it went, and no byte that is not printable", () => {
  const head = (priority: number) =>
    `<${priority}>1 2026-11-22T12:00:00.500Z control_host fairlead-control 17 nodes_revoke - {`;
  expect(text(row("a"))).toStartWith(head(110));
  expect(text(row("a", "refused"))).toStartWith(head(108));
  expect(text(row("a", "failed"))).toStartWith(head(107));
  expect(text(row("line\nbreak ü"))).toContain('"detail":"line\\nbreak \\u00fc"');
  expect(text(row("line\nbreak ü"))).toMatch(/^[ -~]+$/);
});

test("a message is as long as its bound at the most: then a text gives way to its hash", () => {
  const { maxSyslogBytes } = auditExportLimits;
  const around = text(row("")).length;
  const whole = text(row("d".repeat(maxSyslogBytes - around)));
  expect([whole.length, whole.includes('"detail":"ddd')]).toEqual([maxSyslogBytes, true]);
  const cut = text(row("d".repeat(maxSyslogBytes - around + 1)));
  expect(cut.length).toBeLessThan(maxSyslogBytes);
  expect(cut).toContain(`"detail":{"characters":${maxSyslogBytes - around + 1},"sha256":"`);
  expect(cut).toContain('"target":"edge-1"');
});

test("in a stream its length comes before it", () => {
  expect(new TextDecoder().decode(counted(new TextEncoder().encode("twelve bytes")))).toBe("12 twelve bytes");
});
