/** Writes log lines in batches: a line for each connection must not cost each connection a system call. */
import { hostLimits } from "../base/limits/host.ts";
import type { LogEntry, LogFields, Logger, LogLevel } from "../base/log.ts";
import { formatLogLine, isLogged, type LogFormat } from "../base/log_format.ts";
import type { Clock, Timer } from "./host.ts";

export class LogWriter implements Logger {
  readonly #clock: Clock;
  readonly #write: (text: string) => boolean;
  readonly #format: LogFormat;
  /** Lines below it are not written; `/logging` sets it. */
  level: LogLevel;
  #buffer = "";
  #timer: Timer | null = null;
  #lost = 0;
  /** Who looks on: of which target, at every level. */
  readonly #watchers = new Set<{ readonly target: string; readonly listener: (entry: LogEntry) => void }>();

  /** @param write takes whole lines; false when they could not be written, and then they are counted as lost. */
  constructor(clock: Clock, write: (text: string) => boolean, format: LogFormat, level: LogLevel) {
    this.#clock = clock;
    this.#write = write;
    this.#format = format;
    this.level = level;
  }

  /** Lines that the output did not take: a full disk or a closed pipe never stops the data path. */
  get lost(): number {
    return this.#lost;
  }

  /** Hands on all that `target` says, whatever the level of the log. @returns a function that ends it. */
  watch(target: string, listener: (entry: LogEntry) => void): () => void {
    const watcher = { target, listener };
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  wants(level: LogLevel, target: string): boolean {
    if (isLogged(level, this.level)) return true;
    for (const watcher of this.#watchers) if (watcher.target === target) return true;
    return false;
  }

  log(level: LogLevel, target: string, message: string, fields?: LogFields): void {
    if (this.#watchers.size > 0) this.#show({ wallMs: this.#clock.wallMs(), level, target, message, fields });
    if (!isLogged(level, this.level)) return;
    this.#buffer += formatLogLine(this.#format, this.#clock.wallMs(), level, target, message, fields);
    if (this.#buffer.length >= hostLimits.logBufferBytes) this.flush();
    this.#timer ??= this.#clock.setTimer(hostLimits.logDelayMs, () => this.flush());
  }

  #show(entry: LogEntry): void {
    for (const { target, listener } of this.#watchers) if (target === entry.target) listener(entry);
  }

  flush(): void {
    this.#timer?.cancel();
    this.#timer = null;
    if (this.#buffer === "") return;
    const lines = this.#buffer;
    this.#buffer = "";
    if (!this.#write(lines)) this.#lost += lines.split("\n").length - 1;
  }
}
