/** One line of the program's log. Values are printed as they are; never put a key or a token here. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Where the program's words go. `target` is the part of the program that speaks, as in ztunnel's log. */
export interface Logger {
  log(level: LogLevel, target: string, message: string, fields?: LogFields): void;
}

export const silentLogger: Logger = { log() {} };
