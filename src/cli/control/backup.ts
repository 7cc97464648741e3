/** `fairlead backup` and `fairlead restore`: a copy of all state, and the way back, while nothing runs on it. */
import type { ControlClientFlags } from "../../config/control/client.ts";
import { list, text } from "../admin_json.ts";
import type { CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";
import { withControl } from "./client.ts";
import { time } from "./resources.ts";

export async function backup(
  bindings: CliBindings,
  style: Style,
  path: string,
  flags: ControlClientFlags,
): Promise<ExitCode> {
  if (await bindings.control.exists(path)) {
    bindings.terminal.error(`${path} already exists; choose another name for the back-up\n`);
    return 2;
  }
  return withControl(bindings, style, flags, async (client) => {
    const written = await client.download("/v1/backup", path);
    bindings.terminal.error(
      `wrote ${written} bytes to ${path}. The CA's keys in it are sealed; keep the key-encryption key too, which is not in it\n`,
    );
    return 0;
  });
}

export interface PruneFlags extends ControlClientFlags {
  readonly auditRows: number;
  readonly versions: number;
  readonly force?: true;
}

export async function prune(bindings: CliBindings, style: Style, flags: PruneFlags): Promise<ExitCode> {
  const { auditRows, versions } = flags;
  return withControl(bindings, style, flags, async (client) => {
    const force = flags.force === true ? { force: true } : {};
    const answer = await client.post("/v1/prune", { auditRows, versions, ...force });
    bindings.terminal.error(
      `the state now holds at most ${auditRows} rows of the audit log and ${versions} versions of the documents\n`,
    );
    for (const one of list(answer, "waiting"))
      bindings.terminal.error(
        `${text(one, "rows")} rows of the audit log stay until ${text(one, "target")} has them; --force removes them without it\n`,
      );
    return 0;
  });
}

export async function restore(
  bindings: CliBindings,
  path: string,
  options: { readonly stateDirectory: string; readonly overwrite?: true },
): Promise<ExitCode> {
  const { stateDirectory } = options;
  const restored = await bindings.control.restore(path, stateDirectory, options.overwrite === true);
  const { stateId, documentVersion, revocationsKept, tokensEnded } = restored;
  bindings.terminal.error(
    `${stateDirectory} is restored from the back-up: state ${stateId}, documents at version ${documentVersion}, last audit entry ${time(restored, "lastAuditMs")}\n`,
  );
  bindings.terminal.error(
    revocationsKept === null
      ? "what was revoked after the back-up was made is lost: revoke it again\n"
      : `${revocationsKept} revocations of the replaced state were kept\n`,
  );
  if (tokensEnded > 0)
    bindings.terminal.error(`${tokensEnded} unused join tokens are no longer valid: make new ones\n`);
  return 0;
}
