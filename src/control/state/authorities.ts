/** Roots and intermediates, with their keys as they were sealed: this file never sees one in the open. */
import { MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import type { Database, SqlRow } from "../../host/database.ts";
import { countOf, RowReader, storedMs } from "./row_reader.ts";

const states = ["active", "next", "retiring", "retired"] as const;
export type AuthorityState = (typeof states)[number];

export interface StoredAuthority {
  readonly id: string;
  readonly kind: "root" | "intermediate";
  readonly certificatePem: string;
  /** What is between it and its root, the root included where it is known; "" for a root. */
  readonly chainPem: string;
  /** Null when the key is elsewhere, or was forgotten. */
  readonly sealedKey: Uint8Array | null;
  readonly state: AuthorityState;
  readonly createdAtMs: number;
}

export class Authorities {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** The oldest first. */
  list(): readonly StoredAuthority[] {
    return this.#database.all("SELECT * FROM authorities ORDER BY created_at_ms, rowid").map(readAuthority);
  }

  get(id: string): StoredAuthority | null {
    const row = this.#database.get("SELECT * FROM authorities WHERE id = ?", id);
    return row === null ? null : readAuthority(row);
  }

  /** In place of what has that id. @throws MeshError `limit_reached`. */
  put(authority: StoredAuthority): void {
    this.#database.transaction(() => {
      this.#database.run(
        "INSERT INTO authorities (id, kind, certificate_pem, chain_pem, sealed_key, state, created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, certificate_pem = excluded.certificate_pem, chain_pem = excluded.chain_pem, sealed_key = excluded.sealed_key, state = excluded.state",
        authority.id,
        authority.kind,
        authority.certificatePem,
        authority.chainPem,
        authority.sealedKey,
        authority.state,
        storedMs(authority.createdAtMs),
      );
      if (
        countOf(this.#database.get("SELECT count(*) AS count FROM authorities")) > stateLimits.maxAuthorities
      )
        throw new MeshError("limit_reached", "local", "there are too many authorities; remove retired ones");
    });
  }

  /** @returns whether there is one. */
  setState(id: string, state: AuthorityState): boolean {
    return this.#database.run("UPDATE authorities SET state = ? WHERE id = ?", state, id).changes > 0;
  }

  /** Of one that signs no more. The file's pages are overwritten; back-ups still hold it. @returns whether there is one. */
  forgetKey(id: string): boolean {
    return this.#database.run("UPDATE authorities SET sealed_key = NULL WHERE id = ?", id).changes > 0;
  }

  /** @returns whether there was one. */
  remove(id: string): boolean {
    return this.#database.run("DELETE FROM authorities WHERE id = ?", id).changes > 0;
  }
}

function readAuthority(row: SqlRow): StoredAuthority {
  const reader = new RowReader("authorities", row);
  return {
    id: reader.text("id"),
    kind: reader.oneOf("kind", ["root", "intermediate"]),
    certificatePem: reader.text("certificate_pem"),
    chainPem: reader.text("chain_pem"),
    sealedKey: reader.bytesOrNull("sealed_key"),
    state: reader.oneOf("state", states),
    createdAtMs: reader.integer("created_at_ms"),
  };
}
