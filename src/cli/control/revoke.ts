/** `fairlead revoke` and `unrevoke`: taking the mesh's trust from a host or an identity, and giving it back. */
import type { ControlClientFlags } from "../../config/control/client.ts";
import { nodeNamespace, SpiffeId } from "../../mesh/identity.ts";
import { list, text } from "../admin_json.ts";
import type { CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";
import { withControl } from "./client.ts";

export interface RevokeFlags extends ControlClientFlags {
  readonly node?: string;
  readonly serial?: string;
  readonly operator?: string;
  readonly tokenId?: string;
  readonly reason?: string;
  readonly lift?: true;
  readonly output?: "text" | "json";
}

/** @param identity a SPIFFE URI, unless a node or a serial number is given. */
export async function revoke(
  bindings: CliBindings,
  style: Style,
  identity: string | undefined,
  flags: RevokeFlags,
): Promise<ExitCode> {
  const { terminal } = bindings;
  const targets = (
    [
      ["identity", identity],
      ["node", flags.node],
      ["serial", flags.serial],
      ["operator", flags.operator],
      ["token", flags.tokenId],
    ] as const
  ).flatMap(([kind, value]) => (value === undefined ? [] : [{ kind, value }]));
  const [target] = targets;
  if (target === undefined || targets.length > 1) {
    terminal.error(
      "say what to revoke, with one of SPIFFE-ID, --node NAME, --serial HEX, --operator ISSUER#SUB, --token-id ISSUER#JTI\n",
    );
    return 2;
  }
  const { kind, value } = target;
  return withControl(bindings, style, flags, async (client) => {
    if (flags.lift === true) {
      await client.delete(`/v1/revocations/${kind}/${encodeURIComponent(value)}`);
      terminal.error(`${kind} ${value} is no longer revoked. ${afterLifting(kind, value)}\n`);
      return 0;
    }
    const made = await client.post("/v1/revocations", { ...target, reason: flags.reason ?? "" });
    if (flags.output === "json") terminal.out(`${JSON.stringify(made, null, 2)}\n`);
    else {
      const count = list(made, "serialNumbers").length;
      const certificates = `, with ${count} valid certificate${count === 1 ? "" : "s"}`;
      const hasCertificates = kind !== "operator" && kind !== "token";
      terminal.error(`${kind} ${value} is revoked${hasCertificates ? certificates : ""}\n`);
      if (text(made, "pending") !== "-")
        terminal.error(`${style.yellow("not published yet")}: ${text(made, "pending")}\n`);
    }
    return 0;
  });
}

/** A host has nothing left to show who it is by; a workload's host has, and asks again. */
function afterLifting(kind: string, value: string): string {
  if (kind === "operator") return "Its tokens are accepted again";
  if (kind === "token") return "It is accepted again until it expires";
  const isHost = kind === "node" || SpiffeId.parse(value)?.namespace === nodeNamespace;
  return isHost
    ? "The host's certificates stay revoked. It has to join again, with a new token: `fairlead join-token create … --replace`"
    : "It gets new certificates again; those that were revoked stay revoked";
}

/** `fairlead nodes remove`. */
export async function removeNode(
  bindings: CliBindings,
  style: Style,
  name: string,
  flags: ControlClientFlags,
): Promise<ExitCode> {
  return withControl(bindings, style, flags, async (client) => {
    await client.delete(`/v1/nodes/${encodeURIComponent(name)}`);
    bindings.terminal.error(`node ${name} is removed, and its certificates are revoked. Its name is free\n`);
    return 0;
  });
}
