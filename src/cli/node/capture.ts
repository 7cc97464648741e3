/** `fairlead capture …`: the rules by which a node takes this host's TCP: shown, kept, and removed without a node. */
import { InvalidArgumentError } from "commander";
import { MeshError } from "../../base/errors.ts";
import { captureLimits } from "../../base/limits/capture.ts";
import { Invalid, readDuration } from "../../config/value.ts";
import type { AdminTarget, CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";

/** 0: there are none, or they work. 1: something is wrong with them. */
export async function showCapture(bindings: CliBindings, style: Style, json: boolean): Promise<ExitCode> {
  const { terminal, capture } = bindings;
  const status = await capture.status();
  const { state, backends, ports, findings } = status;
  const isWell = (state === "none" || state === "in force") && backends.length < 2;
  if (json) {
    terminal.out(`${JSON.stringify(status, null, 2)}\n`);
    return isWell ? 0 : 1;
  }
  const paint = isWell ? style.green : style.red;
  const lines = [`${paint(state)}: ${explanation[state]}`];
  for (const { name, version } of backends) lines.push(`  installed by ${name} (${version})`);
  if (ports.length > 0) lines.push(`  captured connections go to port ${ports.join(" and ")}`);
  for (const { message, remedy } of findings)
    lines.push("", `${style.yellow("note:")} ${message}`, `  ${remedy}`);
  terminal.out(`${lines.join("\n")}\n`);
  return isWell ? 0 : 1;
}

const explanation = {
  none: "this host has no capture rules",
  "in force": "the capture rules are loaded, and a node takes what they capture",
  incomplete:
    "some of the capture rules are missing; a running node restores them; without a node, run `fairlead capture remove`",
  "left behind":
    "the capture rules are loaded and no node listens, so captured connections are refused; start a node, or run `fairlead capture remove`",
} as const;

/** @param force also while a node is running, which puts them back. */
export async function removeCaptureRules(bindings: CliBindings, force: boolean): Promise<ExitCode> {
  const { terminal, capture } = bindings;
  const { state } = await capture.status();
  if (state === "none") {
    terminal.out("this host has no capture rules\n");
    return 0;
  }
  if (state === "in force" && !force) {
    terminal.error(
      "fairlead: a node is running here and would restore the rules. Stop the node, which removes them, or use --force\n",
    );
    return 1;
  }
  await capture.remove();
  terminal.out("the capture rules are removed: connections of this host now go outside of the mesh\n");
  return 0;
}

/** `fairlead capture confirm`. @throws MeshError when there is nothing to confirm, or no node. */
export async function confirmCapture(bindings: CliBindings, admin: AdminTarget): Promise<ExitCode> {
  const { status, text } = await bindings.askAdmin(admin, "POST", "/capture/confirm");
  if (status !== 200)
    throw new MeshError(status === 403 ? "permission_denied" : "io", "upstream", text.trim());
  bindings.terminal.out("capture is confirmed: it stays, and these settings are not asked for again\n");
  return 0;
}

export function readGuardDuration(text: string): number {
  const ms = readDuration(0, captureLimits.maxConfirmMs + captureLimits.guardLaterMs)(text);
  if (ms instanceof Invalid) throw new InvalidArgumentError(`"${text}" is ${ms.reason}`);
  return ms;
}
