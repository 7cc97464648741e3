/**
 * Where a refusal goes: outside an answer that tells a stranger nothing, inside the audit log with the whole reason. What
 * strangers cause is counted always and written at a bounded rate, so that no caller can fill the disk by being refused.
 */
import { asMeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import { identityLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { Counter, MetricFamily, MetricRegistry } from "../../base/metrics.ts";
import { TokenBucket } from "../../base/token_bucket.ts";
import type { Clock } from "../../host/host.ts";
import { type GrpcCode, GrpcError } from "../../wire/grpc/status.ts";
import type { AuditEntry } from "../records/audit.ts";
import type { AuditLog } from "./identity_state.ts";

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

/** One place that refusals are written to, at a rate of its own. */
interface Written {
  readonly log: AuditLog;
  readonly rate: TokenBucket;
  suppressed: number;
}

export class Refusals {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #known: Written;
  /** Apart in rate and in place, so that strangers neither silence nor age out what is known of others. */
  readonly #strangers: Written;
  readonly #counted: MetricFamily<"action" | "reason", Counter>;

  constructor(options: {
    readonly clock: Clock;
    readonly audit: AuditLog;
    readonly strangers: AuditLog;
    readonly logger: Logger;
    readonly metrics: MetricRegistry;
  }) {
    this.#clock = options.clock;
    this.#logger = options.logger;
    const written = (log: AuditLog): Written => ({
      log,
      rate: new TokenBucket(identityLimits.auditRate),
      suppressed: 0,
    });
    this.#known = written(options.audit);
    this.#strangers = written(options.strangers);
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
    this.#append(this.#known, refused);
    return new GrpcError(code, message);
  }

  #write(refused: Refused): void {
    // Of who is not known there is an address and nothing else.
    const written = IpAddress.parse(refused.actor) === null ? this.#known : this.#strangers;
    if (written.rate.take(this.#clock.now())) this.#append(written, refused);
    else written.suppressed++;
  }

  #append(written: Written, refused: Refused): void {
    const { action, actor, target, reason, outcome = "refused", namespace = null } = refused;
    const more =
      written.suppressed === 0 ? "" : ` (and ${written.suppressed} refusals before it were not written)`;
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
      written.log.append(entry);
      written.suppressed = 0;
    } catch (error) {
      // A disk that is full makes no refusal a consent.
      const cause = asMeshError(error, "io", "local").message;
      this.#logger.log("error", "identity", "a refusal could not be written to the audit log", { cause });
    }
  }
}
