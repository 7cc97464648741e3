/**
 * The audit log to one receiver: in order, at least once. How far it has got is in state, so a restart goes on from there. One batch is in
 * memory, whatever the receiver does: rows wait in state, where they are, and nothing that writes a row waits for a receiver.
 */
import { backoffMs } from "../../base/backoff.ts";
import { asMeshError } from "../../base/errors.ts";
import { auditExportLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Random, Timer } from "../../host/host.ts";
import type { AuditExportStatus, AuditHead, ChainedEntry } from "../records/audit.ts";
import type { AuditLog } from "../state/audit.ts";
import { continues } from "../state/audit_rows.ts";
import type { Settings } from "../state/settings.ts";
import type { AuditExportCounts } from "./audit_export_metrics.ts";

/** A receiver. */
export interface AuditSink {
  readonly target: "file" | "syslog" | "otlp";
  /** For people, without secrets. */
  readonly where: string;
  /** What was sent within this time before a failure is sent again: for receivers that do not answer. */
  readonly settleMs: number;
  /** Resolves when all of them are there. Never called while another call is under way. @returns how many it has refused for good. @throws MeshError. */
  send(rows: readonly ChainedEntry[]): Promise<number>;
  close(): void;
}

export interface AuditExportOptions {
  readonly clock: Clock;
  readonly random: Pick<Random, "float">;
  readonly logger: Logger;
  readonly audit: AuditLog;
  readonly settings: Settings;
  /** Throws while room is kept for what cannot wait: how far a receiver is can be written down later. */
  readonly demandRoom: () => void;
  readonly sink: AuditSink;
  readonly counts: AuditExportCounts;
}

interface Position extends AuditHead {
  /** Monotonic: when it was there. */
  readonly atMs: number;
}

export class AuditExport {
  readonly #options: AuditExportOptions;
  readonly #name: string;
  /** The last row that is there for certain. */
  #done: AuditHead;
  /** As it is in state: a restart goes on from here, and no row after it is pruned without need. */
  #kept: AuditHead;
  /** The last row that was sent. */
  #sent: AuditHead;
  /** Ends of batches that were sent and may still be lost. */
  #unsettled: Position[] = [];
  #keptAtMs = Number.NEGATIVE_INFINITY;
  #timer: Timer | null = null;
  #failures = 0;
  #failing: { readonly sinceMs: number; readonly reason: string } | null = null;
  #lost = 0;
  #refused = 0;
  #sending: Promise<void> | null = null;
  #closed = false;

  constructor(options: AuditExportOptions) {
    this.#options = options;
    this.#name = `audit.export/${options.sink.target}`;
    this.#kept = readPosition(options.settings.get(this.#name));
    this.#done = this.#kept;
    this.#sent = this.#kept;
    this.#after(0);
  }

  /** Rows up to this one may go. */
  get keptId(): number {
    return this.#kept.id;
  }

  get target(): string {
    return this.#options.sink.target;
  }

  get status(): AuditExportStatus {
    const { target, where } = this.#options.sink;
    const waiting = Math.max(0, this.#options.audit.head().id - this.#done.id);
    const [failing, lost, refused] = [this.#failing, this.#lost, this.#refused];
    return { target, where, exportedId: this.#done.id, waiting, failing, lost, refused };
  }

  /** What is being sent is waited for, but not for long: the next start goes on from what is written down. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#options.sink.close();
    let limit: Timer | null = null;
    await Promise.race([
      this.#sending,
      new Promise<void>((resolve) => {
        limit = this.#options.clock.setTimer(auditExportLimits.closeMs, resolve);
      }),
    ]);
    (limit as Timer | null)?.cancel();
    this.#settle();
    this.#keep("now");
  }

  #after(delayMs: number): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      this.#sending = this.#turn().finally(() => {
        this.#sending = null;
      });
    });
  }

  /** Never rejects. */
  async #turn(): Promise<void> {
    const { random } = this.#options;
    try {
      const rows = this.#next();
      if (rows.length > 0) {
        this.#taken(rows, await this.#send(rows));
      }
      this.#settle();
      this.#keep("when due");
      this.#after(rows.length > 0 ? 0 : auditExportLimits.pollMs);
    } catch (thrown) {
      // What was sent and has not settled may have been lost with the connection.
      this.#sent = this.#done;
      this.#unsettled = [];
      this.#failures++;
      this.#options.counts.failures.add(1);
      this.#fails(asMeshError(thrown, "io", "local").message);
      this.#after(backoffMs(this.#failures, auditExportLimits.backoff, random.float()));
    }
  }

  /** A disk that hangs, say, may never answer. It is not asked a second time meanwhile: what waits for it does not grow. */
  async #send(rows: readonly ChainedEntry[]): Promise<number> {
    const { clock, sink } = this.#options;
    const seconds = auditExportLimits.stuckMs / 1000;
    const stuck = clock.setTimer(auditExportLimits.stuckMs, () => {
      this.#fails(`it has not taken ${rows.length} rows for ${seconds} s`);
    });
    try {
      // A receiver that counts more than it was given is believed as far as that goes.
      return Math.min(rows.length, await sink.send(rows));
    } finally {
      stuck.cancel();
    }
  }

  #fails(reason: string): void {
    const { clock, logger, sink } = this.#options;
    if (this.#failing === null && !this.#closed)
      logger.log("warn", "audit", "a receiver of the audit log does not take rows; they wait", {
        target: sink.target,
        where: sink.where,
        reason,
      });
    this.#failing = { sinceMs: this.#failing?.sinceMs ?? clock.wallMs(), reason };
  }

  /** The rows that come next. What is not there any more, or is not the log that was exported before, is said. */
  #next(): readonly ChainedEntry[] {
    const { audit, logger, sink, counts } = this.#options;
    const start = audit.start();
    const head = audit.head();
    if (this.#sent.id < start.id) {
      const lost = start.id - this.#sent.id;
      logger.log("error", "audit", "rows of the audit log were removed before a receiver had them", {
        target: sink.target,
        rows: `${this.#sent.id + 1} to ${start.id}`,
      });
      this.#lost += lost;
      counts.lost.add(lost);
      this.#goTo(start);
    } else if (this.#sent.id > head.id) {
      logger.log("error", "audit", "the audit log ends before the last row that a receiver was given", {
        target: sink.target,
        given: String(this.#sent.id),
        last: String(head.id),
      });
      this.#goTo(head);
    }
    const rows = audit.page(this.#sent.id, auditExportLimits.batchChars);
    const [first] = rows;
    if (first !== undefined && !continues(this.#sent, first)) {
      logger.log(
        "error",
        "audit",
        "the audit log does not go on from the last row that a receiver was given",
        {
          target: sink.target,
          row: String(first.entry.id),
        },
      );
      counts.breaks.add(1);
    }
    return rows;
  }

  #goTo(head: AuditHead): void {
    this.#sent = head;
    this.#done = head;
    this.#unsettled = [];
  }

  #taken(rows: readonly ChainedEntry[], refused: number): void {
    const { clock, counts, logger, sink } = this.#options;
    const last = rows.at(-1);
    if (last === undefined) return;
    this.#sent = { id: last.entry.id, hash: last.hash.toHex() };
    this.#unsettled.push({ ...this.#sent, atMs: clock.now() });
    counts.rows.add(rows.length - refused);
    if (refused > 0) {
      this.#refused += refused;
      counts.refused.add(refused);
      logger.log("error", "audit", "a receiver has refused rows of the audit log", {
        target: sink.target,
        count: refused,
        upTo: String(last.entry.id),
      });
    }
    if (this.#failing !== null)
      logger.log("info", "audit", "a receiver of the audit log takes rows again", { target: sink.target });
    this.#failures = 0;
    this.#failing = null;
  }

  #settle(): void {
    const { clock, sink } = this.#options;
    const beforeMs = clock.now() - sink.settleMs;
    for (;;) {
      const [oldest] = this.#unsettled;
      if (oldest === undefined || oldest.atMs > beforeMs) return;
      this.#done = { id: oldest.id, hash: oldest.hash };
      this.#unsettled.shift();
    }
  }

  #keep(when: "now" | "when due"): void {
    const nowMs = this.#options.clock.now();
    if (this.#done.id === this.#kept.id && this.#done.hash === this.#kept.hash) return;
    if (when === "when due" && nowMs - this.#keptAtMs < auditExportLimits.cursorIntervalMs) return;
    this.#keptAtMs = nowMs;
    try {
      this.#options.demandRoom();
      this.#options.settings.set(this.#name, JSON.stringify(this.#done));
      this.#kept = this.#done;
    } catch {
      // The state says itself that it cannot be written. Until it can, a restart sends these rows once more.
    }
  }
}

const nothing: AuditHead = { id: 0, hash: "00".repeat(32) };

/** A position that cannot be read counts as none: every row is sent again. */
function readPosition(text: string | null): AuditHead {
  try {
    const { id, hash } = JSON.parse(text ?? "{}") as Partial<Record<"id" | "hash", unknown>>;
    return typeof id === "number" && typeof hash === "string" ? { id, hash } : nothing;
  } catch {
    return nothing;
  }
}
