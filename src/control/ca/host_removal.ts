/**
 * Hosts that leave for good: by an administrator's word, or because they were not seen for so long as a setting says. What such a host
 * still holds is revoked with it, so that its name can be given to another.
 */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { controlLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Timer } from "../../host/host.ts";
import type { IdentityState } from "../identity/identity_state.ts";
import type { AuthoritySource } from "../keys/authority_source.ts";
import type { AuditEntry } from "../records/audit.ts";
import type { Registration } from "../records/registrations.ts";
import { bindingNamespace } from "./node_settings.ts";

export interface HostRemovalOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly state: Pick<IdentityState, "audit" | "transaction"> & {
    readonly registrations: {
      byNode(node: string): Registration | null;
      /** Those that were not seen since, the longest gone first. */
      unseenSince(ms: number, limit: number): readonly Registration[];
      remove(node: string): boolean;
    };
    readonly revocations: { remove(kind: "node", node: string): boolean };
  };
  readonly authority: Pick<AuthoritySource, "withdraw" | "publish">;
  isConnected(node: string): boolean;
  /** What a host had is no longer good: its streams end. */
  readonly onRemoved: () => void;
  /** Null: none leaves by itself. */
  readonly afterMs: number | null;
}

export class HostRemoval {
  readonly #options: HostRemovalOptions;
  #timer: Timer | null = null;

  constructor(options: HostRemovalOptions) {
    this.#options = options;
    const { afterMs } = options;
    if (afterMs !== null) this.#schedule(afterMs, controlLimits.pruneIntervalMs);
  }

  /**
   * All of it, with its row in the audit log, or nothing.
   *
   * @param entry what is written of it.
   * @returns false when there is no such host. @throws MeshError `limit_reached` for a revocation list without room for its certificates.
   */
  async remove(
    node: string,
    entry: AuditEntry,
    by: { readonly name: string; readonly namespace: string },
  ): Promise<boolean> {
    const { state, authority, onRemoved } = this.#options;
    const isRemoved = state.transaction(() => {
      const registration = state.registrations.byNode(node);
      if (registration === null) return false;
      authority.withdraw(node, { reason: "removed", byWhom: by.name, byNamespace: by.namespace });
      state.registrations.remove(node);
      state.revocations.remove("node", node);
      state.audit.append({ ...entry, before: JSON.stringify(registration) });
      return true;
    });
    if (!isRemoved) return false;
    await authority.publish();
    onRemoved();
    return true;
  }

  close(): void {
    this.#timer?.cancel();
  }

  #schedule(afterMs: number, delayMs: number): void {
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      void this.#sweep(afterMs).then((hasMore) =>
        this.#schedule(afterMs, hasMore ? controlLimits.pruneAgainMs : controlLimits.pruneIntervalMs),
      );
    });
  }

  /** So few at a time that no call waits for it. @returns whether there may be more. */
  async #sweep(afterMs: number): Promise<boolean> {
    const { clock, logger, state } = this.#options;
    const limit = controlLimits.hostsPerSweep;
    const atMs = clock.wallMs();
    try {
      const gone = state.registrations
        .unseenSince(atMs - afterMs, limit)
        .filter(({ node }) => !this.#options.isConnected(node));
      for (const { node, binding, lastSeenMs } of gone) {
        const entry: AuditEntry = {
          atMs,
          actor: "fairlead",
          action: "nodes.remove",
          target: node,
          namespace: bindingNamespace(binding),
          outcome: "ok",
          detail: `not seen since ${new Date(lastSeenMs).toISOString()}`,
          before: null,
          after: null,
        };
        await this.remove(node, entry, { name: "fairlead", namespace: "" });
        logger.log("info", "identity", "a host was removed because it was away for too long", { node });
      }
      return gone.length === limit;
    } catch (thrown) {
      // A list that is full, a disk that is: it is tried again.
      const { message } = asMeshError(thrown, "io", "local");
      if (!(thrown instanceof MeshError)) throw thrown;
      logger.log("warn", "identity", "hosts that were away for too long could not be removed", {
        reason: message,
      });
      return false;
    }
  }
}
