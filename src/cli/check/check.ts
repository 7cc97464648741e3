/** `fairlead check`: what is wrong with this host, its node and its policies, each with a code, what it means and how it is mended. */
import type { AdminTarget, CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";
import { type CheckFinding, codes, fixOf } from "./codes.ts";
import { checkHost } from "./host_checks.ts";
import { checkNode } from "./node_checks.ts";

export interface CheckFlags {
  /** The host alone, before installing. */
  readonly pre?: boolean;
  readonly json?: boolean;
  /** Warnings count as errors. */
  readonly strict?: boolean;
}

/** 0: no error. 1: at least one, or with `strict` a warning. */
export async function check(
  bindings: CliBindings,
  style: Style,
  flags: CheckFlags,
  target: AdminTarget,
): Promise<ExitCode> {
  const { terminal } = bindings;
  const node = flags.pre === true ? null : await checkNode(bindings, target);
  const host = await checkHost(bindings, node !== null);
  const missing: readonly CheckFinding[] =
    node === null && flags.pre !== true
      ? [{ code: "FL201", subject: "node", detail: "its administration does not answer" }]
      : [];
  const found = [...host, ...missing, ...(node ?? [])];
  const errors = found.filter(({ code }) => codes[code].severity === "error").length;
  const warnings = found.length - errors;
  const code = errors > 0 || (flags.strict === true && warnings > 0) ? 1 : 0;
  if (flags.json === true) {
    const findings = found.map((finding) => ({ ...finding, ...codes[finding.code], fix: fixOf(finding) }));
    terminal.out(`${JSON.stringify({ errors, warnings, findings }, null, 2)}\n`);
    return code;
  }
  for (const finding of found) terminal.out(format(finding, style));
  const verdict =
    errors > 0
      ? style.red("not well")
      : warnings > 0
        ? style.yellow("well, with warnings")
        : style.green("well");
  terminal.out(`${verdict}: ${many(errors, "error")}, ${many(warnings, "warning")}\n`);
  return code;
}

function format(finding: CheckFinding, style: Style): string {
  const { severity, title, meaning } = codes[finding.code];
  const paint = severity === "error" ? style.red : style.yellow;
  return `${paint(`${finding.code} ${severity}`)}: ${title}\n  ${finding.detail}\n  ${meaning}\n  ${style.bold("fix:")} ${fixOf(finding)}\n`;
}

function many(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
