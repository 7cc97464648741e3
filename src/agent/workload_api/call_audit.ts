/** Tells the audit log who got what and who was refused, once in a while for what repeats: a caller in a loop must not fill it. */
import { workloadApiLimits } from "../../base/limits/agent.ts";
import type { Clock } from "../../host/host.ts";

/** What is told of one call; a row of the control plane's audit log is of this shape. */
export interface CallEntry {
  readonly atMs: number;
  readonly actor: string;
  readonly action: string;
  readonly target: string;
  readonly outcome: "ok" | "refused";
  readonly detail: string;
  readonly before: null;
  readonly after: null;
}

export interface CallLog {
  append(entry: CallEntry): void;
}

interface Repeated {
  toldAtMs: number;
  /** Since it was told. */
  count: number;
}

export class CallAudit {
  readonly #clock: Clock;
  readonly #log: CallLog;
  readonly #repeated = new Map<string, Repeated>();

  constructor(clock: Clock, log: CallLog) {
    this.#clock = clock;
    this.#log = log;
  }

  /** @param target the identity or secret; never a secret's content. */
  granted(actor: string, action: string, target: string): void {
    this.#tell(actor, action, target, "ok", "");
  }

  refused(actor: string, action: string, target: string, reason: string): void {
    this.#tell(actor, action, target, "refused", reason);
  }

  #tell(actor: string, action: string, target: string, outcome: "ok" | "refused", detail: string): void {
    const now = this.#clock.now();
    const key = `${outcome} ${actor} ${action} ${target}`;
    const before = this.#repeated.get(key);
    if (before !== undefined && now - before.toldAtMs < workloadApiLimits.auditIntervalMs) {
      before.count++;
      return;
    }
    // The one that has been quiet longest is forgotten; told again too soon is better than not at all.
    this.#repeated.delete(key);
    if (this.#repeated.size >= workloadApiLimits.maxAuditKeys) {
      const [oldest] = this.#repeated.keys();
      if (oldest !== undefined) this.#repeated.delete(oldest);
    }
    this.#repeated.set(key, { toldAtMs: now, count: 0 });
    const again = before === undefined || before.count === 0 ? "" : `${before.count} more before this`;
    this.#log.append({
      atMs: this.#clock.wallMs(),
      actor,
      action,
      target,
      outcome,
      detail: [detail, again].filter((part) => part !== "").join("; "),
      before: null,
      after: null,
    });
  }
}
