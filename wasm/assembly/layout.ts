/**
 * Where everything is in the policy image: bare constants, compiled by asc and imported by TypeScript alike, so that the
 * writer and the reader cannot drift apart. wasm/README.md draws the picture. All integers are little-endian; "set" and
 * "offset" mean bytes from the start of the section, and 0 means absent.
 */

/** The export `policy_abi_<this>` must exist. Change it with any change of this file's meaning. */
export const ABI_VERSION = 1;

/** The request block: one connection, written before each decision. u32 words. */
export const REQUEST = 16;
export const REQUEST_PORT = 0;
/** 0 is IPv4, 1 is IPv6. */
export const REQUEST_SOURCE_FAMILY = 4;
/** Four words, each a big-endian quarter of the address as a number; IPv4 uses the first. */
export const REQUEST_SOURCE = 8;
export const REQUEST_DESTINATION_FAMILY = 24;
export const REQUEST_DESTINATION = 28;
export const REQUEST_BYTES = 44;

/** Identity records are written here, then the sections follow. */
export const ARENA = 64;

/** A section's header. */
export const SECTION_RULE_COUNT = 0;
/** How many u64 words hold a bit per rule. */
export const SECTION_WORD_COUNT = 4;
/** How many u64 words hold a bit per such word. */
export const SECTION_SUMMARY_COUNT = 8;
/** u32 per rule: offset of its program. */
export const SECTION_PROGRAMS = 12;
/** A dense set: rules that are possible for an identity that no value but `*` mentions. */
export const SECTION_IDENTITY_BASE = 16;
/** The other dimensions: a dense set for values that no policy mentions, then the classes of values that one does. */
export const SECTION_PORT_BASE = 20;
export const SECTION_PORT_CLASSES = 24;
/** IPv4 base, IPv4 classes, IPv6 base, IPv6 classes. */
export const SECTION_SOURCE = 28;
export const SECTION_DESTINATION = 44;
/** Four offsets, by source family * 2 + destination family: a summary of the words where all bases together have a bit. */
export const SECTION_OPEN = 60;
export const SECTION_HEADER_BYTES = 80;

/** Within SECTION_SOURCE and SECTION_DESTINATION, per family. */
export const FAMILY_BYTES = 8;
export const FAMILY_CLASSES = 4;

/** Range tables: a count, padding, sorted disjoint starts, their inclusive ends, then (classes only) a u32 set per range. */
export const RANGES_HEADER_BYTES = 8;
export const RANGE32_BYTES = 4;
/** The high u64 first. */
export const RANGE128_BYTES = 16;

/** A rule's program: a count of clauses, then per clause a count of matches and the offset of the first. */
export const PROGRAM_CLAUSES = 4;
export const CLAUSE_BYTES = 8;
export const CLAUSE_MATCHES = 4;

/** A match: offsets of atom lists and range tables; 0 is a field that is not there, an empty table one that nothing satisfies. */
export const MATCH_PRINCIPALS = 0;
export const MATCH_NAMESPACES = 4;
export const MATCH_ACCOUNTS = 8;
/** All three kinds of negative values together: one hit refuses. */
export const MATCH_NOT_ATOMS = 12;
export const MATCH_PORTS = 16;
export const MATCH_NOT_PORTS = 20;
/** Each: IPv4 table, IPv6 table. */
export const MATCH_SOURCE = 24;
export const MATCH_NOT_SOURCE = 32;
export const MATCH_DESTINATION = 40;
export const MATCH_NOT_DESTINATION = 48;
export const MATCH_BYTES = 56;

/** An atom list: a count, then sorted u32 atoms. */
export const ATOMS_HEADER_BYTES = 4;

/** An identity as one section sees it, in the arena: the address of its flips (0: none), then an atom list of what it satisfies. */
export const IDENTITY_FLIPS = 0;
export const IDENTITY_ATOMS = 4;
