/** What administration of the control plane shows and does. `app/control/` fills it; nothing here knows the parts it comes from. */

import type { IpAddress, SocketAddress } from "../../base/ip.ts";
import type { Logger } from "../../base/log.ts";
import type { SliceClock } from "../../base/turns/time_slice.ts";
import type {
  AuditCheck,
  AuditEntry,
  AuditExportStatus,
  AuditHead,
  AuditQuery,
  StoredAuditEntry,
} from "../../control/records/audit.ts";
import type { CertificateQuery, IssuedCertificate } from "../../control/records/certificates.ts";
import type {
  StoredDocument as DocumentRow,
  DocumentVersion as VersionRow,
} from "../../control/records/document_versions.ts";
import type { Registration } from "../../control/records/registrations.ts";
import type { Revocation, RevocationCursor } from "../../control/records/revocations.ts";
import type { StoredToken, TokenBinding } from "../../control/records/tokens.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { DocumentError, DocumentWarning } from "../../mesh/location.ts";
import type { CallQuestion, ExplainAnswer } from "../explained.ts";

/** Never its secret, nor the hash of it. */
export type TokenEntry = Omit<StoredToken, "secretHash" | "byNamespace">;

export type RevocationTarget = Pick<Revocation, "kind" | "value">;

export type RevocationEntry = Omit<Revocation, "issuerKey" | "expiresAtMs">;

/** When a document came is `control/documents`' to look at. */
export type StoredDocument = Omit<DocumentRow, "createdMs">;

export interface DocumentSet {
  readonly version: number;
  readonly documents: readonly StoredDocument[];
}

export type DocumentVersion = Omit<VersionRow, "changes">;

export interface ControlSources {
  readonly clock: SliceClock & { wallMs(): number };
  readonly logger: Logger;
  readonly rootNamespace: string;
  readonly trustDomain: string;
  /** The control plane's own SPIFFE URI: it is never revoked. */
  readonly controlIdentity: string;
  /** Believes or not what a request shows. Whom it does not believe it has put into the audit log itself, at a bounded rate. */
  authenticate(credentials: AdminCredentials): Promise<Subject | AuthenticationRefusal>;
  /** A refusal by role. Written to the audit log at a bounded rate; never throws. */
  recordRefusal(entry: AuditEntry): void;
  /** All durable writes of `work`, or none. Synchronous. */
  transaction<T>(work: () => T): T;
  readonly administrators: AdministratorSource;
  readonly documents: DocumentSource;
  readonly tokens: TokenSource;
  /** By name, read some at a time: whoever goes through all of them gives way meanwhile. */
  nodes(): Iterable<NodeEntry>;
  node(name: string): NodeEntry | null;
  /** However many there are. */
  nodeCounts(): { readonly joined: number; readonly connected: number };
  /** For good, with its row in the audit log. @returns false when there is no such host. @throws MeshError `limit_reached`. */
  removeNode(
    node: string,
    entry: AuditEntry,
    by: { readonly name: string; readonly namespace: string },
  ): Promise<boolean>;
  /** What a host has joined for; null when there is none of that name. One look, however many hosts there are. */
  bindingOf(node: string): TokenBinding | null;
  readonly certificates: CertificateSource;
  readonly revocations: RevocationSource;
  readonly authority: AuthoritySource;
  readonly audit: AuditSource;
  /** Forgets old rows and versions, so much at a time. @returns whether there is more. */
  makeRoom(bounds: {
    readonly auditRows: number;
    readonly versions: number;
    readonly force?: boolean;
  }): boolean | Promise<boolean>;
  status(): ControlStatus;
  /** Why something is allowed or denied, by all documents; in slices. */
  explain(question: CallQuestion): Promise<ExplainAnswer>;
  /** A copy of the whole state as of now, to be read while everything goes on. @throws MeshError `limit_reached` while another is read. */
  backup(): StateCopy;
}

export interface StateCopy {
  readonly bytes: number;
  /** Reading it to its end, or cancelling it, releases it. */
  readonly stream: ReadableStream<Uint8Array>;
}

/** What a request shows of its sender; none of it is believed yet. `RpcPeer` and the header have it. */
export interface AdminCredentials {
  /** Client certificate in DER, leaf first; empty without one. */
  readonly chain: readonly Uint8Array[];
  /** The `authorization` header. */
  readonly authorization: string | null;
  readonly remote: SocketAddress;
}

export type AuthenticationRefusal = "unauthenticated" | "too_many";

/** Who it is, for certain. */
export type Subject =
  | { readonly kind: "identity"; readonly name: string; readonly id: SpiffeId }
  | {
      readonly kind: "token";
      /** `issuer#subject`. */
      readonly name: string;
      readonly issuer: string;
      readonly subject: string;
      readonly claims: Readonly<Record<string, unknown>>;
    };

export interface AdministratorSource {
  /** Given to the control plane in files; these are always in force, and only who runs it changes them. */
  readonly given: () => readonly DocumentInput[];
  /** The shared one of the first start, `firstAdministratorName` among the given, has no role any more. */
  isFirstRetired(): boolean;
  /** Durable with the transaction it is in. */
  retireFirst(): void;
  /** What `write` was given last; null before the first time. */
  read(): string | null;
  write(text: string): void;
}

export interface DocumentInput {
  /** What the operator calls the file; errors name it. */
  readonly path: string;
  readonly text: string;
}

/** What of a document is in its key. */
export interface DocumentName {
  /** `AuthorizationPolicy shop/only-cart` */
  readonly key: string;
  readonly kind: string;
  /** "" for a Namespace. */
  readonly namespace: string;
  readonly name: string;
}

/** As `control/documents` has it, without what administration does not look at. */
export interface ChangeRequest {
  /** For the history and the audit log. */
  readonly actor: string;
  /** Asked for each document that would be added, changed or removed. One refusal refuses everything. */
  readonly mayChange: (document: DocumentName) => boolean;
  /** Whose documents errors may speak of. */
  readonly mayRead: (document: DocumentName) => boolean;
  readonly dryRun?: boolean;
  /** Refused unless the documents are at this version. */
  readonly expectedVersion?: number;
  /** Goes on where the control plane would lock itself out, but for what is reserved. */
  readonly force?: boolean;
  /** Who asks must be able to ask again. */
  readonly facts: {
    readonly clients: readonly IpAddress[];
    readonly neededIdentities: readonly { readonly identity: SpiffeId; readonly role: string }[];
  };
}

export interface ApplyRequest extends ChangeRequest {
  /** Documents of these namespaces that the texts do not hold are removed. */
  readonly prune?: readonly string[] | "all";
  /** Told the key of each document that the texts name, changed or not; what it throws ends the change. */
  readonly onNamed?: (key: string) => void;
}

export interface DocumentDiff extends DocumentName {
  readonly change: "added" | "changed" | "removed";
  /** Null for one that is added. */
  readonly before: string | null;
  /** Null for one that is removed. */
  readonly after: string | null;
}

export interface LockOut {
  readonly reason: string;
  readonly resource: string | null;
  /** `reserved`: `force` does not go on. */
  readonly kind: "reserved" | "unreachable" | "role";
}

export interface ChangePlan {
  readonly diff: readonly DocumentDiff[];
  readonly warnings: readonly { readonly resource: string; readonly warning: DocumentWarning }[];
  /** What was insisted on with `force`. */
  readonly lockOuts: readonly LockOut[];
}

export type ChangeResult =
  | { readonly outcome: "applied" | "planned"; readonly version: number; readonly plan: ChangePlan }
  | {
      readonly outcome: "refused";
      readonly because:
        | ("invalid" | "forbidden" | "owned" | "conflict")
        | ("busy" | "unknown" | "lock_out" | "test_failed");
      readonly version: number;
      readonly message: string;
      readonly errors: readonly DocumentError[];
      readonly lockOuts: readonly LockOut[];
    };

/** Changes are all or nothing. The source writes a row of the audit log for each document, as durably as the change, and one for a change it refuses. */
export interface DocumentSource {
  current(): DocumentSet;
  /** By its key. */
  get(key: string): StoredDocument | null;
  /** Null for a version that never was or is not kept any more. */
  at(version: number): Promise<DocumentSet | null>;
  /** The newest first. */
  history(limit: number, beforeVersion?: number): readonly DocumentVersion[];
  /** A page of what a version changed, by key. */
  namesChanged(
    version: number,
    afterKey: string,
    limit: number,
  ): readonly (DocumentName & { readonly isRemoved: boolean })[];
  apply(
    texts: readonly { readonly source: string; readonly text: string }[],
    request: ApplyRequest,
  ): Promise<ChangeResult>;
  delete(keys: readonly string[], request: ChangeRequest): Promise<ChangeResult>;
  rollback(version: number, request: ChangeRequest): Promise<ChangeResult>;
}

export interface TokenSource {
  list(): readonly TokenEntry[];
  /** @throws MeshError `configuration` for a binding or a lifetime that cannot be. */
  create(request: {
    readonly binding: TokenBinding;
    readonly ttlMs?: number;
    readonly replace: boolean;
    readonly createdBy: string;
    /** By whose right: a namespace's, or "" for the mesh's. */
    readonly byNamespace: string;
  }): Promise<{
    readonly id: string;
    readonly expiresAtMs: number;
    readonly token: string;
    readonly line: string;
  }>;
  revoke(id: string): void;
}

/** A host that has joined, and how far it has followed. */
export interface NodeEntry extends Omit<Registration, "tokenId" | "currentSerial" | "pendingSerial"> {
  readonly connected: boolean;
  /** What it says of its program; null when it is not connected. */
  readonly programVersion: string | null;
  /** Of a Fairlead that is further from this one than is supported. */
  readonly versionSkew: "older" | "newer" | null;
  readonly subscriptions: readonly SubscriptionEntry[];
}

export interface SubscriptionEntry {
  readonly typeUrl: string;
  /** Nonce or version; null: none yet. */
  readonly sent: string | null;
  readonly acknowledged: string | null;
  readonly queued: number;
  /** What it has refused, newest last. */
  readonly nacks: readonly {
    readonly atMs: number;
    readonly resources: readonly string[];
    readonly message: string;
  }[];
}

export interface CertificateSource {
  /** The newest first. */
  list(query: CertificateQuery): readonly IssuedCertificate[];
  bySerial(serial: string): IssuedCertificate | null;
}

export interface RevocationSource {
  /** In the order they were made. @param after null for the first page. */
  page(
    after: RevocationCursor | null,
    limit: number,
  ): readonly { readonly revocation: RevocationEntry; readonly cursor: RevocationCursor }[];
  find(target: RevocationTarget): RevocationEntry | null;
  /** Durable when it resolves. `pending`: why it is not published yet. @param byNamespace by whose right; "" for the mesh's. */
  revoke(
    target: RevocationTarget,
    reason: string,
    byWhom: string,
    byNamespace: string,
  ): Promise<{ readonly serialNumbers: readonly string[]; readonly pending: string | null }>;
  /** Allows an identity or a node to have certificates again. @returns whether it was revoked. */
  lift(target: RevocationTarget): Promise<boolean>;
}

export interface AuthorityEntry {
  readonly id: string;
  readonly kind: "root" | "intermediate";
  readonly state: "active" | "next" | "retiring" | "retired";
  /** What it is there for now, in words. */
  readonly role: string;
  readonly subject: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** `sha256:…` of its public key. */
  readonly pin: string;
  /** Why its key cannot be used; null when it can. */
  readonly unavailable: string | null;
}

/** As `control/keys` has it: where the key of the control plane's own root is. */
export interface RootKeyStatus {
  readonly place: "here" | "file" | "away" | "elsewhere";
  /** On the control plane's host. */
  readonly path: string;
}

export interface RootKeySource {
  status(): RootKeyStatus;
  /**
   * Writes it into the file and takes it out of state. When it resolves all that the key is needed for soon is signed.
   *
   * @throws MeshError `configuration` when there is nothing to export; `io`.
   */
  export(): Promise<RootKeyStatus>;
  /** Takes it back from the file, which is removed. @throws MeshError `configuration`, `authority_unavailable`, `io`. */
  import(): Promise<RootKeyStatus>;
}

/** As `control/rotation` has it. */
export interface RotationProgress {
  readonly phase: "idle" | "preparing" | "reissuing";
  readonly active: string | null;
  readonly next: string | null;
  readonly retiring: readonly string[];
  /** What has to come before the next step, and who it is waited for: at most some names of them all. */
  readonly waiting: {
    readonly what: "root" | "leaf" | "finish";
    readonly names: readonly string[];
    readonly count: number;
  } | null;
  /** Why the step that is due was not possible; it is tried again. */
  readonly problem: string | null;
}

/** `done` false is a refusal; the progress says why. */
export interface RotationAnswer {
  readonly done: boolean;
  readonly progress: RotationProgress;
}

export interface RotationSource {
  progress(): RotationProgress;
  /** @throws MeshError `configuration` when one is under way; `authority_unavailable`. */
  start(kind: "root" | "intermediate"): Promise<RotationProgress>;
  /** @param abandon goes on without those that it waits for; they join again. */
  finish(abandon?: boolean): RotationAnswer;
  abort(): RotationAnswer;
}

export interface AuthoritySource {
  /** `local`, `files`, `vault-pki`, `vault-transit`. */
  readonly keyPlace: string;
  list(): readonly AuthorityEntry[];
  rootsPem(): string;
  /** Null where the CA is an operator's own: it is replaced where it was made. */
  readonly rotation: RotationSource | null;
  /** Null where the root is not the control plane's own. */
  readonly rootKey: RootKeySource | null;
}

export interface AuditRecords {
  /** The last row that was pruned. */
  readonly start: AuditHead;
  readonly records: readonly Readonly<Record<string, unknown>>[];
}

export interface AuditSource {
  /** Reads all of it, and compares it with the signed heads. @param known heads that were kept elsewhere. */
  check(known: readonly AuditHead[], withArchive: boolean): Promise<AuditCheck>;
  append(entry: AuditEntry): void;
  /** Rows as they leave the control plane, with all that the chain is made of; as many as one answer may hold. */
  records(afterId: number): AuditRecords;
  read(query: AuditQuery): readonly StoredAuditEntry[];
  /** Refusals of callers that are not known, the newest first. */
  strangers(limit: number, beforeId?: number): readonly StoredAuditEntry[];
}

export interface ControlStatus {
  readonly version: Readonly<Record<string, string>>;
  readonly startedAtMs: number;
  /** What readiness still waits for; empty is ready. */
  readonly pending: readonly string[];
  /** Null while state can be written; else why not. */
  readonly readOnly: string | null;
  readonly auditExports: readonly AuditExportStatus[];
}
