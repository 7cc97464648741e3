/** The manual page, of what the commands say of themselves: man(7). */
import type { CommandPage } from "./command_tree.ts";

/** @param date as `2026-11-29`. */
export function manualOf(
  pages: readonly CommandPage[],
  overview: string,
  version: string,
  date: string,
): string {
  const [, ...commands] = pages;
  const lines = [
    `.TH FAIRLEAD 1 "${date}" "fairlead ${version}" "Fairlead"`,
    ".SH NAME",
    "fairlead \\- a zero\\-trust service mesh for hosts: node tunnel, waypoint and control plane",
    ".SH SYNOPSIS",
    ".B fairlead",
    "\\fICOMMAND\\fR [\\fIOPTION\\fR]...",
    ".SH DESCRIPTION",
    ".nf",
    troff(overview),
    ".fi",
    ".SH COMMANDS",
  ];
  for (const { path, description, usage, options } of commands) {
    lines.push(`.SS "fairlead ${troff(path.join(" "))}${usage === "" ? "" : ` ${troff(usage)}`}"`);
    for (const paragraph of description.split("\n").filter((each) => each.trim() !== ""))
      lines.push(troff(paragraph.trim()), ".br");
    for (const option of options) lines.push(".TP", `.B ${troff(option.flags)}`, troff(option.description));
  }
  lines.push(
    ".SH EXIT STATUS",
    "0: well. 1: it failed, or the answer is no. 2: it was called wrongly.",
    ".SH FILES",
    ".TP",
    ".I /etc/fairlead/fairlead.yaml",
    "settings, as of \\-\\-config",
    ".TP",
    ".I /etc/default/fairlead",
    "what the service is started with",
    ".TP",
    ".I /var/lib/fairlead",
    "keys and state",
  );
  return `${lines.join("\n")}\n`;
}

/** A line that begins with a dot or a quote is a request to man. */
function troff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll('"', "\\(dq")
    .replaceAll(/^(?=[.'])/gm, "\\&");
}
