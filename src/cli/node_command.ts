/** `fairlead up` and `fairlead node` as commands. */
import type { Command } from "commander";
import { joinSettingNames, nodeSettingNames } from "../config/settings.ts";
import type { CliBindings, ExitCode } from "./bindings.ts";
import { examples } from "./help.ts";
import { runNode } from "./node/run.ts";
import { addSettingOptions } from "./setting_options.ts";
import type { Style } from "./style.ts";

export type NodeRole = keyof typeof nodeSummary;

const nodeSummary = {
  up: "run a mesh on this host, with a CA of its own",
  node: "run this host as a node of a mesh, with a control plane or with CA files",
} as const;

export function addNodeCommand(
  program: Command,
  role: NodeRole,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  const command = program.command(role).summary(nodeSummary[role]).description(nodeSummary[role]);
  // A mesh of its own has no use for them; who gives one all the same is told what to run.
  addSettingOptions(command, nodeSettingNames, role === "up" ? joinSettingNames : []);
  command
    .option("--check", "read the settings, say what is wrong with them, and end")
    .addHelpText("after", examples(role, style))
    .action(async (options: Readonly<Record<string, unknown>>) =>
      finish(await runNode(bindings, style, role, options)),
    );
}
