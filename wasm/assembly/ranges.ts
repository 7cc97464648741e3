// Sorted disjoint ranges of 32-bit numbers (ports, IPv4) and of 128-bit numbers (IPv6): binary search.
import { RANGE128_BYTES, RANGES_HEADER_BYTES } from "./layout";

/** The index of the range that holds `value`, or -1. */
export function findRange32(table: u32, value: u32): i32 {
  const count = load<u32>(table);
  const starts = table + RANGES_HEADER_BYTES;
  // Invariant: starts[low - 1] <= value < starts[high].
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<u32>(starts + (middle << 2)) <= value) low = middle + 1;
    else high = middle;
  }
  if (low == 0) return -1;
  const index = low - 1;
  return value <= load<u32>(starts + ((count + index) << 2)) ? <i32>index : -1;
}

/** As above; the value is `high * 2^64 + low`. */
export function findRange128(table: u32, valueHigh: u64, valueLow: u64): i32 {
  const count = load<u32>(table);
  const starts = table + RANGES_HEADER_BYTES;
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isAtMost(starts + middle * RANGE128_BYTES, valueHigh, valueLow)) low = middle + 1;
    else high = middle;
  }
  if (low == 0) return -1;
  const index = low - 1;
  const end = starts + (count + index) * RANGE128_BYTES;
  const endHigh = load<u64>(end);
  const inside = valueHigh < endHigh || (valueHigh == endHigh && valueLow <= load<u64>(end, 8));
  return inside ? <i32>index : -1;
}

// @ts-ignore: decorator
@inline
function isAtMost(address: u32, valueHigh: u64, valueLow: u64): bool {
  const high = load<u64>(address);
  return high < valueHigh || (high == valueHigh && load<u64>(address, 8) <= valueLow);
}
