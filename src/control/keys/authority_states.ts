/**
 * How the states of authorities may change. Each step is a list of single durable writes in an order in which a process may
 * be killed between any two: what it finds then says what is left to do.
 */
import { hex } from "../../pki/der/values.ts";
import type { AuthorityRow, AuthorityState } from "../records/keys.ts";
import { readRowCertificates } from "./authority_view.ts";

export interface StateChange {
  readonly id: string;
  readonly state: AuthorityState;
}

type Rows = readonly Pick<AuthorityRow, "id" | "state">[];

/**
 * From `active` to `next`: the old one steps back first, so that there are never two of which it is not known which one issues.
 * Between the two writes none is active, which `unfinished` recognises.
 */
export function activation(rows: Rows): readonly StateChange[] {
  const next = rows.find((row) => row.state === "next");
  if (next === undefined) return [];
  const stepping = rows.filter((row) => row.state === "active").map((row) => change(row.id, "retiring"));
  return [...stepping, change(next.id, "active")];
}

/** What a process that was killed has left undone. */
export function unfinished(rows: Rows): readonly StateChange[] {
  return rows.some((row) => row.state === "active") ? [] : activation(rows);
}

/** Whether another authority that is in force has this one above it: it stays for as long as that one does. */
export function isAboveOthers(row: AuthorityRow, rows: readonly AuthorityRow[]): boolean {
  const { certificate } = readRowCertificates(row);
  const der = hex(certificate.der);
  return rows.some((other) => {
    if (other.id === row.id || other.state === "retired") return false;
    const { intermediates, root } = readRowCertificates(other);
    return [...intermediates, root].some((one) => hex(one.der) === der);
  });
}

function change(id: string, state: AuthorityState): StateChange {
  return { id, state };
}
