/** `fairlead drain` and `fairlead log-level`: what is changed of a running node, by its administration socket. */
import { MeshError } from "../../base/errors.ts";
import type { AdminTarget, CliBindings, ExitCode } from "../bindings.ts";

export async function drain(bindings: CliBindings, admin: AdminTarget): Promise<ExitCode> {
  await post(bindings, admin, "/quitquitquit");
  bindings.terminal.out("the node waits for open connections to finish, then stops\n");
  return 0;
}

/** @param level null shows it. */
export async function logLevel(
  bindings: CliBindings,
  admin: AdminTarget,
  level: string | null,
): Promise<ExitCode> {
  const query = level === null ? "" : `?level=${encodeURIComponent(level)}`;
  bindings.terminal.out(await post(bindings, admin, `/logging${query}`));
  return 0;
}

async function post(bindings: CliBindings, admin: AdminTarget, path: string): Promise<string> {
  const { status, text } = await bindings.askAdmin(admin, "POST", path);
  if (status === 200) return text;
  throw new MeshError(status === 403 ? "permission_denied" : "io", "upstream", text.trim());
}
