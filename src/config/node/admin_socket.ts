/** Where a node's administration socket is when it is not said: the node and the command line have to agree without talking. */
import { formatSocketAddress, type SocketAddress } from "../../base/ip.ts";
import type { ConfigSources } from "../sources.ts";
import { defaultStateDirectory } from "../state_directory.ts";

/**
 * @param admin the node's administration port, which tells several nodes of one host apart; null without one.
 * @returns the first is where a node opens it; the command line looks at all of them: it may run as another user, or outside of the
 *   node's service.
 */
export function adminSocketPaths(
  environment: ConfigSources["environment"],
  admin: SocketAddress | null,
): readonly [string, ...string[]] {
  const { RUNTIME_DIRECTORY, XDG_RUNTIME_DIR } = environment;
  const directories = [
    // systemd.exec(5), RuntimeDirectory=; a list has colons.
    RUNTIME_DIRECTORY?.split(":")[0] ?? "",
    isSet(XDG_RUNTIME_DIR) ? `${XDG_RUNTIME_DIR}/fairlead` : "",
    defaultStateDirectory(environment),
    "/run/fairlead",
  ].filter((directory) => directory !== "");
  const [first = "", ...others] = directories.map((directory) => `${directory}/${nameOf(admin)}`);
  return [first, ...others];
}

/** The port alone where it is reached by loopback: a wildcard is. */
function nameOf(admin: SocketAddress | null): string {
  if (admin === null) return "admin.sock";
  const isUsual = admin.ip.text === "127.0.0.1" || admin.ip.bytes.every((byte) => byte === 0);
  const text = isUsual ? String(admin.port) : formatSocketAddress(admin).replace(/[[\]]/g, "");
  return `admin-${text}.sock`;
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== "";
}
