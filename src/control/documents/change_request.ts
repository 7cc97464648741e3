/** How the mesh's documents are changed, and what comes of it. */
import type { DocumentError, DocumentWarning } from "../../mesh/location.ts";
import type { DocumentVersion, StoredDocument } from "../records/document_versions.ts";
import type { DocumentDiff, DocumentIdentity, MeshEffect } from "./document_diff.ts";
import type { ReadDocument } from "./document_input.ts";
import type { ControlPlaneFacts, LockOut } from "./lock_out.ts";

export interface ChangeRequest {
  /** For the history and the audit log. */
  readonly actor: string;
  /** Asked for each document that would be added, changed or removed: tenancy. One refusal refuses everything. */
  readonly mayChange: (document: DocumentIdentity) => boolean;
  /** Whose documents errors may speak of; `mayChange` when left out. */
  readonly mayRead?: (document: DocumentIdentity) => boolean;
  /** Says what would come of it, and does nothing. */
  readonly dryRun?: boolean;
  /** Refused unless the documents are at this version. */
  readonly expectedVersion?: number;
  /** Goes on where the control plane would lock itself out, but for what is reserved. */
  readonly force?: boolean;
  /** What this caller adds to what is known of the control plane: its address, its role. */
  readonly facts?: Partial<Pick<ControlPlaneFacts, "clients" | "neededIdentities">>;
}

export interface ApplyRequest extends ChangeRequest {
  /** Documents of these namespaces that the texts do not hold are removed; `all`: of every namespace. None when left out. */
  readonly prune?: readonly string[] | "all";
  /** Told the key of each document that the texts name, changed or not, before anything else; what it throws ends the change. */
  readonly onNamed?: (key: string) => void;
}

/** A change that has been found good. */
export interface Intent {
  readonly action: DocumentVersion["action"];
  readonly detail: string;
  readonly documents: readonly StoredDocument[];
  readonly fresh: readonly ReadDocument[];
}

/** What a change does. */
export interface ChangePlan {
  /** Sorted by key. */
  readonly diff: readonly DocumentDiff[];
  readonly effect: MeshEffect;
  /** Of documents that are added or changed. */
  readonly warnings: readonly { readonly resource: string; readonly warning: DocumentWarning }[];
  /** What was insisted on with `force`. */
  readonly lockOuts: readonly LockOut[];
}

export type ChangeResult =
  /** In force, and on the disk. `version` is the one before when there was nothing to change. */
  | { readonly outcome: "applied"; readonly version: number; readonly plan: ChangePlan }
  /** What `dryRun` was asked for. `version` is the one it was planned on. */
  | { readonly outcome: "planned"; readonly version: number; readonly plan: ChangePlan }
  | ChangeRefusal;

/** Nothing was changed. */
export interface ChangeRefusal {
  readonly outcome: "refused";
  readonly because: /** Documents that are wrong by themselves or beside the others: `errors`. */
    | "invalid"
    /** `mayChange` said no: `errors` name the documents. */
    | "forbidden"
    /** Somebody else owns what documents claim: `errors` name the documents, and whose it is. */
    | "owned"
    /** The documents are not at `expectedVersion`. */
    | "conflict"
    /** Too many changes wait for their turn. */
    | "busy"
    /** No such document or version. */
    | "unknown"
    /** PolicyTests fail that passed before, or that came with the change: `errors`; `force` goes on. */
    | "test_failed"
    /** `lockOuts` say how; `force` goes on, unless one is `reserved`. */
    | "lock_out";
  readonly version: number;
  readonly message: string;
  readonly errors: readonly DocumentError[];
  readonly lockOuts: readonly LockOut[];
}

/** What is known of the control plane, and what the request says of who makes it. */
export function withFacts(known: ControlPlaneFacts, { facts }: ChangeRequest): ControlPlaneFacts {
  const clients = [...known.clients, ...(facts?.clients ?? [])];
  return {
    ...known,
    clients,
    neededIdentities: [...known.neededIdentities, ...(facts?.neededIdentities ?? [])],
  };
}
