/** `fairlead join-token`: the one line by which a host comes into the mesh. */

import { identityLimits } from "../../base/limits/control.ts";
import type { ControlClientFlags } from "../../config/control/client.ts";
import { Invalid, readDuration } from "../../config/value.ts";
import { text } from "../admin_json.ts";
import type { CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";
import { withControl } from "./client.ts";
import { time } from "./resources.ts";

export interface JoinTokenFlags extends ControlClientFlags {
  readonly node?: string;
  readonly workload?: string;
  readonly group?: string;
  readonly ttl?: string;
  readonly replace?: true;
  readonly output?: "text" | "json";
}

export async function createJoinToken(
  bindings: CliBindings,
  style: Style,
  flags: JoinTokenFlags,
): Promise<ExitCode> {
  const { terminal } = bindings;
  const given = (["node", "workload", "group"] as const).filter((kind) => flags[kind] !== undefined);
  const [kind] = given;
  if (kind === undefined || given.length > 1) {
    terminal.error(
      "say what the token is for, with one of --node NAME, --workload NS/NAME, --group NS/NAME\n",
    );
    return 2;
  }
  const ttlMs =
    flags.ttl === undefined
      ? null
      : readDuration(identityLimits.minJoinTokenMs, identityLimits.maxJoinTokenMs)(flags.ttl);
  if (ttlMs instanceof Invalid) {
    terminal.error(`--ttl: "${flags.ttl}" is ${ttlMs.reason}\n`);
    return 2;
  }
  return withControl(bindings, style, flags, async (client) => {
    const made = await client.post("/v1/join-tokens", {
      binding: { kind, [kind]: flags[kind] },
      ...(ttlMs === null ? {} : { ttlMs }),
      ...(flags.replace === true ? { replace: true } : {}),
    });
    // The line alone goes to the output: it is pasted, or piped to the host.
    terminal.out(flags.output === "json" ? `${JSON.stringify(made, null, 2)}\n` : `${text(made, "line")}\n`);
    if (flags.output !== "json")
      terminal.error(
        style.dim(`valid for one join, until ${time(made, "expiresAtMs")}; the token is not shown again\n`),
      );
    return 0;
  });
}

export async function revokeJoinToken(
  bindings: CliBindings,
  style: Style,
  id: string,
  flags: JoinTokenFlags,
): Promise<ExitCode> {
  return withControl(bindings, style, flags, async (client) => {
    await client.delete(`/v1/join-tokens/${encodeURIComponent(id)}`);
    bindings.terminal.error(`join token ${id} is revoked\n`);
    return 0;
  });
}
