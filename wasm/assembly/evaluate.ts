// One rule against the request, exactly as ztunnel does it (rbac.rs, matches): clauses AND, matches OR, fields AND.
import {
  CLAUSE_BYTES,
  CLAUSE_MATCHES,
  IDENTITY_ATOMS,
  MATCH_ACCOUNTS,
  MATCH_BYTES,
  MATCH_DESTINATION,
  MATCH_NAMESPACES,
  MATCH_NOT_ATOMS,
  MATCH_NOT_DESTINATION,
  MATCH_NOT_PORTS,
  MATCH_NOT_SOURCE,
  MATCH_PORTS,
  MATCH_PRINCIPALS,
  MATCH_SOURCE,
  PROGRAM_CLAUSES,
  REQUEST,
  REQUEST_DESTINATION,
  REQUEST_DESTINATION_FAMILY,
  REQUEST_PORT,
  REQUEST_SOURCE,
  REQUEST_SOURCE_FAMILY,
  SECTION_PROGRAMS,
} from "./layout";
import { holdsAddress } from "./cidr";
import { intersects } from "./match";
import { findRange32 } from "./ranges";

export function ruleMatches(section: u32, identity: u32, rule: u32): bool {
  const programs = section + load<u32>(section + SECTION_PROGRAMS);
  const program = section + load<u32>(programs + (rule << 2));
  const clauseCount = load<u32>(program);
  for (let index: u32 = 0; index < clauseCount; index++) {
    const clause = program + PROGRAM_CLAUSES + index * CLAUSE_BYTES;
    const matches = section + load<u32>(clause + CLAUSE_MATCHES);
    if (!anyMatch(section, identity + IDENTITY_ATOMS, matches, load<u32>(clause))) return false;
  }
  return true;
}

function anyMatch(section: u32, atoms: u32, first: u32, count: u32): bool {
  for (let index: u32 = 0; index < count; index++) {
    const match = first + index * MATCH_BYTES;
    if (callerMatches(section, atoms, match) && addressesMatch(section, match)) return true;
  }
  return false;
}

function callerMatches(section: u32, atoms: u32, match: u32): bool {
  return (
    holdsAtom(section, load<u32>(match + MATCH_PRINCIPALS), atoms) &&
    holdsAtom(section, load<u32>(match + MATCH_NAMESPACES), atoms) &&
    holdsAtom(section, load<u32>(match + MATCH_ACCOUNTS), atoms) &&
    !hits(section, load<u32>(match + MATCH_NOT_ATOMS), atoms)
  );
}

function addressesMatch(section: u32, match: u32): bool {
  const port = load<u32>(REQUEST + REQUEST_PORT);
  const ports = load<u32>(match + MATCH_PORTS);
  if (ports != 0 && findRange32(section + ports, port) < 0) return false;
  const notPorts = load<u32>(match + MATCH_NOT_PORTS);
  if (notPorts != 0 && findRange32(section + notPorts, port) >= 0) return false;
  const source = load<u32>(REQUEST + REQUEST_SOURCE_FAMILY);
  const destination = load<u32>(REQUEST + REQUEST_DESTINATION_FAMILY);
  return (
    inside(section, match + MATCH_SOURCE, source, REQUEST_SOURCE) &&
    inside(section, match + MATCH_DESTINATION, destination, REQUEST_DESTINATION) &&
    !holdsAddress(section, match + MATCH_NOT_SOURCE, source, REQUEST_SOURCE) &&
    !holdsAddress(section, match + MATCH_NOT_DESTINATION, destination, REQUEST_DESTINATION)
  );
}

/** A positive field that is absent is satisfied. */
// @ts-ignore: decorator
@inline
function inside(section: u32, tables: u32, family: u32, field: u32): bool {
  return load<u32>(tables + (family << 2)) == 0 || holdsAddress(section, tables, family, field);
}

// @ts-ignore: decorator
@inline
function holdsAtom(section: u32, offset: u32, atoms: u32): bool {
  return offset == 0 || intersects(section + offset, atoms);
}

// @ts-ignore: decorator
@inline
function hits(section: u32, offset: u32, atoms: u32): bool {
  return offset != 0 && intersects(section + offset, atoms);
}
