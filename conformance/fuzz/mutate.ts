/** Inputs out of other inputs, drawn from a seed: the same seed and corpus give the same inputs. */

/** Mulberry32. */
export class Draw {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Uniform below `bound`. */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[this.below(from.length)];
  }
}

/** Where lengths, signs and limits go wrong. */
const oddBytes = [0, 1, 0x7f, 0x80, 0xff, 0x20, 0x0a, 0x0d, 0x2e, 0x2f, 0x3a, 0x30, 0x39, 0x25];
const oddNumbers = [
  ...[0, 1, 0x7f, 0x80, 0xff, 0x100, 0x3fff, 0x4000, 0x7fff, 0x8000, 0xffff, 0x1_0000],
  ...[0x7fff_ffff, 0x8000_0000, 0xffff_ffff],
];

export interface Material {
  readonly corpus: readonly Uint8Array[];
  readonly dictionary: readonly Uint8Array[];
  readonly maxBytes: number;
}

/** A few changes, one on top of the other. */
export function mutate(input: Uint8Array, draw: Draw, material: Material): Uint8Array {
  let bytes = input;
  for (let changes = 1 << draw.below(4); changes > 0; changes--) bytes = change(bytes, draw, material);
  return bytes.length > material.maxBytes ? bytes.slice(0, material.maxBytes) : bytes;
}

function change(bytes: Uint8Array, draw: Draw, { corpus, dictionary }: Material): Uint8Array {
  const at = draw.below(bytes.length + 1);
  switch (draw.below(12)) {
    case 0:
      return withByte(bytes, draw, (byte) => byte ^ (1 << draw.below(8)));
    case 1:
      return withByte(bytes, draw, () => draw.below(256));
    case 2:
      return withByte(bytes, draw, () => draw.pick(oddBytes) ?? 0);
    case 3:
      return withByte(bytes, draw, (byte) => byte + draw.below(33) - 16);
    case 4:
      return withNumber(bytes, at, draw);
    case 5:
      return splice(bytes, at, Math.min(bytes.length, at + 1 + draw.below(8)), nothing);
    case 6:
      return splice(bytes, at, Math.min(bytes.length, at + 1 + draw.below(bytes.length + 1)), nothing);
    case 7:
      return splice(bytes, at, at, drawnBytes(draw));
    case 8: {
      // Again, somewhere else, or many times.
      const part = partOf(bytes, draw);
      const times = draw.below(8) === 0 ? 1 + draw.below(40) : 1;
      return splice(bytes, at, at, repeated(part, times));
    }
    case 9:
    case 10: {
      const word = draw.pick(dictionary) ?? nothing;
      return splice(bytes, at, draw.below(2) === 0 ? at : Math.min(bytes.length, at + word.length), word);
    }
    default: {
      const other = draw.pick(corpus) ?? nothing;
      return splice(bytes, at, draw.below(2) === 0 ? at : bytes.length, partOf(other, draw));
    }
  }
}

function withByte(bytes: Uint8Array, draw: Draw, next: (byte: number) => number): Uint8Array {
  if (bytes.length === 0) return Uint8Array.of(next(0) & 0xff);
  const at = draw.below(bytes.length);
  const changed = bytes.slice();
  changed[at] = next(changed[at] ?? 0) & 0xff;
  return changed;
}

function withNumber(bytes: Uint8Array, at: number, draw: Draw): Uint8Array {
  const value = draw.pick(oddNumbers) ?? 0;
  const width = draw.pick([1, 2, 3, 4]) ?? 1;
  const isLittle = draw.below(4) === 0;
  const changed = bytes.slice();
  for (let index = 0; index < width && at + index < changed.length; index++)
    changed[at + index] = (value >>> (8 * (isLittle ? index : width - 1 - index))) & 0xff;
  return changed;
}

function drawnBytes(draw: Draw): Uint8Array {
  return Uint8Array.from({ length: 1 + draw.below(16) }, () => draw.below(256));
}

function partOf(bytes: Uint8Array, draw: Draw): Uint8Array {
  const from = draw.below(bytes.length + 1);
  return bytes.subarray(from, from + 1 + draw.below(bytes.length - from + 1));
}

function repeated(part: Uint8Array, times: number): Uint8Array {
  const whole = new Uint8Array(part.length * times);
  for (let turn = 0; turn < times; turn++) whole.set(part, turn * part.length);
  return whole;
}

function splice(bytes: Uint8Array, from: number, to: number, part: Uint8Array): Uint8Array {
  const whole = new Uint8Array(bytes.length - (to - from) + part.length);
  whole.set(bytes.subarray(0, from));
  whole.set(part, from);
  whole.set(bytes.subarray(to), from + part.length);
  return whole;
}

const nothing = new Uint8Array(0);
