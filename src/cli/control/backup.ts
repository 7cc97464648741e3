/** `fairlead backup` and `fairlead restore`: a copy of all state, and the way back, while nothing runs on it. */
import type { ControlClientFlags } from "../../config/control/client.ts";
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
    bindings.terminal.error(`${path} is there already; a back-up is not written over anything\n`);
    return 2;
  }
  return withControl(bindings, style, flags, async (client) => {
    const written = await client.download("/v1/backup", path);
    bindings.terminal.error(
      `${written} bytes in ${path}; its keys are sealed by the key-encryption key, which is not in it\n`,
    );
    return 0;
  });
}

export interface PruneFlags extends ControlClientFlags {
  readonly auditRows: number;
  readonly versions: number;
}

export async function prune(bindings: CliBindings, style: Style, flags: PruneFlags): Promise<ExitCode> {
  const { auditRows, versions } = flags;
  return withControl(bindings, style, flags, async (client) => {
    await client.post("/v1/prune", { auditRows, versions });
    bindings.terminal.error(
      `the state holds at most ${auditRows} rows of the audit log and ${versions} versions of the documents now\n`,
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
    `${stateDirectory} is as the back-up has it: state ${stateId}, documents at version ${documentVersion}, last audit entry ${time(restored, "lastAuditMs")}\n`,
  );
  bindings.terminal.error(
    revocationsKept === null
      ? "what was revoked after the back-up was made is not known here: revoke it again\n"
      : `${revocationsKept} revocations of the state before were kept\n`,
  );
  if (tokensEnded > 0)
    bindings.terminal.error(`${tokensEnded} unused join tokens are good no more: make new ones\n`);
  return 0;
}
