/**
 * A policy image: one WebAssembly instance and the sections in its memory. The memory never grows while in use; an image
 * that is outgrown moves to an instance with more pages, where everything keeps its address.
 */
import {
  ARENA,
  REQUEST,
  REQUEST_DESTINATION,
  REQUEST_DESTINATION_FAMILY,
  REQUEST_PORT,
  REQUEST_SOURCE,
  REQUEST_SOURCE_FAMILY,
  SECTION_PROGRAMS,
} from "../../../wasm/assembly/layout.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { PolicyConnection } from "../decision.ts";
import type { PolicyLimits } from "../policy_engine.ts";
import { CallerArena } from "./caller_arena.ts";
import type { CallerIndex } from "./caller_index.ts";
import type { CompiledSection, RuleOrigin } from "./compile.ts";
import { instantiate, type PolicyInstance } from "./module.ts";
import { quarter } from "./ranges.ts";
import { neverProgramBytes } from "./rule_program.ts";

/** A section in an image; it belongs to that image alone. */
export interface LoadedSection {
  /** In bytes. */
  readonly address: number;
  readonly byteLength: number;
  /** Distinct in the image. */
  readonly ordinal: number;
  readonly rules: readonly RuleOrigin[];
  readonly callers: CallerIndex;
}

export class PolicyImage {
  readonly #limits: PolicyLimits;
  readonly #arena: CallerArena;
  readonly #sectionsAt: number;
  #instance: PolicyInstance;
  #words: Uint32Array;
  #end: number;
  #sectionCount = 0;

  constructor(limits: PolicyLimits) {
    this.#limits = limits;
    this.#arena = new CallerArena(limits.maxCallers, limits.callerArenaBytes);
    this.#sectionsAt = ARENA + Math.ceil(limits.callerArenaBytes / 8) * 8;
    this.#end = this.#sectionsAt;
    this.#instance = instantiate(this.#end);
    this.#words = new Uint32Array(this.#instance.memory.buffer);
  }

  /** Forgets all sections and callers; the memory stays. */
  clear(): void {
    this.#arena.clear();
    this.#end = this.#sectionsAt;
    this.#sectionCount = 0;
  }

  /** @returns null when the image would exceed `limits.maxImageBytes`. */
  load(section: CompiledSection): LoadedSection | null {
    return this.#append(section.words, section.rules, section.callers);
  }

  /** As `load`, from another image. */
  copy(from: PolicyImage, section: LoadedSection): LoadedSection | null {
    const start = section.address / 4;
    const words = from.#words.subarray(start, start + section.byteLength / 4);
    return this.#append(words, section.rules, section.callers);
  }

  /** From now on the rule of this image's section never matches. */
  retire(section: LoadedSection, rule: number): void {
    const table = this.#words[(section.address + SECTION_PROGRAMS) / 4] ?? 0;
    this.#words[(section.address + table) / 4 + rule] = table - neverProgramBytes;
  }

  /** Sets what the next calls of `firstMatch` decide about. */
  setRequest(connection: PolicyConnection): void {
    this.#words[(REQUEST + REQUEST_PORT) / 4] = connection.destinationPort;
    this.#setAddress(REQUEST_SOURCE_FAMILY, REQUEST_SOURCE, connection.sourceIp);
    this.#setAddress(REQUEST_DESTINATION_FAMILY, REQUEST_DESTINATION, connection.destinationIp);
  }

  /**
   * @param from the first rule to look at
   * @returns the index of a rule in `section.rules`; -1 when none matches; null when the caller does not fit the arena.
   */
  firstMatch(section: LoadedSection, id: SpiffeId | null, from: number): number | null {
    const caller = this.#arena.address(section, id, this.#words);
    return caller === 0 ? null : this.#instance.firstMatch(section.address, caller, from);
  }

  #setAddress(familyField: number, field: number, ip: IpAddress): void {
    const words = this.#words;
    const at = (REQUEST + field) / 4;
    const { bytes } = ip;
    words[at] = quarter(bytes, 0);
    if (bytes.length === 4) {
      words[(REQUEST + familyField) / 4] = 0;
      return;
    }
    words[(REQUEST + familyField) / 4] = 1;
    words[at + 1] = quarter(bytes, 4);
    words[at + 2] = quarter(bytes, 8);
    words[at + 3] = quarter(bytes, 12);
  }

  #append(words: Uint32Array, rules: readonly RuleOrigin[], callers: CallerIndex): LoadedSection | null {
    const address = this.#end;
    const end = address + words.byteLength;
    if (end - this.#sectionsAt > this.#limits.maxImageBytes) return null;
    if (end > this.#words.byteLength) this.#move(Math.max(end, 2 * address - this.#sectionsAt));
    this.#words.set(words, address / 4);
    this.#end = end;
    return { address, byteLength: words.byteLength, ordinal: this.#sectionCount++, rules, callers };
  }

  /** To an instance of at least `bytes`. */
  #move(bytes: number): void {
    const instance = instantiate(bytes);
    const words = new Uint32Array(instance.memory.buffer);
    words.set(this.#words.subarray(0, this.#end / 4));
    this.#instance = instance;
    this.#words = words;
  }
}
