// The exports. Pure functions of memory: nothing is allocated, nothing is kept, nothing is imported.
import { addressFlips, portFlips } from "./cidr";
import { ruleMatches } from "./evaluate";
import {
  FAMILY_BYTES,
  IDENTITY_FLIPS,
  REQUEST,
  REQUEST_DESTINATION,
  REQUEST_DESTINATION_FAMILY,
  REQUEST_PORT,
  REQUEST_SOURCE,
  REQUEST_SOURCE_FAMILY,
  SECTION_DESTINATION,
  SECTION_IDENTITY_BASE,
  SECTION_OPEN,
  SECTION_PORT_BASE,
  SECTION_PORT_CLASSES,
  SECTION_RULE_COUNT,
  SECTION_SOURCE,
  SECTION_SUMMARY_COUNT,
} from "./layout";
import { denseWord, flipsWord, summaryAt } from "./sets";

/** Its name carries ABI_VERSION: an image of another layout does not find it. */
export function policy_abi_1(): void {}

/**
 * The first rule of the section, at or after `from`, that matches the request; -1 for none.
 *
 * A rule is possible where it is possible in every dimension (identity, port, source, destination). In each, a value's set
 * is the dimension's base with the value's few flips applied; the intersection runs word by word and skips, by the
 * summaries, words that cannot hold a rule. What survives is evaluated, so the index only ever narrows.
 *
 * @param section address of a section
 * @param identity address of the caller's record for that section
 */
export function first_match(section: u32, identity: u32, from: u32): i32 {
  const ruleCount = load<u32>(section + SECTION_RULE_COUNT);
  const summaryCount = load<u32>(section + SECTION_SUMMARY_COUNT);
  const sourceFamily = load<u32>(REQUEST + REQUEST_SOURCE_FAMILY);
  const destinationFamily = load<u32>(REQUEST + REQUEST_DESTINATION_FAMILY);

  // A base of 0 is a dimension that no rule looks at.
  const identityBase = setAt(section, SECTION_IDENTITY_BASE);
  const identityFlips = identityBase == 0 ? 0 : load<u32>(identity + IDENTITY_FLIPS);
  const portBase = setAt(section, SECTION_PORT_BASE);
  const port = portFlips(section, load<u32>(section + SECTION_PORT_CLASSES), load<u32>(REQUEST + REQUEST_PORT));
  const sourceBase = setAt(section, SECTION_SOURCE + sourceFamily * FAMILY_BYTES);
  const source = addressFlips(section, SECTION_SOURCE, sourceFamily, REQUEST_SOURCE);
  const destinationBase = setAt(section, SECTION_DESTINATION + destinationFamily * FAMILY_BYTES);
  const destination = addressFlips(section, SECTION_DESTINATION, destinationFamily, REQUEST_DESTINATION);
  const open = section + load<u32>(section + SECTION_OPEN + ((sourceFamily * 2 + destinationFamily) << 2));

  for (let index = from >> 12; index < summaryCount; index++) {
    const byIdentity = summaryAt(identityFlips, index);
    const byPort = summaryAt(port, index);
    const bySource = summaryAt(source, index);
    const byDestination = summaryAt(destination, index);
    // A word matters where the bases leave a rule, or where some flip touches it.
    let words = load<u64>(open + (index << 3)) | byIdentity | byPort | bySource | byDestination;
    if (identityBase != 0) words &= load<u64>(identityBase + (index << 3)) | byIdentity;
    if (portBase != 0) words &= load<u64>(portBase + (index << 3)) | byPort;
    if (sourceBase != 0) words &= load<u64>(sourceBase + (index << 3)) | bySource;
    if (destinationBase != 0) words &= load<u64>(destinationBase + (index << 3)) | byDestination;

    while (words != 0) {
      const word = (index << 6) + <u32>ctz<u64>(words);
      words &= words - 1;
      if (word < from >> 6) continue;
      let rules = <u64>-1;
      if (word == from >> 6) rules <<= from & 63;
      if (identityBase != 0) {
        rules &= denseWord(identityBase, summaryCount, word) ^ flipsWord(identityFlips, summaryCount, word);
      }
      if (portBase != 0) rules &= denseWord(portBase, summaryCount, word) ^ flipsWord(port, summaryCount, word);
      if (sourceBase != 0) rules &= denseWord(sourceBase, summaryCount, word) ^ flipsWord(source, summaryCount, word);
      if (destinationBase != 0) {
        rules &= denseWord(destinationBase, summaryCount, word) ^ flipsWord(destination, summaryCount, word);
      }
      while (rules != 0) {
        const rule = (word << 6) + <u32>ctz<u64>(rules);
        rules &= rules - 1;
        if (rule >= ruleCount) return -1;
        if (ruleMatches(section, identity, rule)) return rule;
      }
    }
  }
  return -1;
}

// @ts-ignore: decorator
@inline
function setAt(section: u32, field: u32): u32 {
  const offset = load<u32>(section + field);
  return offset == 0 ? 0 : section + offset;
}
