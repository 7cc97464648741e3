/** The version in words. */
import type { CliBindings } from "./bindings.ts";

export function versionLine(bindings: CliBindings): string {
  const { version = "unknown", takes: _ofPrograms, ...rest } = bindings.version;
  const details = Object.entries(rest).map(([name, value]) => `${name} ${value}`);
  return `fairlead ${version} (${details.join(", ")})`;
}
