/** Where a program of ours keeps what it must not lose when it is not said. */
import type { ConfigSources } from "./sources.ts";

/** systemd's directory, then the user's, then the machine's. */
export function defaultStateDirectory(environment: ConfigSources["environment"]): string {
  const { STATE_DIRECTORY, XDG_STATE_HOME, HOME } = environment;
  if (STATE_DIRECTORY !== undefined && STATE_DIRECTORY !== "")
    return STATE_DIRECTORY.split(":")[0] ?? STATE_DIRECTORY;
  if (XDG_STATE_HOME !== undefined && XDG_STATE_HOME !== "") return `${XDG_STATE_HOME}/fairlead`;
  return HOME === undefined || HOME === "" ? "/var/lib/fairlead" : `${HOME}/.local/state/fairlead`;
}
