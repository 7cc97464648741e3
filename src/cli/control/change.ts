/** `fairlead apply`, `delete`, `diff` and `rollback`: what would change is shown, asked about, and done. */
import type { ControlClientFlags } from "../../config/control/client.ts";
import { type Json, list, member, number, text } from "../admin_json.ts";
import type { CliBindings, ExitCode } from "../bindings.ts";
import { formatFinding } from "../located.ts";
import type { Style } from "../style.ts";
import { type ControlClient, withControl } from "./client.ts";
import { formatDiff } from "./text_diff.ts";

export interface ChangeFlags extends ControlClientFlags {
  readonly file?: readonly string[];
  readonly prune?: readonly string[];
  readonly dryRun?: true;
  readonly yes?: true;
  readonly force?: true;
  readonly output?: "text" | "json";
}

export async function apply(bindings: CliBindings, style: Style, flags: ChangeFlags): Promise<ExitCode> {
  const files = await bindings.readMeshFiles(flags.file ?? []);
  const body = {
    documents: files.map(({ path, text: content }) => ({ path, text: content })),
    ...(flags.prune === undefined ? {} : { prune: flags.prune }),
    ...(flags.force === true ? { force: true } : {}),
  };
  return withControl(
    bindings,
    style,
    flags,
    (client) => change(bindings, style, flags, client, "/v1/apply", body),
    files,
  );
}

/** The difference between files and what is in force, or between two versions. */
export async function diff(
  bindings: CliBindings,
  style: Style,
  versions: readonly string[],
  flags: ChangeFlags,
): Promise<ExitCode> {
  if (flags.file !== undefined) return apply(bindings, style, { ...flags, dryRun: true });
  return withControl(bindings, style, flags, async (client) => {
    const [from, to] = versions;
    const answer = await client.get("/v1/diff", { from, to });
    if (flags.output === "json") bindings.terminal.out(`${JSON.stringify(answer, null, 2)}\n`);
    else {
      show(bindings, style, answer);
      bindings.terminal.error(
        `version ${number(answer, "from")} to ${number(answer, "to")}: ${many(list(answer, "changes").length)} differ\n`,
      );
    }
    return 0;
  });
}

export async function deleteDocuments(
  bindings: CliBindings,
  style: Style,
  keys: readonly string[],
  flags: ChangeFlags,
): Promise<ExitCode> {
  const body = { keys, ...(flags.force === true ? { force: true } : {}) };
  return withControl(bindings, style, flags, (client) =>
    change(bindings, style, flags, client, "/v1/delete", body),
  );
}

export async function rollback(
  bindings: CliBindings,
  style: Style,
  version: number,
  flags: ChangeFlags & { readonly namespace?: readonly string[] },
): Promise<ExitCode> {
  const body = {
    version,
    ...(flags.namespace === undefined ? {} : { namespaces: flags.namespace }),
    ...(flags.force === true ? { force: true } : {}),
  };
  return withControl(bindings, style, flags, (client) =>
    change(bindings, style, flags, client, "/v1/rollback", body),
  );
}

/** Looked at first, then done on exactly what was looked at. */
async function change(
  bindings: CliBindings,
  style: Style,
  flags: ChangeFlags,
  client: ControlClient,
  path: string,
  body: Readonly<Record<string, Json>>,
): Promise<ExitCode> {
  const { terminal } = bindings;
  const plan = await client.post(path, { ...body, dryRun: true });
  const asJson = flags.output === "json";
  const changes = list(plan, "changes");
  if (!asJson) show(bindings, style, plan);
  if (flags.dryRun === true || changes.length === 0) {
    if (asJson) terminal.out(`${JSON.stringify(plan, null, 2)}\n`);
    else
      terminal.error(
        changes.length === 0
          ? "nothing to change\n"
          : `${many(changes.length)} would change; nothing was changed\n`,
      );
    return 0;
  }
  if (!(await agreed(bindings, flags, changes.length))) {
    terminal.error("nothing was changed\n");
    return 1;
  }
  const version = member(plan, "version");
  const made = await client.post(path, {
    ...body,
    ...(typeof version === "number" ? { expectedVersion: version } : {}),
  });
  if (asJson) terminal.out(`${JSON.stringify(made, null, 2)}\n`);
  else {
    const now = member(made, "version");
    terminal.error(
      `${style.green("done")}: ${many(changes.length)} changed${typeof now === "number" ? `, version ${now}` : ""}\n`,
    );
  }
  return 0;
}

async function agreed(bindings: CliBindings, flags: ChangeFlags, count: number): Promise<boolean> {
  if (flags.yes === true || !bindings.terminal.isTerminal) return true;
  const answer = await bindings.control.ask(`change ${many(count)}? [y/N] `);
  return answer !== null && /^y(es)?$/i.test(answer.trim());
}

function show({ terminal }: CliBindings, style: Style, plan: Json): void {
  for (const one of list(plan, "changes"))
    terminal.out(formatDiff(text(one, "key"), textOrNull(one, "before"), textOrNull(one, "after"), style));
  for (const warning of list(plan, "warnings")) {
    const location = {
      file: text(warning, "location", "file"),
      line: number(warning, "location", "line"),
      column: number(warning, "location", "column"),
    };
    const finding = {
      severity: "warning" as const,
      location,
      resource: text(warning, "resource"),
      message: text(warning, "message"),
    };
    terminal.error(formatFinding(finding, null, style));
  }
  for (const reason of list(plan, "lockOuts")) terminal.error(`${style.yellow("forced")}: ${text(reason)}\n`);
}

function textOrNull(value: Json, name: string): string | null {
  const found = member(value, name);
  return typeof found === "string" ? found : null;
}

function many(count: number): string {
  return `${count} document${count === 1 ? "" : "s"}`;
}
