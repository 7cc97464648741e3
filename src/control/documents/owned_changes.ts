/** Whether a change may claim what it newly claims, and give what it newly grants. */
import { filterInSteps, mapInSteps } from "../../base/turns/steps.ts";
import type { TimeSlice } from "../../base/turns/time_slice.ts";
import type { GrantDocument } from "../../mesh/documents/document.ts";
import type { DocumentError } from "../../mesh/location.ts";
import type { ChangeRefusal, ChangeRequest } from "./change_request.ts";
import { type Claim, claimKey, claimsOf } from "./claims_of.ts";
import type { ConvertedSet } from "./converted_documents.ts";
import type { Replacement } from "./document_diff.ts";
import type { Ownership, Writer } from "./ownership.ts";
import { refusal, told } from "./refusing.ts";

export interface TouchedDocument {
  /** What it claims that it did not claim before. */
  readonly claims: readonly Claim[];
  /** Of a Grant: itself. */
  readonly grant: GrantDocument | null;
}

/**
 * What was in force stays: a host or an address that the same namespace claimed, in whichever document; a node or a network that the
 * same document claimed, so that who may have one workload somewhere may not have a thousand.
 */
export async function touchedDocuments(
  before: ConvertedSet,
  next: ConvertedSet,
  replacements: readonly Replacement[],
  network: string,
  slice: TimeSlice,
): Promise<readonly TouchedDocument[]> {
  const changed = new Set(await slice.run(mapInSteps(replacements, ({ change }) => change.key)));
  const written = await slice.run(filterInSteps(next.documents, ({ metadata }) => changed.has(metadata.key)));
  const owners = new Set(written.map(({ metadata }) => metadata.namespace));
  const held = new Set<string>();
  for (const document of before.documents) {
    if (!owners.has(document.metadata.namespace)) continue;
    await slice.giveWay();
    for (const claim of claimsOf(document, network)) held.add(heldKey(claim));
  }
  const touched: TouchedDocument[] = [];
  for (const document of written) {
    await slice.giveWay();
    const claims = claimsOf(document, network).filter((claim) => !held.has(heldKey(claim)));
    const grant = document.kind === "Grant" ? document : null;
    if (claims.length > 0 || grant !== null) touched.push({ claims, grant });
  }
  return touched;
}

function heldKey({ claimed, document: { metadata } }: Claim): string {
  const holder = claimed.kind === "node" || claimed.kind === "network" ? metadata.key : metadata.namespace;
  return `${holder} ${claimKey(claimed)}`;
}

/** Who may write for the whole mesh is held against grants alone: where there are none, nothing has to be worked out. */
export function isAboveOwners({ documents }: ConvertedSet, { mayChange }: ChangeRequest): boolean {
  return mayChange(anyOf("")) && !documents.some(({ kind }) => kind === "Grant");
}

function anyOf(namespace: string): Parameters<ChangeRequest["mayChange"]>[0] {
  return { key: "", kind: "", namespace, name: "" };
}

/** @returns null where all of it may be. */
export async function checkOwnership(
  ownership: Ownership,
  touched: readonly TouchedDocument[],
  { mayChange, mayRead = mayChange }: ChangeRequest,
  version: number,
  slice: TimeSlice,
): Promise<ChangeRefusal | null> {
  const writer: Writer = {
    mayWrite: (namespace) => mayChange(anyOf(namespace)),
    mayRead: (namespace) => mayRead(anyOf(namespace)),
  };
  const errors: DocumentError[] = [];
  for (const { claims, grant } of touched) {
    await slice.giveWay();
    for (const claim of claims) {
      const message = ownership.refuse(claim, writer);
      if (message !== null)
        errors.push({ location: claim.at, resource: claim.document.metadata.key, message });
    }
    if (grant !== null) errors.push(...ownership.conflictsOf(grant));
  }
  const [first] = errors;
  if (first === undefined) return null;
  return refusal("owned", version, `nothing was changed: ${first.message}`, { errors: told(errors) });
}
