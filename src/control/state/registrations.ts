/** Hosts that have joined. One stays known, with its credentials good for renewal, until it is removed or revoked. */

import { MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import { type ShareBounds, shareOf } from "../../base/share.ts";
import type { Database, SqlRow } from "../../host/database.ts";
import type { Registration } from "../records/registrations.ts";
import type { TokenBinding } from "../records/tokens.ts";
import { countOf, RowReader, storedMs, storedMsOrNull } from "./row_reader.ts";
import { bindingName, readBinding } from "./tokens.ts";

export interface RegistrationBounds {
  readonly maxRegistrations: number;
  readonly registrationShares: ShareBounds;
}

export class Registrations {
  /** Grows with every change but `touch`: what is made of registrations is made again when it differs. */
  version = 0;
  readonly #database: Database;
  readonly #listeners = new Set<(node: string) => void>();

  readonly #bounds: RegistrationBounds;

  constructor(database: Database, bounds: RegistrationBounds = stateLimits) {
    this.#database = database;
    this.#bounds = bounds;
  }

  /** In place of what is known under that name. @throws MeshError `limit_reached`. */
  put(registration: Registration): void {
    const { node, binding } = registration;
    this.#database.transaction(() => {
      if (this.byNode(node) === null) this.#checkRoom(binding);
      this.#database.run(
        "INSERT OR REPLACE INTO registrations (node, binding_kind, binding_name, addresses, network, labels, joined_at_ms, last_seen_ms, token_id, revoked_at_ms, revoke_reason, current_serial, pending_serial) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        node,
        binding.kind,
        bindingName(binding),
        JSON.stringify(registration.addresses),
        registration.network,
        JSON.stringify(registration.labels),
        storedMs(registration.joinedAtMs),
        storedMs(registration.lastSeenMs),
        registration.tokenId,
        storedMsOrNull(registration.revokedAtMs),
        registration.revokeReason,
        registration.currentSerial ?? null,
        registration.pendingSerial ?? null,
      );
    });
    this.#changed(node);
  }

  byNode(node: string): Registration | null {
    const row = this.#database.get("SELECT * FROM registrations WHERE node = ?", node);
    return row === null ? null : readRegistration(row);
  }

  /** The host that joined by this token. */
  byToken(tokenId: string): Registration | null {
    const row = this.#database.get("SELECT * FROM registrations WHERE token_id = ?", tokenId);
    return row === null ? null : readRegistration(row);
  }

  /** By name. */
  list(): readonly Registration[] {
    return this.#database.all("SELECT * FROM registrations ORDER BY node").map(readRegistration);
  }

  /** Those after a name, a few hundred at a time. Empty at the end. */
  page(afterNode: string): readonly Registration[] {
    return this.#database
      .all(
        "SELECT * FROM registrations WHERE node > ? ORDER BY node LIMIT ?",
        afterNode,
        stateLimits.registrationsPerPage,
      )
      .map(readRegistration);
  }

  /** Those that were not seen since, the longest gone first. */
  unseenSince(ms: number, limit: number): readonly Registration[] {
    return this.#database
      .all(
        "SELECT * FROM registrations WHERE last_seen_ms < ? ORDER BY last_seen_ms LIMIT ?",
        storedMs(Math.max(0, ms)),
        limit,
      )
      .map(readRegistration);
  }

  /** The members of a WorkloadGroup, revoked ones left out. @param group `namespace/name` */
  ofGroup(group: string): readonly Registration[] {
    return this.#database
      .all(
        "SELECT * FROM registrations WHERE binding_kind = 'group' AND binding_name = ? AND revoked_at_ms IS NULL ORDER BY node",
        group,
      )
      .map(readRegistration);
  }

  count(): number {
    return countOf(this.#database.get("SELECT count(*) AS count FROM registrations"));
  }

  touch(node: string, nowMs: number): void {
    this.#database.run("UPDATE registrations SET last_seen_ms = ? WHERE node = ?", storedMs(nowMs), node);
  }

  /** Which certificates it renews by. No change as `subscribe` and `version` mean it. */
  setSerials(node: string, currentSerial: string, pendingSerial: string | null): void {
    this.#database.run(
      "UPDATE registrations SET current_serial = ?, pending_serial = ? WHERE node = ?",
      currentSerial,
      pendingSerial,
      node,
    );
  }

  /** @returns whether it was there. */
  remove(node: string): boolean {
    const isGone = this.#database.run("DELETE FROM registrations WHERE node = ?", node).changes > 0;
    if (isGone) this.#changed(node);
    return isGone;
  }

  /** The first revocation is the one that is remembered. @returns whether it was there and not revoked. */
  revoke(node: string, reason: string, nowMs: number): boolean {
    const revoked = this.#database.run(
      "UPDATE registrations SET revoked_at_ms = ?, revoke_reason = ? WHERE node = ? AND revoked_at_ms IS NULL",
      storedMs(nowMs),
      reason,
      node,
    );
    if (revoked.changes > 0) this.#changed(node);
    return revoked.changes > 0;
  }

  /**
   * @param listener is called after each change but `touch`, maybe within a transaction that is not over: it looks at what became of
   *   it later. @returns a function that ends the subscription.
   */
  subscribe(listener: (node: string) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  #changed(node: string): void {
    this.version++;
    for (const listener of [...this.#listeners]) listener(node);
  }

  #checkRoom(binding: TokenBinding): void {
    const count = this.count();
    if (count >= this.#bounds.maxRegistrations)
      throw new MeshError(
        "limit_reached",
        "local",
        `${count} hosts have joined, which is the limit; remove those that are gone`,
      );
    if (binding.kind === "node") return;
    const [namespace = ""] = bindingName(binding).split("/");
    // All names of one namespace: "/" is followed by "0".
    const own = countOf(
      this.#database.get(
        "SELECT count(*) AS count FROM registrations WHERE binding_kind IN ('workload', 'group') AND binding_name >= ? AND binding_name < ?",
        `${namespace}/`,
        `${namespace}0`,
      ),
    );
    const mesh = countOf(
      this.#database.get("SELECT count(*) AS count FROM registrations WHERE binding_kind = 'node'"),
    );
    const share = shareOf(this.#bounds.registrationShares, count - mesh - own, mesh);
    if (own < share) return;
    const message = `${own} hosts of namespace ${namespace} have joined, and it may have ${share} now; remove those that are gone`;
    throw new MeshError("limit_reached", "local", message);
  }
}

function readRegistration(row: SqlRow): Registration {
  const reader = new RowReader("registrations", row);
  return {
    node: reader.text("node"),
    binding: readBinding(reader),
    addresses: reader.texts("addresses"),
    network: reader.text("network"),
    labels: reader.textMap("labels"),
    joinedAtMs: reader.integer("joined_at_ms"),
    lastSeenMs: reader.integer("last_seen_ms"),
    tokenId: reader.textOrNull("token_id"),
    revokedAtMs: reader.integerOrNull("revoked_at_ms"),
    revokeReason: reader.textOrNull("revoke_reason"),
    // A state of an earlier program, read for what must not be forgotten of it, has no such columns.
    currentSerial: "current_serial" in row ? reader.textOrNull("current_serial") : null,
    pendingSerial: "pending_serial" in row ? reader.textOrNull("pending_serial") : null,
  };
}
