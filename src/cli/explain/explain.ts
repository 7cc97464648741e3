/** `fairlead explain`: why something is allowed or denied, from documents, a running node, or the control plane. */
import { MeshError } from "../../base/errors.ts";
import type { ControlClientFlags } from "../../config/control/client.ts";
import { formatLocation } from "../../mesh/location.ts";
import { type Explanation, explain } from "../../policy/explain/explain.ts";
import { Unclear } from "../../policy/explain/parties.ts";
import { type Json, text } from "../admin_json.ts";
import type { AdminTarget, CliBindings, ExitCode } from "../bindings.ts";
import { withControl } from "../control/client.ts";
import { reportConfigErrors } from "../report.ts";
import { loadFromOptions } from "../setting_options.ts";
import type { Style } from "../style.ts";
import { formatEnded, formatExplanation } from "./format.ts";
import { meshOfFiles } from "./mesh_of_files.ts";

export interface ExplainFlags extends ControlClientFlags {
  readonly from?: string;
  readonly to?: string;
  readonly port?: number;
  readonly connection?: number;
  readonly file?: readonly string[];
  readonly json?: boolean;
}

/** What the words of the call ask for. */
type Asked = { readonly from: string; readonly to: string; readonly port: number | null };

/** 0: allowed. 1: denied, or not by every endpoint, or it depends on the request. 2: it is not clear what is asked. */
export async function explainCall(
  bindings: CliBindings,
  style: Style,
  options: ExplainFlags & Readonly<Record<string, unknown>>,
  admin: AdminTarget,
): Promise<ExitCode> {
  const { terminal } = bindings;
  const { from, to, port = null, connection, file, control, json = false } = options;
  if (connection !== undefined) {
    if (
      from !== undefined ||
      to !== undefined ||
      port !== null ||
      file !== undefined ||
      control !== undefined
    )
      return refuse(bindings, "--connection is asked of a node, and takes no other words");
    const found = await askNode(bindings, admin, new URLSearchParams({ connection: String(connection) }));
    if (typeof found === "string") return refuse(bindings, found);
    terminal.out(json ? `${JSON.stringify(found, null, 2)}\n` : formatEnded(found, style));
    return 0;
  }
  if (from === undefined || to === undefined)
    return refuse(bindings, "give --from and --to, or --connection with the id of an access line");
  const asked = { from, to, port };
  const tell = (found: Json): ExitCode => {
    terminal.out(json ? `${JSON.stringify(found, null, 2)}\n` : formatExplanation(found, style));
    return text(found, "verdict") === "allowed" ? 0 : 1;
  };
  if (file !== undefined) {
    if (control !== undefined) return refuse(bindings, "--file and --control exclude each other");
    const found = await explainFiles(bindings, options, asked);
    return typeof found === "number" ? found : tell(found);
  }
  const query = queryOf(asked);
  if (control !== undefined)
    return withControl(bindings, style, options, async (client) =>
      tell(await client.get("/v1/explain", Object.fromEntries(query))),
    );
  const found = await askNode(bindings, admin, query);
  return typeof found === "string" ? refuse(bindings, found) : tell(found);
}

async function explainFiles(
  bindings: CliBindings,
  options: Readonly<Record<string, unknown>>,
  asked: Asked,
): Promise<Explanation | ExitCode> {
  const { config, errors } = await loadFromOptions(bindings, options);
  if (config === null) return reportConfigErrors(bindings.terminal, errors);
  const { mesh, errors: wrong } = await meshOfFiles(bindings, config);
  for (const { location, message } of wrong)
    bindings.terminal.error(`${formatLocation(location)}: refused, and judged as a node would: ${message}\n`);
  try {
    return explain(mesh, asked);
  } catch (thrown) {
    if (thrown instanceof Unclear) return refuse(bindings, thrown.message);
    throw thrown;
  }
}

function queryOf({ from, to, port }: Asked): URLSearchParams {
  const query = new URLSearchParams({ from, to });
  if (port !== null) query.set("port", String(port));
  return query;
}

/** @returns the answer; as text, why there is none. */
async function askNode(
  bindings: CliBindings,
  admin: AdminTarget,
  query: URLSearchParams,
): Promise<Json | string> {
  const { status, text: body } = await bindings.askAdmin(admin, "GET", `/explain?${query.toString()}`);
  if (status === 422) return body.trim();
  if (status !== 200)
    throw new MeshError("io", "upstream", `the node refused /explain (${status}): ${body.trim()}`);
  try {
    return JSON.parse(body);
  } catch (cause) {
    throw new MeshError("io", "upstream", "the node at /explain did not answer with JSON", { cause });
  }
}

function refuse({ terminal }: CliBindings, message: string): ExitCode {
  terminal.error(`fairlead: ${message}\n`);
  return 2;
}
