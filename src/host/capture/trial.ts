/**
 * Capture on trial: whoever has shut himself out by it does nothing, and is let in again. What was confirmed once is remembered, so that a
 * restart asks no more until the settings change.
 */
import { asMeshError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { formatNetwork } from "../../base/prefix.ts";
import type { Host, Timer } from "../host.ts";
import { startGuard } from "./guard.ts";
import type { CaptureOptions } from "./options.ts";

export interface TrialSettings {
  readonly afterMs: number;
  /** Where it is kept what was confirmed. */
  readonly path: string;
  /** What is on trial, as `describeCapture` has it. */
  readonly subject: string;
  /** The command of this program that guards. */
  readonly guardWords: readonly string[];
}

export type TrialState = "waiting" | "confirmed" | "reverted" | "ended";

/** The settings as one text: any other text has to be confirmed again. */
export function describeCapture(options: CaptureOptions): string {
  // Whom this host asks for names comes with its lease.
  const { neverTo: _, ...chosen } = options;
  // What was confirmed before these were settings stays confirmed.
  const isNew = (name: string): boolean => name === "includeCgroups" || name === "excludeCgroups";
  const said = Object.entries(chosen).filter(
    ([name, value]) => !(isNew(name) && Array.isArray(value) && value.length === 0),
  );
  const plain = said.map(([name, value]) => [
    name,
    Array.isArray(value) ? value.map((item) => (isPrefix(item) ? formatNetwork(item) : item)) : value,
  ]);
  return `${JSON.stringify(Object.fromEntries(plain))}\n`;
}

function isPrefix(value: unknown): value is Parameters<typeof formatNetwork>[0] {
  return typeof value === "object" && value !== null && "ip" in value && "length" in value;
}

export class Trial {
  readonly #host: Pick<Host, "files">;
  readonly #logger: Logger;
  readonly #settings: TrialSettings;
  readonly #guard: { release(): void };
  readonly #timer: Timer;
  #state: TrialState = "waiting";
  #onDeadline: (() => Promise<void>) | null = null;

  private constructor(
    host: Pick<Host, "clock" | "files">,
    settings: TrialSettings,
    logger: Logger,
    guard: { release(): void },
  ) {
    this.#host = host;
    this.#settings = settings;
    this.#logger = logger;
    this.#guard = guard;
    this.#timer = host.clock.setTimer(settings.afterMs, () => void this.#revert());
  }

  /**
   * To be called before anything is installed.
   *
   * @returns null when these settings were confirmed before. @throws MeshError `io`, blame local: without a guard nothing is tried.
   */
  static async begin(
    host: Pick<Host, "clock" | "files" | "process">,
    settings: TrialSettings,
    logger: Logger,
  ): Promise<Trial | null> {
    const known = await host.files.readText(settings.path).catch(() => null);
    if (known === settings.subject) return null;
    const guard = await startGuard(host, settings.guardWords);
    return new Trial(host, settings, logger, guard);
  }

  get state(): TrialState {
    return this.#state;
  }

  /** What else is put back at the deadline, by the node itself: it would restore what only its guard has removed. */
  onDeadline(revert: () => Promise<void>): void {
    this.#onDeadline = revert;
    if (this.#state === "reverted") void revert().then(() => this.#guard.release());
  }

  /** @param caller in words for the log. @returns false when it is too late, or was done. */
  async confirm(caller: string): Promise<boolean> {
    if (this.#state !== "waiting") return false;
    this.#state = "confirmed";
    this.#end();
    this.#logger.log("info", "capture", "capture is confirmed", { by: caller });
    const { path, subject } = this.#settings;
    try {
      await this.#host.files.makeDirectory(path.slice(0, path.lastIndexOf("/")), 0o700);
      await this.#host.files.writeAtomic(path, new TextEncoder().encode(subject), 0o600);
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      this.#logger.log("warn", "capture", "the next start will ask for a confirmation again", {
        reason: message,
      });
    }
    return true;
  }

  /** The node stops, and has removed its rules. */
  close(): void {
    if (this.#state !== "waiting") return;
    this.#state = "ended";
    this.#end();
  }

  #end(): void {
    this.#timer.cancel();
    this.#guard.release();
  }

  async #revert(): Promise<void> {
    if (this.#state !== "waiting") return;
    this.#state = "reverted";
    this.#logger.log("error", "capture", "capture was not confirmed in time, and is taken back", {
      remedy: "start again, and run `fairlead capture confirm` when this host can still be reached",
    });
    if (this.#onDeadline === null) return;
    await this.#onDeadline();
    this.#guard.release();
  }
}
