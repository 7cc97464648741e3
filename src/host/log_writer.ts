/** Writes log lines in batches: a line for each connection must not cost each connection a system call. */
import { hostLimits } from "../base/limits/host.ts";
import type { LogFields, Logger, LogLevel } from "../base/log.ts";
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

  log(level: LogLevel, target: string, message: string, fields?: LogFields): void {
    if (!isLogged(level, this.level)) return;
    this.#buffer += formatLogLine(this.#format, this.#clock.wallMs(), level, target, message, fields);
    if (this.#buffer.length >= hostLimits.logBufferBytes) this.flush();
    this.#timer ??= this.#clock.setTimer(hostLimits.logDelayMs, () => this.flush());
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
