/**
 * Whether the first administrator still has its role: a shared name that a mesh with named administrators retires. Who can write the state
 * directory, who runs the control plane that is, brings it back, so that a mesh is never without an administrator for good.
 */
import type { Logger } from "../../base/log.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Clock, Files } from "../../host/host.ts";
import type { AuditEntry } from "../records/audit.ts";
import type { SettingRecords } from "../records/keys.ts";

export interface FirstRoleOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: Files;
  readonly state: {
    readonly settings: SettingRecords;
    readonly audit: { append(entry: AuditEntry): unknown };
    readonly health: Watch<{ readonly writable: boolean }>;
    transaction<T>(work: () => T): T;
  };
  readonly stateDirectory: string;
}

const setting = "administrator.first";
/** A file of this name in the state directory brings the role back at the next start, and goes. */
export const restoreFileName = "restore-first-administrator";

export class FirstRole {
  readonly #settings: SettingRecords;
  readonly #clock: Clock;
  readonly #retired: WatchSource<boolean>;

  private constructor(settings: SettingRecords, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
    this.#retired = new WatchSource(settings.get(setting) !== null);
  }

  /** @throws MeshError `io`, `disk_full`. */
  static async open({ clock, logger, files, state, stateDirectory }: FirstRoleOptions): Promise<FirstRole> {
    const path = `${stateDirectory}/${restoreFileName}`;
    // A start that can only read does it the next time.
    const isWritable = (): boolean => state.health.value.writable;
    if ((await files.exists(path)) && isWritable()) {
      state.transaction(() => {
        state.audit.append({
          atMs: clock.wallMs(),
          actor: "fairlead",
          action: "administrators.restore",
          target: "Administrator first",
          outcome: "ok",
          detail: `${restoreFileName} was in the state directory`,
          before: null,
          after: null,
        });
        state.settings.remove(setting);
      });
      await files.remove(path);
      logger.log("warn", "control", "the first administrator has its role again", { file: path });
    }
    return new FirstRole(state.settings, clock);
  }

  /** As it is in state now, within a transaction too. */
  get isRetired(): boolean {
    return this.#settings.get(setting) !== null;
  }

  /** Changes once the transaction is over. */
  get retired(): Watch<boolean> {
    return this.#retired;
  }

  /** Within whatever transaction is open. */
  retire(): void {
    this.#settings.set(setting, "retired");
    this.#clock.defer(() => {
      if (this.isRetired) this.#retired.set(true);
    });
  }
}
