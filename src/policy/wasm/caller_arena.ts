/**
 * Interned callers: for each identity and section, the record that WebAssembly reads (wasm/README.md). Records are made on
 * first need and never freed one by one: when the arena or the table is full all are dropped. That is bounded, needs no
 * bookkeeping on the path of a decision, and costs each live caller one interning (microseconds) per filling.
 */
import { ARENA } from "../../../wasm/assembly/layout.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CallerIndex } from "./caller_index.ts";
import { writeFlips } from "./rule_set.ts";
import { WordWriter } from "./word_writer.ts";

/** What the arena needs of a section in the image. */
export interface ArenaSection {
  /** 0, 1, 2, …: distinct in one image. */
  readonly ordinal: number;
  readonly rules: { readonly length: number };
  readonly callers: CallerIndex;
}

interface Caller {
  readonly id: SpiffeId | null;
  /** Of its record, by the section's ordinal; nothing or 0 where there is none yet. */
  readonly addresses: number[];
}

export class CallerArena {
  readonly #maxCallers: number;
  readonly #limit: number;
  readonly #writer = new WordWriter();
  readonly #callers = new Map<string, Caller>();
  #plaintext: Caller = { id: null, addresses: [] };
  #end = ARENA;

  constructor(maxCallers: number, arenaBytes: number) {
    this.#maxCallers = maxCallers;
    this.#limit = ARENA + arenaBytes;
  }

  /** Drops every record. */
  clear(): void {
    this.#callers.clear();
    this.#plaintext = { id: null, addresses: [] };
    this.#end = ARENA;
  }

  /**
   * @param memory the image's, to write a new record to
   * @returns the address of the caller's record for the section, to be used before the next call; 0 when a record is
   *   larger than the whole arena.
   */
  address(section: ArenaSection, id: SpiffeId | null, memory: Uint32Array): number {
    const caller = id === null ? this.#plaintext : this.#caller(id);
    const address = caller.addresses[section.ordinal] ?? 0;
    return address !== 0 ? address : this.#intern(section, caller, memory);
  }

  #caller(id: SpiffeId): Caller {
    const known = this.#callers.get(id.uri);
    if (known !== undefined && isSame(known.id, id)) return known;
    if (this.#callers.size >= this.#maxCallers) this.clear();
    const caller: Caller = { id, addresses: [] };
    this.#callers.set(id.uri, caller);
    return caller;
  }

  #intern(section: ArenaSection, caller: Caller, memory: Uint32Array): number {
    const record = this.#writeRecord(section, caller.id);
    if (this.#end + record.byteLength > this.#limit) {
      this.clear();
      caller.addresses.length = 0;
      if (this.#end + record.byteLength > this.#limit) return 0;
    }
    const address = this.#end;
    this.#end += record.byteLength;
    // The first word is the address of the flips, which so far counts from the record.
    if (record[0] !== 0) record[0] = (record[0] ?? 0) + address;
    memory.set(record, address / 4);
    this.#remember(section, caller, address);
    return address;
  }

  #remember(section: ArenaSection, caller: Caller, address: number): void {
    caller.addresses[section.ordinal] = address;
    // The arena may have been cleared since the caller was looked up.
    if (caller.id === null) this.#plaintext = caller;
    else this.#callers.set(caller.id.uri, caller);
  }

  #writeRecord(section: ArenaSection, id: SpiffeId | null): Uint32Array {
    const { atoms, flips } = section.callers.profile(id);
    this.#writer.clear();
    this.#writer.push(0);
    this.#writer.push(atoms.length);
    this.#writer.pushAll(atoms);
    if (flips.length > 0) this.#writer.set(0, writeFlips(this.#writer, flips, section.rules.length));
    return this.#writer.finish();
  }
}

/** A URI says all of an identity that was parsed; this holds even for one that was not. */
function isSame(known: SpiffeId | null, id: SpiffeId): boolean {
  return known === id || (known?.namespace === id.namespace && known.serviceAccount === id.serviceAccount);
}
