/** `fairlead audit`: who did what, and what was refused; with `--follow` also what comes. */
import { controlAdminLimits } from "../../base/limits/control.ts";
import type { ControlClientFlags } from "../../config/control/client.ts";
import { type Json, list, number, text } from "../admin_json.ts";
import type { CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";
import { formatTable } from "../table.ts";
import { withControl } from "./client.ts";
import { auditColumns } from "./resources.ts";

export interface AuditFlags extends ControlClientFlags {
  readonly namespace?: string;
  readonly actor?: string;
  readonly action?: string;
  readonly limit?: string;
  readonly follow?: true;
  readonly strangers?: true;
  readonly output?: "table" | "json";
}

export async function audit(bindings: CliBindings, style: Style, flags: AuditFlags): Promise<ExitCode> {
  const { terminal, control } = bindings;
  const { namespace, actor, action, limit } = flags;
  return withControl(bindings, style, flags, async (client) => {
    const filter = { namespace, actor, action };
    // The newest are asked for, and shown oldest first: the last line is the latest.
    const path = flags.strangers === true ? "/v1/audit/strangers" : "/v1/audit";
    const first = [...list(await client.get(path, { ...filter, limit }), "entries")].reverse();
    if (flags.follow !== true || flags.strangers === true) {
      if (flags.output === "json") terminal.out(`${JSON.stringify(first, null, 2)}\n`);
      else if (first.length === 0) terminal.error("no entries\n");
      else terminal.out(formatTable(auditColumns, first, style));
      return 0;
    }
    let after = print(bindings, flags, first, 0);
    while (await control.sleep(controlAdminLimits.followIntervalMs)) {
      const entries = list(await client.get("/v1/audit", { ...filter, after: String(after) }), "entries");
      after = print(bindings, flags, entries, after);
    }
    return 0;
  });
}

/** A line an entry, so that it can be piped. @returns the last one's number. */
function print(
  { terminal }: CliBindings,
  flags: AuditFlags,
  entries: readonly Json[],
  after: number,
): number {
  for (const entry of entries)
    terminal.out(flags.output === "json" ? `${JSON.stringify(entry)}\n` : `${auditLine(entry)}\n`);
  const last = entries.at(-1);
  return last === undefined || text(last, "id") === "-" ? after : number(last, "id");
}

function auditLine(entry: Json): string {
  const [, ...cells] = Object.values(auditColumns).map((cell) => cell(entry));
  return cells.join(" ");
}
