/**
 * Where a refusal goes: outside an answer that tells a stranger nothing, inside the audit log with the whole reason. What
 * strangers cause is counted always and written at a bounded rate, so that nobody can fill the disk by being refused.
 */
import { asMeshError } from "../../base/errors.ts";
import { identityLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { Counter, MetricFamily, MetricRegistry } from "../../base/metrics.ts";
import type { Clock } from "../../host/host.ts";
import { type GrpcCode, GrpcError } from "../../wire/grpc/status.ts";
import type { AuditEntry } from "../records/audit.ts";
import type { AuditLog } from "./identity_state.ts";
import { TokenBucket } from "./token_bucket.ts";

export interface Refused {
  /** `caller.authenticate`, `certificate.create`, `node.join`, `node.renew`. */
  readonly action: string;
  /** Who, as far as it is known: an identity, or the address it came from. */
  readonly actor: string;
  /** What was asked for; "" when it did not come so far. */
  readonly target: string;
  /** One word for metrics. */
  readonly reason: string;
  /** For the audit log. Never a key, a token or a secret. */
  readonly detail: string;
  readonly outcome?: "refused" | "failed";
  /** Whose tenant may read of it; left out where it is not known whom it concerns. */
  readonly namespace?: string | null;
}

export class Refusals {
  readonly #clock: Clock;
  readonly #audit: AuditLog;
  readonly #logger: Logger;
  readonly #written: TokenBucket;
  readonly #counted: MetricFamily<"action" | "reason", Counter>;
  #suppressed = 0;

  constructor(options: {
    readonly clock: Clock;
    readonly audit: AuditLog;
    readonly logger: Logger;
    readonly metrics: MetricRegistry;
  }) {
    this.#clock = options.clock;
    this.#audit = options.audit;
    this.#logger = options.logger;
    this.#written = new TokenBucket(options.clock, identityLimits.auditRate);
    this.#counted = options.metrics.counter(
      "fairlead_control_refusals",
      "Calls to the control plane that were refused",
      ["action", "reason"],
    );
  }

  /** Records it. @returns what the caller is told. */
  refuse(code: GrpcCode, message: string, refused: Refused): GrpcError {
    this.#counted.with({ action: refused.action, reason: refused.reason }).add(1);
    this.#write(refused);
    return new GrpcError(code, message);
  }

  /** As `refuse`, and written whatever strangers have caused to be written: its caller bounds how often. */
  alarm(code: GrpcCode, message: string, refused: Refused): GrpcError {
    this.#counted.with({ action: refused.action, reason: refused.reason }).add(1);
    this.#append(refused);
    return new GrpcError(code, message);
  }

  #write(refused: Refused): void {
    if (this.#written.take()) this.#append(refused);
    else this.#suppressed++;
  }

  #append(refused: Refused): void {
    const { action, actor, target, reason, outcome = "refused", namespace = null } = refused;
    const more =
      this.#suppressed === 0 ? "" : ` (and ${this.#suppressed} refusals before it that were not written)`;
    const detail = `${reason}: ${refused.detail.slice(0, identityLimits.maxAuditDetailChars)}${more}`;
    this.#logger.log("warn", "identity", "refused", { action, actor, target, reason: detail });
    const entry: AuditEntry = {
      atMs: this.#clock.wallMs(),
      actor,
      action,
      target,
      namespace,
      outcome,
      detail,
      before: null,
      after: null,
    };
    try {
      this.#audit.append(entry);
      this.#suppressed = 0;
    } catch (error) {
      // A disk that is full makes no refusal a consent.
      const cause = asMeshError(error, "io", "local").message;
      this.#logger.log("error", "identity", "a refusal could not be written to the audit log", { cause });
    }
  }
}
