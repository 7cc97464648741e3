// Addresses of the request against tables of ranges; a prefix is a range.
import { FAMILY_BYTES, FAMILY_CLASSES, RANGE128_BYTES, RANGE32_BYTES, RANGES_HEADER_BYTES, REQUEST } from "./layout";
import { findRange128, findRange32 } from "./ranges";

// @ts-ignore: decorator
@inline
function half(address: u32): u64 {
  return ((<u64>load<u32>(address)) << 32) | load<u32>(address, 4);
}

/** The index of the range that holds the request's address at `field`, or -1. The table is of the address's family. */
function findAddress(table: u32, family: u32, field: u32): i32 {
  const address = REQUEST + field;
  return family == 0 ? findRange32(table, load<u32>(address)) : findRange128(table, half(address), half(address + 8));
}

/** Whether a match's two tables (IPv4, IPv6) at `tables` hold the request's address; `section` is what their offsets count from. */
export function holdsAddress(section: u32, tables: u32, family: u32, field: u32): bool {
  const offset = load<u32>(tables + (family << 2));
  return offset != 0 && findAddress(section + offset, family, field) >= 0;
}

/** The flips of the class of the request's address, as an address, or 0. `dimension` is SECTION_SOURCE or SECTION_DESTINATION. */
export function addressFlips(section: u32, dimension: u32, family: u32, field: u32): u32 {
  const offset = load<u32>(section + dimension + family * FAMILY_BYTES + FAMILY_CLASSES);
  if (offset == 0) return 0;
  const table = section + offset;
  const index = findAddress(table, family, field);
  if (index < 0) return 0;
  return flipsAt(section, table, family == 0 ? RANGE32_BYTES : RANGE128_BYTES, index);
}

/** The flips of the class of the request's port, as an address, or 0. */
export function portFlips(section: u32, offset: u32, port: u32): u32 {
  if (offset == 0) return 0;
  const table = section + offset;
  const index = findRange32(table, port);
  return index < 0 ? 0 : flipsAt(section, table, RANGE32_BYTES, index);
}

// @ts-ignore: decorator
@inline
function flipsAt(section: u32, table: u32, rangeBytes: u32, index: i32): u32 {
  const sets = table + RANGES_HEADER_BYTES + load<u32>(table) * 2 * rangeBytes;
  return section + load<u32>(sets + (index << 2));
}
