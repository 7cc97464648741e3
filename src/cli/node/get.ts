/** `fairlead get`: what a running node knows, asked from its administration port. */

import { MeshError } from "../../base/errors.ts";
import { type Json, list, member } from "../admin_json.ts";
import type { AdminTarget, CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";
import { formatTable } from "../table.ts";
import { type Resource, resources } from "./resources.ts";
import { summarizeTraffic } from "./traffic.ts";

export interface GetOptions {
  readonly resource: string;
  readonly output: "table" | "json";
  readonly admin: AdminTarget;
  readonly namespace: string | null;
}

export async function get(bindings: CliBindings, style: Style, options: GetOptions): Promise<ExitCode> {
  const resource = resources[options.resource];
  if (resource === undefined) {
    bindings.terminal.error(
      `a node has no resource "${options.resource}"; it has ${Object.keys(resources).join(", ")}\n`,
    );
    return 2;
  }
  const items = await fetchItems(bindings, options.admin, resource, options.resource);
  const chosen =
    options.namespace === null
      ? items
      : items.filter((item) => resource.namespace(item) === options.namespace);
  if (options.output === "json") {
    bindings.terminal.out(`${JSON.stringify(chosen, null, 2)}\n`);
    return 0;
  }
  if (chosen.length === 0) bindings.terminal.error(`no ${options.resource}\n`);
  else bindings.terminal.out(formatTable(resource.columns, chosen, style));
  return 0;
}

async function fetchItems(
  bindings: CliBindings,
  admin: AdminTarget,
  resource: Resource,
  name: string,
): Promise<readonly Json[]> {
  const answer = await bindings.askAdmin(admin, "GET", resource.path);
  if (answer.status !== 200)
    throw new MeshError(
      "io",
      "upstream",
      `the node refused ${resource.path} (${answer.status}): ${answer.text.trim()}`,
    );
  if (name === "traffic") return summarizeTraffic(answer.text);
  const body = parseJson(answer.text, `the node at ${resource.path}`);
  return list(member(body, resource.member));
}

function parseJson(text: string, where: string): Json {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MeshError("io", "upstream", `${where} did not answer with JSON`, { cause });
  }
}
