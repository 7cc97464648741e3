/** Writes a rule so that WebAssembly can evaluate it in full (wasm/assembly/evaluate.ts). */
import {
  CLAUSE_BYTES,
  CLAUSE_MATCHES,
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
} from "../../../wasm/assembly/layout.ts";
import type { CallerIndex } from "./caller_index.ts";
import type { PreparedMatch, PreparedRule } from "./prepared_rule.ts";
import { type FieldRanges, writeRanges32, writeRanges128 } from "./ranges.ts";
import type { WordWriter } from "./word_writer.ts";

/** What `writeNever` takes. */
export const neverProgramBytes = PROGRAM_CLAUSES + CLAUSE_BYTES;

/** A program of a rule that never holds: one clause, and nothing in it that could match. */
export function writeNever(writer: WordWriter): void {
  writer.set(writer.reserve(neverProgramBytes / 4), 1);
}

/** @returns the program's offset in the section. */
export function writeRuleProgram(writer: WordWriter, rule: PreparedRule, callers: CallerIndex): number {
  const program = writer.reserve((PROGRAM_CLAUSES + rule.clauses.length * CLAUSE_BYTES) / 4);
  writer.set(program, rule.clauses.length);
  rule.clauses.forEach((matches, index) => {
    const clause = program + PROGRAM_CLAUSES + index * CLAUSE_BYTES;
    const first = writer.reserve((matches.length * MATCH_BYTES) / 4);
    writer.set(clause, matches.length);
    writer.set(clause + CLAUSE_MATCHES, first);
    matches.forEach((match, at) => {
      writeMatch(writer, first + at * MATCH_BYTES, match, callers);
    });
  });
  return program;
}

function writeMatch(writer: WordWriter, at: number, prepared: PreparedMatch, callers: CallerIndex): void {
  const { match } = prepared;
  const principals = match.principals.map((each) => callers.principalAtom(each));
  const namespaces = match.namespaces.map((each) => callers.namespaceAtom(each));
  const accounts = match.serviceAccounts.map((each) => callers.accountAtom(each));
  const refused = [
    ...match.notPrincipals.map((each) => callers.principalAtom(each)),
    ...match.notNamespaces.map((each) => callers.namespaceAtom(each)),
    ...match.notServiceAccounts.map((each) => callers.accountAtom(each)),
  ];
  writer.set(at + MATCH_PRINCIPALS, writeAtoms(writer, principals));
  writer.set(at + MATCH_NAMESPACES, writeAtoms(writer, namespaces));
  writer.set(at + MATCH_ACCOUNTS, writeAtoms(writer, accounts));
  writer.set(at + MATCH_NOT_ATOMS, writeAtoms(writer, refused));
  writeField(writer, at + MATCH_PORTS, at + MATCH_NOT_PORTS, prepared.ports, writeRanges32);
  writeField(writer, at + MATCH_SOURCE, at + MATCH_NOT_SOURCE, prepared.source4, writeRanges32);
  writeField(writer, at + MATCH_SOURCE + 4, at + MATCH_NOT_SOURCE + 4, prepared.source6, writeRanges128);
  writeField(
    writer,
    at + MATCH_DESTINATION,
    at + MATCH_NOT_DESTINATION,
    prepared.destination4,
    writeRanges32,
  );
  writeField(
    writer,
    at + MATCH_DESTINATION + 4,
    at + MATCH_NOT_DESTINATION + 4,
    prepared.destination6,
    writeRanges128,
  );
}

/** @returns 0 for none: the field is not there. */
function writeAtoms(writer: WordWriter, atoms: readonly number[]): number {
  if (atoms.length === 0) return 0;
  const sorted = atoms.length === 1 ? atoms : [...new Set(atoms)].sort((a, b) => a - b);
  const offset = writer.offset;
  writer.push(sorted.length);
  writer.pushAll(sorted);
  return offset;
}

function writeField<K extends number | bigint>(
  writer: WordWriter,
  positiveAt: number,
  negativeAt: number,
  field: FieldRanges<K>,
  write: (writer: WordWriter, ranges: NonNullable<FieldRanges<K>["positive"]>) => number,
): void {
  if (field.positive !== null) writer.set(positiveAt, write(writer, field.positive));
  if (field.negative.length > 0) writer.set(negativeAt, write(writer, field.negative));
}
