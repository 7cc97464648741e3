/** One line of the program's log. Values are printed as they are; never put a key or a token here. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Where the program's words go. `target` is the part of the program that speaks, as in ztunnel's log. */
export interface Logger {
  log(level: LogLevel, target: string, message: string, fields?: LogFields): void;
  /** Whether such a line would reach anyone: what is costly to say is left unsaid otherwise, and without it. */
  wants?(level: LogLevel, target: string): boolean;
}

/** One thing that was said, before it is a line. */
export interface LogEntry {
  /** Milliseconds since the Unix epoch. */
  readonly wallMs: number;
  readonly level: LogLevel;
  readonly target: string;
  readonly message: string;
  readonly fields: LogFields | undefined;
}

export const silentLogger: Logger = { log() {}, wants: () => false };
