/** Commands that show something of a control plane: `get --control`, `nodes`, `history`, `join-token list`, `ca show`. */
import { controlAdminLimits } from "../../base/limits/control.ts";
import type { ControlClientFlags } from "../../config/control/client.ts";
import { type Json, list, member, text } from "../admin_json.ts";
import type { CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";
import { formatTable } from "../table.ts";
import { type ControlClient, withControl } from "./client.ts";
import { type ControlResource, controlResources } from "./resources.ts";

export interface ShowFlags extends ControlClientFlags {
  readonly output?: "table" | "json" | "yaml";
  readonly namespace?: string;
  readonly limit?: string;
}

/** @param name of a resource, or a kind of document, whose documents are then shown. */
export async function show(
  bindings: CliBindings,
  style: Style,
  name: string,
  flags: ShowFlags,
  query: Readonly<Record<string, string | undefined>> = {},
): Promise<ExitCode> {
  const resource =
    controlResources[name] ?? (/^[A-Z][A-Za-z]+$/.test(name) ? controlResources.documents : undefined);
  if (resource === undefined) {
    bindings.terminal.error(
      `a control plane has no resource "${name}"; it has ${Object.keys(controlResources).join(", ")}, and kinds of documents\n`,
    );
    return 2;
  }
  const isDocuments = resource.path === "/v1/documents";
  if (flags.output === "yaml" && !isDocuments) {
    bindings.terminal.error("only documents can be shown as YAML; use -o table or -o json\n");
    return 2;
  }
  const asked = {
    ...query,
    ...(isDocuments && name !== "documents" ? { kind: name } : {}),
    ...(isDocuments ? { namespace: flags.namespace } : {}),
    ...(flags.limit === undefined ? {} : { limit: flags.limit }),
  };
  return withControl(bindings, style, flags, async (client) => {
    if (flags.output === "yaml") {
      bindings.terminal.out(await client.getText(resource.path, { ...asked, output: "yaml" }));
      return 0;
    }
    const items = await listAll(client, resource, asked);
    if (flags.output === "json") bindings.terminal.out(`${JSON.stringify(items, null, 2)}\n`);
    else if (items.length === 0) bindings.terminal.error(`no ${name}\n`);
    else bindings.terminal.out(formatTable(resource.columns, items, style));
    return 0;
  });
}

/** Page after page where there are pages: all of them, or as many items as were asked for. */
async function listAll(
  client: ControlClient,
  { path, member: name, isPaged }: ControlResource,
  asked: Readonly<Record<string, string | undefined>>,
): Promise<readonly Json[]> {
  if (isPaged !== true) return list(await client.get(path, asked), name);
  const wanted = asked.limit === undefined ? Number.POSITIVE_INFINITY : Number(asked.limit);
  const items: Json[] = [];
  for (let after: string | undefined; ; ) {
    // What is no number is the control plane's to refuse.
    const limit = Number.isNaN(wanted)
      ? asked.limit
      : String(Math.min(controlAdminLimits.maxPage, wanted - items.length));
    const page: Json = await client.get(path, { ...asked, limit, after });
    items.push(...list(page, name));
    const next: Json = member(page, "next");
    if (typeof next !== "string" || next === after || items.length >= wanted) return items;
    after = next;
  }
}

/** How the control plane is, and who it takes us for. */
export async function showStatus(bindings: CliBindings, style: Style, flags: ShowFlags): Promise<ExitCode> {
  return withControl(bindings, style, flags, async (client: ControlClient) => {
    const status = await client.get("/v1/status");
    if (flags.output === "json") {
      bindings.terminal.out(`${JSON.stringify(status, null, 2)}\n`);
      return 0;
    }
    const say = (what: string, value: string): void =>
      bindings.terminal.out(`${style.dim(what.padEnd(12))} ${value}\n`);
    say("version", text(status, "version", "version"));
    say("ready", member(status, "ready") === true ? style.green("yes") : style.red("no"));
    // For those who administer the mesh: others are not told what of it is in the way.
    for (const reason of list(status, "pending")) say("", text(reason));
    const readOnly: Json = member(status, "readOnly");
    if (typeof readOnly === "string")
      say("state", style.red(`cannot be written: ${text(status, "readOnly")}`));
    say("documents", `version ${text(status, "documentVersion")}`);
    if (member(status, "nodes") !== undefined)
      say("nodes", `${text(status, "connected")} of ${text(status, "nodes")} connected`);
    for (const one of list(status, "auditExports")) {
      const state: Json = member(one, "failing");
      const isFailing = state !== null && state !== undefined;
      const waiting = `${text(one, "waiting")} rows wait`;
      const lost =
        Number(text(one, "lost")) > 0 ? `, ${text(one, "lost")} were removed before it had them` : "";
      const how = isFailing ? style.red(`${waiting}: ${text(one, "failing", "reason")}`) : waiting;
      say("audit", `${text(one, "target")} ${text(one, "where")}: ${how}${lost}`);
    }
    say("you", text(status, "you", "name"));
    for (const role of list(status, "you", "roles")) {
      const namespaces = list(role, "namespaces");
      say("role", `${text(role, "role")}${namespaces.length === 0 ? "" : ` of ${text(role, "namespaces")}`}`);
    }
    return 0;
  });
}
