/**
 * What a back-up cannot know and a restore must not forget: whose trust was taken since it was made, and what was issued. A join token that
 * it holds as good may have been used since, and one that is used twice lets a stranger in.
 */
import { MeshError } from "../../base/errors.ts";
import type { Database } from "../../host/database.ts";
import { AuditLog } from "./audit.ts";
import { Certificates } from "./certificates.ts";
import { migrate, schemaVersion } from "./migrations.ts";
import { Registrations } from "./registrations.ts";
import { Revocations } from "./revocations.ts";
import { storedMs } from "./row_reader.ts";
import { migrations } from "./schema.ts";

export interface CarriedOver {
  /** Revocations of the state that was replaced and that the back-up did not have; null where that state could not be read. */
  readonly revocations: number | null;
  /** Join tokens that are no longer valid. */
  readonly endedTokens: number;
}

/** @param restored a copy of the back-up. @param replaced the state it takes the place of; null when there is none that can be read. */
export function carryOver(restored: Database, replaced: Database | null, nowMs: number): CarriedOver {
  migrate(restored, migrations);
  return restored.transaction(() => {
    const revocations = replaced === null ? null : carryTrust(restored, replaced, nowMs);
    const endedTokens = restored.run(
      "UPDATE tokens SET revoked_at_ms = ? WHERE used_at_ms IS NULL AND revoked_at_ms IS NULL",
      storedMs(nowMs),
    ).changes;
    const known =
      revocations === null ? "the replaced state could not be read" : `${revocations} revocations taken over`;
    new AuditLog(restored).append({
      atMs: nowMs,
      actor: "fairlead",
      action: "state.restore",
      target: "state",
      outcome: "ok",
      detail: `${known}; ${endedTokens} join tokens ended`,
      before: null,
      after: null,
    });
    return { revocations, endedTokens };
  });
}

/** @returns null for a state that cannot be read, a damaged one say. */
function carryTrust(restored: Database, replaced: Database, nowMs: number): number | null {
  try {
    const version = schemaVersion(replaced);
    if (version === 0 || version > migrations.length) return null;
    const known = new Certificates(restored);
    for (const issued of new Certificates(replaced).all({ validAtMs: nowMs }))
      if (known.bySerial(issued.serial, issued.issuerKey) === null) known.record(issued);
    // A host that has renewed since is known by the certificate that it has now.
    const registrations = new Registrations(restored);
    for (const { node, joinedAtMs, currentSerial, pendingSerial } of new Registrations(replaced).list())
      if (currentSerial != null && registrations.byNode(node)?.joinedAtMs === joinedAtMs)
        registrations.setSerials(node, currentSerial, pendingSerial ?? null);
    return new Revocations(restored).addAll(new Revocations(replaced).list());
  } catch (thrown) {
    if (thrown instanceof MeshError && thrown.code === "database_damaged") return null;
    throw thrown;
  }
}
