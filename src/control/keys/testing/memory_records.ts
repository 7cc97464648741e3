/** State in memory of the shape that `control/keys` asks for; a copy of it is what a process finds after it was killed. */
import type {
  AuthorityRow,
  AuthorityState,
  IssuedRecords,
  IssuedRow,
  KeyRecords,
  RevocationRow,
} from "../../records/keys.ts";

type Query = Parameters<IssuedRecords["all"]>[0];

export class MemoryRecords implements KeyRecords {
  #authorities: readonly AuthorityRow[];
  #issued: readonly IssuedRow[];
  #revocations: readonly RevocationRow[];
  readonly #settings: Map<string, string>;
  /** Called before each write of an authority; throws to play a process that is killed there. */
  beforeWrite: () => void = () => {};

  constructor(from?: MemoryRecords) {
    this.#authorities = from === undefined ? [] : from.#authorities;
    this.#issued = from === undefined ? [] : from.#issued;
    this.#revocations = from === undefined ? [] : from.#revocations;
    this.#settings = new Map(from === undefined ? [] : from.#settings);
  }

  readonly authorities = {
    list: (): readonly AuthorityRow[] => this.#authorities,
    put: (row: AuthorityRow): void => {
      this.beforeWrite();
      const isThere = this.#authorities.some((one) => one.id === row.id);
      this.#authorities = isThere
        ? this.#authorities.map((one) => (one.id === row.id ? row : one))
        : [...this.#authorities, row];
    },
    setState: (id: string, state: AuthorityState): boolean => this.#change(id, { state }),
    forgetKey: (id: string): boolean => this.#change(id, { sealedKey: null }),
    remove: (id: string): boolean => {
      this.beforeWrite();
      const before = this.#authorities.length;
      this.#authorities = this.#authorities.filter((one) => one.id !== id);
      return this.#authorities.length < before;
    },
  };

  readonly certificates = {
    record: (row: IssuedRow): void => {
      this.#issued = [row, ...this.#issued];
    },
    atOnce: (work: () => void): void => {
      const before = this.#issued;
      try {
        work();
      } catch (thrown) {
        this.#issued = before;
        throw thrown;
      }
    },
    bySerial: (serial: string): IssuedRow | null => this.#issued.find((one) => one.serial === serial) ?? null,
    countValid: (requestedBy: string, validAtMs: number): number =>
      this.#issued.filter((one) => one.requestedBy === requestedBy && one.notAfterMs > validAtMs).length,
    all: (query: Query): readonly IssuedRow[] =>
      this.#issued.filter(
        (one) =>
          (query.identity ?? one.identity) === one.identity &&
          (query.requestedBy ?? one.requestedBy) === one.requestedBy &&
          (query.issuerKey ?? one.issuerKey) === one.issuerKey &&
          one.notAfterMs > (query.validAtMs ?? 0),
      ),
  };

  readonly revocations = {
    add: (row: RevocationRow): boolean => {
      const isThere = this.#revocations.some(
        (one) => one.kind === row.kind && one.value === row.value && one.issuerKey === row.issuerKey,
      );
      if (!isThere) this.#revocations = [...this.#revocations, row];
      return !isThere;
    },
    addAll: (rows: Iterable<RevocationRow>): number => {
      const keyOf = (row: RevocationRow): string => `${row.kind} ${row.value} ${row.issuerKey}`;
      const known = new Set(this.#revocations.map(keyOf));
      const added = [...rows].filter((row) => !known.has(keyOf(row)));
      this.#revocations = [...this.#revocations, ...added];
      return added.length;
    },
    countListed: (issuerKey: string, nowMs: number): ReadonlyMap<string, number> => {
      const counts = new Map<string, number>();
      for (const row of this.#revocations) {
        if (row.kind !== "serial" || (row.expiresAtMs ?? nowMs) < nowMs) continue;
        if (row.issuerKey !== issuerKey && row.issuerKey !== "") continue;
        const by = row.byNamespace ?? "";
        counts.set(by, (counts.get(by) ?? 0) + 1);
      }
      return counts;
    },
    list: (kind?: RevocationRow["kind"]): readonly RevocationRow[] =>
      this.#revocations.filter((one) => one.kind === (kind ?? one.kind)),
    isRevokedSerial: (serial: string, issuerKey: string): boolean =>
      this.#revocations.some(
        (one) =>
          one.kind === "serial" && one.value === serial && [issuerKey, ""].includes(one.issuerKey ?? ""),
      ),
    get: (kind: RevocationRow["kind"], value: string): RevocationRow | null =>
      this.#revocations.find((one) => one.kind === kind && one.value === value) ?? null,
    remove: (kind: RevocationRow["kind"], value: string): boolean => {
      const before = this.#revocations.length;
      this.#revocations = this.#revocations.filter((one) => one.kind !== kind || one.value !== value);
      return this.#revocations.length < before;
    },
  };

  readonly settings = {
    get: (name: string): string | null => this.#settings.get(name) ?? null,
    set: (name: string, value: string): void => void this.#settings.set(name, value),
    remove: (name: string): boolean => this.#settings.delete(name),
  };

  #change(id: string, change: Partial<AuthorityRow>): boolean {
    this.beforeWrite();
    const isThere = this.#authorities.some((one) => one.id === id);
    this.#authorities = this.#authorities.map((one) => (one.id === id ? { ...one, ...change } : one));
    return isThere;
  }
}
