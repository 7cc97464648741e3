/** `fairlead control`: start, say what to do next, and stop in order. */
import type { CliBindings, ExitCode } from "../bindings.ts";
import { reportConfigErrors } from "../report.ts";
import { loadControlPlaneFromOptions } from "../setting_options.ts";
import type { Style } from "../style.ts";
import { untilEnded } from "../until_ended.ts";
import type { StartedControl } from "./bindings.ts";

export async function runControl(
  bindings: CliBindings,
  style: Style,
  options: Readonly<Record<string, unknown>>,
): Promise<ExitCode> {
  const { config, errors } = await loadControlPlaneFromOptions(bindings, options);
  if (config === null) return reportConfigErrors(bindings.terminal, errors);
  const started = await bindings.control.start(config);
  if (bindings.terminal.isTerminal) bindings.terminal.error(describe(started, style));
  await untilEnded(bindings, started);
  return 0;
}

function describe({ address, url, administratorPath }: StartedControl, style: Style): string {
  const lines = [style.bold("the control plane is up")];
  const say = (what: string, value: string): number => lines.push(`  ${style.dim(what.padEnd(14))} ${value}`);
  say("listening", `${address}; nodes reach it as ${url}`);
  say("administrator", administratorPath);
  say("a host joins", "fairlead join-token create --node NAME");
  say("documents", "fairlead apply -f mesh/");
  return `${lines.join("\n")}\n`;
}
