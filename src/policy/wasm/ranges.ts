/** Ports and address prefixes as ranges of numbers: sorted, disjoint, half-open. IPv6 takes bigint. */
import { type IpPrefix, networkAddress } from "../../base/prefix.ts";
import type { WordWriter } from "./word_writer.ts";

/** A number of a dimension: a port or an IPv4 address (number), an IPv6 address (bigint). */
export type Key = number | bigint;

export interface Range<K extends Key> {
  readonly start: K;
  /** Exclusive. */
  readonly end: K;
}

/** The values of one field of a match and of its `not` twin. */
export interface FieldRanges<K extends Key> {
  /** Null: the field is empty and so ignored. An empty list: it is there and nothing of this address family satisfies it. */
  readonly positive: readonly Range<K>[] | null;
  readonly negative: readonly Range<K>[];
}

/** A field that is not there. */
export const absentField = { positive: null, negative: [] } as const;

export function compareKeys(a: Key, b: Key): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Sorts, and joins ranges that touch. */
export function mergeRanges<K extends Key>(ranges: readonly Range<K>[]): readonly Range<K>[] {
  if (ranges.length < 2) return ranges;
  const sorted = ranges.toSorted((a, b) => compareKeys(a.start, b.start));
  const merged: Range<K>[] = [];
  for (const range of sorted) {
    const last = merged.at(-1);
    if (last === undefined || last.end < range.start) merged.push(range);
    else if (last.end < range.end) merged[merged.length - 1] = { start: last.start, end: range.end };
  }
  return merged;
}

/** Binary search over merged ranges. */
export function rangesContain<K extends Key>(ranges: readonly Range<K>[], value: K): boolean {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const range = ranges[middle];
    if (range !== undefined && range.end <= value) low = middle + 1;
    else high = middle;
  }
  const found = ranges[low];
  return found !== undefined && found.start <= value;
}

export function portFields(positive: readonly number[], negative: readonly number[]): FieldRanges<number> {
  return fields(positive, negative, (ports) => ports.map(portRange));
}

function fields<V, K extends Key>(
  positive: readonly V[],
  negative: readonly V[],
  rangesOf: (values: readonly V[]) => readonly Range<K>[],
): FieldRanges<K> {
  if (positive.length === 0 && negative.length === 0) return absentField;
  return {
    positive: positive.length === 0 ? null : mergeRanges(rangesOf(positive)),
    negative: mergeRanges(rangesOf(negative)),
  };
}

function portRange(port: number): Range<number> {
  return { start: port, end: port + 1 };
}

export function ipv4Fields(
  positive: readonly IpPrefix[],
  negative: readonly IpPrefix[],
): FieldRanges<number> {
  return fields(positive, negative, (prefixes) => prefixes.filter(isIpv4).map(ipv4Range));
}

export function ipv6Fields(
  positive: readonly IpPrefix[],
  negative: readonly IpPrefix[],
): FieldRanges<bigint> {
  return fields(positive, negative, (prefixes) => prefixes.filter(isIpv6).map(ipv6Range));
}

function isIpv4(prefix: IpPrefix): boolean {
  return prefix.ip.isIpv4;
}

function isIpv6(prefix: IpPrefix): boolean {
  return !prefix.ip.isIpv4;
}

function ipv4Range(prefix: IpPrefix): Range<number> {
  const start = quarter(networkAddress(prefix).bytes, 0);
  return { start, end: start + 2 ** (32 - prefix.length) };
}

function ipv6Range(prefix: IpPrefix): Range<bigint> {
  const { bytes } = networkAddress(prefix);
  let start = 0n;
  for (let index = 0; index < 16; index += 4) start = (start << 32n) | BigInt(quarter(bytes, index));
  return { start, end: start + (1n << BigInt(128 - prefix.length)) };
}

/** Four bytes of an address, big-endian, as an unsigned number. */
export function quarter(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16);
  return (high | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0;
}

/** Writes a table of numbers below 2^32 as `findRange32` reads it. @returns its offset. */
export function writeRanges32(writer: WordWriter, ranges: readonly Range<number>[]): number {
  const offset = writer.align();
  writer.push(ranges.length);
  writer.push(0);
  for (const range of ranges) writer.push(range.start);
  for (const range of ranges) writer.push(range.end - 1);
  return offset;
}

/** Writes a table of numbers below 2^128 as `findRange128` reads it. @returns its offset. */
export function writeRanges128(writer: WordWriter, ranges: readonly Range<bigint>[]): number {
  const offset = writer.align();
  writer.push(ranges.length);
  writer.push(0);
  for (const range of ranges) push128(writer, range.start);
  for (const range of ranges) push128(writer, range.end - 1n);
  return offset;
}

/** The high half first, each half little-endian. */
function push128(writer: WordWriter, value: bigint): void {
  for (const shift of [64n, 96n, 0n, 32n]) writer.push(Number((value >> shift) & 0xffff_ffffn));
}
