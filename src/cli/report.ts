/** Errors as an operator reads them: what is wrong, where, and what would be right. */
import type { ConfigError } from "../config/sources.ts";
import type { ExitCode, Terminal } from "./bindings.ts";

export function reportConfigErrors(terminal: Terminal, errors: readonly ConfigError[]): ExitCode {
  for (const { where, message } of errors) terminal.error(`${where}: ${message}\n`);
  return 2;
}
