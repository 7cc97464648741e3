/** Join tokens. Of the secret only a hash is kept, and a token is good for one join. */

import { MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import { type ShareBounds, shareOf } from "../../base/share.ts";
import type { Database, SqlRow } from "../../host/database.ts";
import type { Clock } from "../../host/host.ts";
import type { NewToken, StoredToken, TokenBinding, TokenRefusal } from "../records/tokens.ts";
import type { Room } from "./room.ts";
import { countOf, RowReader, storedMs } from "./row_reader.ts";

export interface TokenBounds {
  readonly maxTokens: number;
  readonly tokenShares: ShareBounds;
}

export class Tokens {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #bounds: TokenBounds;

  readonly #room: Pick<Room, "demand">;

  constructor(
    database: Database,
    clock: Clock,
    room: Pick<Room, "demand">,
    bounds: TokenBounds = stateLimits,
  ) {
    this.#room = room;
    this.#database = database;
    this.#clock = clock;
    this.#bounds = bounds;
  }

  /**
   * The oldest that can be used no more leave when their room is needed. @throws MeshError `limit_reached` for a namespace that has
   * its share of tokens that are still good, and for all; `configuration` for an id that is taken.
   */
  create(token: NewToken): void {
    this.#database.transaction(() => {
      this.#room.demand();
      if (this.get(token.id) !== null)
        throw new MeshError("configuration", "local", `there is already a join token ${token.id}`);
      this.#makeRoom(token.byNamespace);
      this.#database.run(
        "INSERT INTO tokens (id, secret_hash, binding_kind, binding_name, created_at_ms, expires_at_ms, created_by, by_namespace, replace_joined) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        token.id,
        token.secretHash,
        token.binding.kind,
        bindingName(token.binding),
        storedMs(this.#clock.wallMs()),
        storedMs(token.expiresAtMs),
        token.createdBy,
        token.byNamespace,
        token.replace ? 1 : 0,
      );
    });
  }

  get(id: string): StoredToken | null {
    const row = this.#database.get("SELECT * FROM tokens WHERE id = ?", id);
    return row === null ? null : readToken(row);
  }

  /** Looks, and changes nothing: what `redeem` would say now. Who does not know the secret learns nothing of the token. */
  check(id: string, secretHash: Uint8Array, nowMs: number): TokenRefusal | StoredToken {
    const token = this.get(id);
    if (token === null) return "unknown";
    if (!sameBytes(token.secretHash, secretHash)) return "wrong";
    if (token.revokedAtMs !== null) return "revoked";
    if (token.usedAtMs !== null) return "used";
    return token.expiresAtMs <= nowMs ? "expired" : token;
  }

  /** One-time: checks, marks as used and returns it, atomically. */
  redeem(id: string, secretHash: Uint8Array, nowMs: number, usedBy: string): TokenRefusal | StoredToken {
    return this.#database.transaction(() => {
      const token = this.check(id, secretHash, nowMs);
      if (typeof token === "string") return token;
      const usedAtMs = storedMs(nowMs);
      this.#database.run("UPDATE tokens SET used_at_ms = ?, used_by = ? WHERE id = ?", usedAtMs, usedBy, id);
      return { ...token, usedAtMs, usedBy };
    });
  }

  /** The newest first. */
  list(): readonly StoredToken[] {
    return this.#database
      .all("SELECT * FROM tokens ORDER BY created_at_ms DESC, id LIMIT ?", stateLimits.maxTokens)
      .map(readToken);
  }

  /** @returns whether there was one to revoke. */
  revoke(id: string): boolean {
    const revoked = this.#database.run(
      "UPDATE tokens SET revoked_at_ms = ? WHERE id = ? AND revoked_at_ms IS NULL",
      storedMs(this.#clock.wallMs()),
      id,
    );
    return revoked.changes > 0;
  }

  #makeRoom(byNamespace: string): void {
    const { maxTokens, tokenShares } = this.#bounds;
    const nowMs = storedMs(this.#clock.wallMs());
    const held = (where: string, ...values: string[]): number =>
      countOf(
        this.#database.get(
          `SELECT count(*) AS count FROM tokens WHERE used_at_ms IS NULL AND revoked_at_ms IS NULL AND expires_at_ms > ? ${where}`,
          nowMs,
          ...values,
        ),
      );
    const all = held("");
    if (all >= maxTokens)
      throw new MeshError("limit_reached", "local", `there are ${all} join tokens; revoke some`);
    if (byNamespace !== "") {
      const own = held("AND by_namespace = ?", byNamespace);
      const mesh = held("AND by_namespace = ''");
      const share = shareOf(tokenShares, all - mesh - own, mesh);
      if (own >= share)
        throw new MeshError(
          "limit_reached",
          "local",
          `namespace ${byNamespace} has ${own} join tokens that are not used yet, and may have ${share} now; revoke some`,
        );
    }
    const count = countOf(this.#database.get("SELECT count(*) AS count FROM tokens"));
    if (count < maxTokens) return;
    this.#database.run(
      `DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE used_at_ms IS NOT NULL OR revoked_at_ms IS NOT NULL OR expires_at_ms <= ?
       ORDER BY created_at_ms LIMIT ?)`,
      nowMs,
      count + 1 - maxTokens,
    );
  }

  /** What `prune` would forget, so many at a time; and the same rows by their names. */
  due(nowMs: number): readonly StoredToken[] {
    return this.#database
      .all(
        `SELECT * FROM tokens WHERE ${endedBefore} ORDER BY created_at_ms LIMIT ?`,
        nowMs - stateLimits.tokenRetentionMs,
        stateLimits.pruneRows,
      )
      .map(readToken);
  }

  removeAll(tokens: readonly StoredToken[]): void {
    for (const { id } of tokens) this.#database.run("DELETE FROM tokens WHERE id = ?", id);
  }

  /** Forgets those that ended long ago. @returns how many. */
  prune(nowMs: number): number {
    return this.#database.run(`DELETE FROM tokens WHERE ${endedBefore}`, nowMs - stateLimits.tokenRetentionMs)
      .changes;
  }
}

const endedBefore =
  "min(expires_at_ms, ifnull(used_at_ms, expires_at_ms), ifnull(revoked_at_ms, expires_at_ms)) < ?";

function readToken(row: SqlRow): StoredToken {
  const reader = new RowReader("tokens", row);
  return {
    id: reader.text("id"),
    secretHash: reader.bytes("secret_hash", 32),
    binding: readBinding(reader),
    expiresAtMs: reader.integer("expires_at_ms"),
    createdBy: reader.text("created_by"),
    byNamespace: reader.text("by_namespace"),
    replace: reader.flag("replace_joined"),
    createdAtMs: reader.integer("created_at_ms"),
    usedAtMs: reader.integerOrNull("used_at_ms"),
    usedBy: reader.textOrNull("used_by"),
    revokedAtMs: reader.integerOrNull("revoked_at_ms"),
  };
}

/** The node, workload or group that it names. */
export function bindingName(binding: TokenBinding): string {
  switch (binding.kind) {
    case "node":
      return binding.node;
    case "workload":
      return binding.workload;
    case "group":
      return binding.group;
  }
}

export function readBinding(reader: RowReader): TokenBinding {
  const kind = reader.oneOf("binding_kind", ["node", "workload", "group"]);
  const name = reader.text("binding_name");
  switch (kind) {
    case "node":
      return { kind, node: name };
    case "workload":
      return { kind, workload: name };
    case "group":
      return { kind, group: name };
  }
}

/** In a time that says nothing about where they differ. */
function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let index = 0; index < a.length; index++) difference |= (a[index] ?? 0) ^ (b[index] ?? 0);
  return difference === 0;
}
