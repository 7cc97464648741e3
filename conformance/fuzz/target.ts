/** What is fuzzed: a parser of strangers' bytes, and what must hold whatever the bytes are. */

/** How an input is looked at. */
export interface Look {
  /** Where to cut bytes that come in pieces: every place once for inputs that are new, else a few drawn ones. */
  cuts(length: number): readonly (readonly number[])[];
  /**
   * One turn of the event loop, where the product takes several for one input (parsing in steps). Without any, the whole run is one.
   */
  turn<T>(work: () => T): T;
}

export interface Target {
  readonly maxBytes: number;
  /** Inputs to begin with, besides the corpus. */
  seeds(): readonly Uint8Array[] | Promise<readonly Uint8Array[]>;
  /** Words of the format. Texts of the sources are added to them. */
  readonly dictionary?: readonly (string | Uint8Array)[];
  /** Whatever it throws is a crash: an error that the parser is said to throw is caught within. */
  run(input: Uint8Array, look: Look): void | Promise<void>;
}

export interface TargetEntry {
  readonly name: string;
  /** In `targets/`, exports `target`. */
  readonly file: string;
  /** Folders and files of `src/` whose branches are counted. */
  readonly sources: readonly string[];
  /** Per cent of those branches that the kept corpus reaches at least: a corpus that has rotted is found out. */
  readonly floor: number;
  /** How many inputs of the fixed seed `--fixed` tries: about a second's on a quiet machine. */
  readonly fixedInputs: number;
}

/** What must hold does not. */
export class Broken extends Error {}

export function holds(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Broken(what);
}

/** @param what says what the two are. */
export function same(one: unknown, other: unknown, what: string): void {
  if (Bun.deepEquals(one, other)) return;
  throw new Broken(`${what}: ${inspect(one)} and ${inspect(other)}`);
}

function inspect(value: unknown): string {
  return Bun.inspect(value, { depth: 6 }).slice(0, 600);
}

/** The pieces of bytes that are cut at these places. */
export function pieces(bytes: Uint8Array, cuts: readonly number[]): readonly Uint8Array[] {
  const found: Uint8Array[] = [];
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (cut <= from) continue;
    // A copy: what a parser keeps must not depend on what is behind it.
    found.push(bytes.slice(from, cut));
    from = cut;
  }
  return found;
}

/** What is read of bytes is the same however they are cut. @param read is given the pieces. @returns what it makes of them whole. */
export function readCut<T>(input: Uint8Array, look: Look, read: (parts: readonly Uint8Array[]) => T): T {
  const whole = look.turn(() => read([input.slice()]));
  for (const cuts of look.cuts(input.length))
    same(read(pieces(input, cuts)), whole, `cut at ${cuts.join(",").slice(0, 60)}, and whole`);
  return whole;
}

/** Runs what may refuse its input. @param refuses whether an error is one that it is said to throw. @returns null when it did. */
export function unlessRefused<T>(work: () => T, refuses: (error: unknown) => boolean): T | null {
  try {
    return work();
  } catch (error) {
    if (refuses(error)) return null;
    throw error;
  }
}

export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let index = 0; index < bytes.length; index++) text += String.fromCharCode(bytes[index] ?? 0);
  return text;
}

export function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0) & 0xff);
}
