/** `fairlead status` of a node: whether it is ready, and what an operator asks next. */
import { MeshError } from "../../base/errors.ts";
import { type Json, list, member, text } from "../admin_json.ts";
import type { AdminTarget, CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";

/** Exit code 1: the node is not ready. @throws MeshError when no node answers. */
export async function nodeStatus(
  bindings: CliBindings,
  style: Style,
  admin: AdminTarget,
  output: "table" | "json",
): Promise<ExitCode> {
  const answer = await bindings.askAdmin(admin, "GET", "/status");
  if (answer.status !== 200)
    throw new MeshError(
      "io",
      "upstream",
      `the node refused /status (${answer.status}): ${answer.text.trim()}`,
    );
  const status: Json = JSON.parse(answer.text);
  const isReady = member(status, "ready") === true;
  if (output === "json") bindings.terminal.out(`${JSON.stringify(status, null, 2)}\n`);
  else
    for (const [what, value] of lines(status, style))
      bindings.terminal.out(`${style.dim(what.padEnd(12))} ${value}\n`);
  return isReady ? 0 : 1;
}

function* lines(status: Json, style: Style): Generator<readonly [what: string, value: string]> {
  yield ["version", text(status, "version")];
  yield ["ready", member(status, "ready") === true ? style.green("yes") : style.red("no")];
  for (const reason of list(status, "pending")) yield ["", text({ reason }, "reason")];
  const workloads = list(status, "workloads");
  if (workloads.length === 0) yield ["workloads", style.yellow("none runs here")];
  for (const [at, workload] of workloads.entries())
    yield [at === 0 ? "workloads" : "", text({ workload }, "workload")];
  yield ["connections", `${text(status, "connections")} open`];
  for (const [at, certificate] of list(status, "certificates").entries()) {
    const state = text(certificate, "state");
    const how =
      state === "available"
        ? `until ${text(certificate, "expires")}`
        : style.red(`${state}: ${text(certificate, "error")}`);
    yield [at === 0 ? "certificates" : "", `${text(certificate, "identity")} ${how}`];
  }
  const refused = Number(text(status, "documents", "refused"));
  const documents = `${text(status, "documents", "accepted")} in force`;
  yield [
    "documents",
    refused > 0 ? `${documents}, ${style.red(`${refused} refused`)} (fairlead get documents)` : documents,
  ];
  const control = member(status, "control");
  if (control !== null && control !== undefined) yield ["control", controlLine(control, style)];
  yield ["log level", text(status, "logLevel")];
}

function controlLine(control: Json, style: Style): string {
  const server = text(control, "server");
  if (member(control, "connected") !== true)
    return `${server} ${style.red(`not connected: ${text(control, "error")}`)}`;
  return `${server} connected${member(control, "current") === true ? "" : style.yellow(", the mesh is as it was last known")}`;
}
