/**
 * The mesh's documents as the control plane keeps them: a set in versions. A change is all or nothing. It is read, converted with all
 * the others, held against tenancy and against locking the control plane out, written with its audit rows, and only then in
 * force, as one change of the store.
 */
import { asMeshError } from "../../base/errors.ts";
import { meshLimits } from "../../base/limits/mesh.ts";
import type { Logger } from "../../base/log.ts";
import { TimeSlice } from "../../base/time_slice.ts";
import type { Clock } from "../../host/host.ts";
import type { ConversionContext } from "../../mesh/convert/conversion_context.ts";
import type { DocumentStatus } from "../../mesh/convert/conversion_report.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import { formatLocation } from "../../mesh/location.ts";
import { diffStates, emptyState, type MeshState } from "../../mesh/store/change.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type {
  DocumentChange,
  DocumentSet,
  DocumentVersion,
  StoredDocument,
} from "../records/document_versions.ts";
import type { ControlState } from "../state/control_state.ts";
import { ChangeRecords } from "./change_records.ts";
import type {
  ApplyRequest,
  ChangePlan,
  ChangeRefusal,
  ChangeRequest,
  ChangeResult,
} from "./change_request.ts";
import {
  type ConvertedSet,
  type DerivedDocuments,
  DocumentConverter,
  newlyRefusedMembers,
  viewOf,
} from "./converted_documents.ts";
import {
  changesBetween,
  type DocumentDiff,
  describeEffect,
  diffDocuments,
  owningNamespace,
  type Replacement,
} from "./document_diff.ts";
import { type InputText, type ReadDocument, readInput } from "./document_input.ts";
import { type ControlPlaneFacts, findLockOuts, lockedOutBy } from "./lock_out.ts";
import { checkOwnership, isAboveOwners, touchedDocuments } from "./owned_changes.ts";
import { type HostDirectory, Ownership } from "./ownership.ts";
import { checkErrors, checkLockOuts, checkTenancy, refusal } from "./refusing.ts";
import { overShare } from "./shares.ts";

export interface MeshDocumentsOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly state: ControlState;
  /** Nothing else changes it. */
  readonly store: MeshStore;
  readonly context: ConversionContext;
  /** Asked at each conversion, and followed. None when left out. */
  readonly derived?: DerivedDocuments;
  /** What is known of the control plane now. */
  readonly facts: () => ControlPlaneFacts;
  /** None when left out. */
  readonly hosts?: HostDirectory;
}

const noHosts: HostDirectory = { byNode: () => null, within: () => [] };
const refusedMessage = "a member of a WorkloadGroup is left out";
const leftOutMessage =
  "a member of a WorkloadGroup is left out, because nodes could no longer reach the control plane";

/** A change that has been found good. */
interface Intent {
  readonly action: DocumentVersion["action"];
  readonly detail: string;
  readonly documents: readonly StoredDocument[];
  readonly fresh: readonly ReadDocument[];
}

export class MeshDocuments {
  readonly #options: MeshDocumentsOptions;
  readonly #converter: DocumentConverter;
  readonly #records: ChangeRecords;
  #set: ConvertedSet;
  #state: MeshState = emptyState;
  #endFollowing: () => void = () => {};
  /** Keys of derived documents that would lock the control plane out. */
  #leftOut: ReadonlySet<string> = new Set();
  #ownership: { readonly set: ConvertedSet; readonly value: Promise<Ownership> } | null = null;
  /** Changes take turns: each is planned on what the one before has left. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(options: MeshDocumentsOptions, converter: DocumentConverter, set: ConvertedSet) {
    this.#options = options;
    this.#converter = converter;
    this.#records = new ChangeRecords(options);
    this.#set = set;
  }

  /**
   * Puts what is kept in force. A document that this program refuses, though an earlier one took it, is told, and where it is a policy
   * traffic it may concern is denied until it is mended.
   *
   * @throws MeshError `database_damaged`.
   */
  static async open(options: MeshDocumentsOptions): Promise<MeshDocuments> {
    const converter = new DocumentConverter(options.clock, options.context, options.derived ?? null);
    const set = await converter.convert(options.state.documents.current().documents, [], "all");
    const documents = new MeshDocuments(options, converter, set);
    documents.#enforce(set);
    documents.#tellErrors();
    if (options.derived !== undefined) await documents.refresh();
    documents.#endFollowing = options.derived?.subscribe(() => documents.#takeDerived()) ?? (() => {});
    return documents;
  }

  get version(): number {
    return this.#options.state.documents.version();
  }

  /** What is in force; a version that is being written is not yet. */
  current(): DocumentSet {
    return { version: this.version, documents: this.stored };
  }

  /** What a version changed, by key; empty for one that is not kept. */
  changesOf(version: number): readonly DocumentChange[] {
    return this.#options.state.documents.changesOf(version);
  }

  /** As they were applied, sorted by key. */
  get stored(): readonly StoredDocument[] {
    return this.#set.stored;
  }

  /** Parsed; without the derived ones. */
  get documents(): readonly MeshDocument[] {
    return this.#set.documents;
  }

  /** Of each document, and then of each derived one. */
  get statuses(): readonly DocumentStatus[] {
    return this.#set.statuses;
  }

  /** @param key `AuthorizationPolicy shop/only-cart` */
  get(key: string): StoredDocument | null {
    return this.#set.stored.find((document) => document.key === key) ?? null;
  }

  /** The newest first. */
  history(limit: number, beforeVersion?: number): readonly DocumentVersion[] {
    return this.#options.state.documents.history(limit, beforeVersion);
  }

  /** @returns null for a version that never was, or is not kept any more. */
  at(version: number): DocumentSet | null {
    return this.#options.state.documents.at(version);
  }

  /** @returns null when one of the two is not kept. */
  diff(from: number, to: number): readonly DocumentDiff[] | null {
    const before = this.at(from);
    const after = this.at(to);
    return before === null || after === null ? null : diffDocuments(before.documents, after.documents);
  }

  /** Adds and changes; removes only what `prune` names. @throws MeshError `disk_full`, `io`, …: nothing was changed then. */
  async apply(texts: readonly InputText[], request: ApplyRequest): Promise<ChangeResult> {
    // Before its turn: what was sent is read at its sender's expense, and no other change waits for it.
    const input = await readInput(this.#options.clock, texts, request.onNamed);
    if ("errors" in input) {
      const message = "nothing was applied: the documents have errors";
      return refusal("invalid", this.version, message, { errors: input.errors });
    }
    return this.#inTurn(async () => {
      const given = new Map(input.documents.map(({ stored }) => [stored.key, stored]));
      const kept = this.stored.filter((document) => !given.has(document.key) && !isPruned(document, request));
      // It is a part of each document's row: where there are many, the first say enough.
      const sources = [...new Set(texts.map(({ source }) => source))]
        .join(", ")
        .slice(0, meshLimits.maxSourceChars);
      const documents = sorted([...kept, ...this.#stamp([...given.values()])]);
      return this.#change({ action: "apply", detail: sources, documents, fresh: input.documents }, request);
    });
  }

  /** @param keys `AuthorizationPolicy shop/only-cart` @throws as `apply`. */
  delete(keys: readonly string[], request: ChangeRequest): Promise<ChangeResult> {
    return this.#inTurn(async () => {
      const unknown = keys.find((key) => this.get(key) === null);
      if (unknown !== undefined) return refusal("unknown", this.version, `there is no ${unknown}`);
      const documents = this.stored.filter(({ key }) => !keys.includes(key));
      return this.#change({ action: "delete", detail: keys.join(", "), documents, fresh: [] }, request);
    });
  }

  /** A new version with the documents of an old one. @throws as `apply`. */
  rollback(version: number, request: ChangeRequest): Promise<ChangeResult> {
    return this.#inTurn(async () => {
      const target = this.at(version);
      if (target === null) return refusal("unknown", this.version, `version ${version} is not kept`);
      const documents = sorted(this.#stamp(target.documents));
      return this.#change(
        { action: "rollback", detail: `to version ${version}`, documents, fresh: [] },
        request,
      );
    });
  }

  /** Converts again: what the derived documents are made of has changed. Those that would lock the control plane out are left out. */
  refresh(): Promise<void> {
    return this.#inTurn(async () => {
      const before = viewOf(this.#set);
      this.#leftOut = new Set();
      for (;;) {
        const next = await this.#converter.convert(this.stored, [], this.#leftOut);
        const found = lockedOutBy(next.derived, findLockOuts(before, viewOf(next), this.#options.facts()));
        if (found.size === 0) {
          for (const { resource, reason } of newlyRefusedMembers(this.#set, next))
            this.#options.logger.log("warn", "documents", refusedMessage, { resource, reason });
          this.#enforce(next);
          return;
        }
        for (const [resource, reason] of found)
          this.#options.logger.log("error", "documents", leftOutMessage, { resource, reason });
        this.#leftOut = new Set([...this.#leftOut, ...found.keys()]);
      }
    });
  }

  /** Whose what is, by the documents in force. */
  ownership(): Promise<Ownership> {
    const set = this.#set;
    if (this.#ownership?.set !== set) this.#ownership = { set, value: this.#ownershipOf(set) };
    return this.#ownership.value;
  }

  /** Derived documents are no longer followed. */
  close(): void {
    this.#endFollowing();
  }

  #takeDerived(): void {
    this.refresh().catch((thrown) => {
      const { message } = asMeshError(thrown, "configuration", "local");
      this.#options.logger.log("error", "documents", "members of WorkloadGroups could not be added", {
        reason: message,
      });
    });
  }

  async #change(intent: Intent, request: ChangeRequest): Promise<ChangeResult> {
    const version = this.version;
    if (request.expectedVersion !== undefined && request.expectedVersion !== version) {
      const message = `the documents are at version ${version}, not ${request.expectedVersion}; look at the difference again`;
      return refusal("conflict", version, message);
    }
    const replacements = changesBetween(this.stored, intent.documents);
    const forbidden = checkTenancy(replacements, request, version);
    if (forbidden !== null) return this.#records.refuse(forbidden, intent, request);
    const tooMuch = overShare(this.stored, intent.documents, this.#options.context.rootNamespace);
    if (tooMuch !== null) return refusal("invalid", version, tooMuch.message, { errors: [tooMuch] });
    try {
      return await this.#decide(intent, replacements, request, version);
    } finally {
      this.#converter.keep(this.#set);
    }
  }

  async #decide(
    intent: Intent,
    replacements: readonly Replacement[],
    request: ChangeRequest,
    version: number,
  ): Promise<ChangeResult> {
    const next = await this.#converter.convert(intent.documents, intent.fresh, this.#leftOut);
    const owned = await this.#checkOwnership(next, replacements, request);
    if (owned !== null) return this.#records.refuse(owned, intent, request);
    const invalid = checkErrors(this.#set, next, replacements, request, version);
    if (invalid !== null) return invalid;
    const lockOuts = findLockOuts(viewOf(this.#set), viewOf(next), this.#facts(request));
    const lockedOut = checkLockOuts(lockOuts, request, version);
    if (lockedOut !== null) return this.#records.refuse(lockedOut, intent, request);
    const plan: ChangePlan = {
      diff: diffDocuments(this.stored, intent.documents),
      effect: describeEffect(this.#state, diffStates(this.#state, next.conversion)),
      warnings: warningsOf(next, replacements),
      lockOuts,
    };
    if (request.dryRun === true) return { outcome: "planned", version, plan };
    if (replacements.length === 0) return { outcome: "applied", version, plan };
    const written = this.#records.write(intent, replacements, request, version);
    this.#enforce(next);
    if (this.#leftOut.size > 0) this.#takeDerived();
    return { outcome: "applied", version: written, plan };
  }

  async #checkOwnership(
    next: ConvertedSet,
    replacements: readonly Replacement[],
    request: ChangeRequest,
  ): Promise<ChangeRefusal | null> {
    if (isAboveOwners(next, request)) return null;
    const { clock, context } = this.#options;
    const slice = new TimeSlice(clock);
    const touched = await touchedDocuments(this.#set, next, replacements, context.network, slice);
    if (touched.length === 0) return null;
    return checkOwnership(await this.#ownershipOf(next), touched, request, this.version, slice);
  }

  #ownershipOf({ documents, derived }: ConvertedSet): Promise<Ownership> {
    const { clock, context, facts, hosts = noHosts } = this.#options;
    const { network } = context;
    const view = {
      documents: [...documents, ...derived],
      hosts,
      controlAddresses: facts().addresses,
      network,
    };
    return Ownership.of(view, new TimeSlice(clock));
  }

  #enforce(next: ConvertedSet): void {
    const change = diffStates(this.#state, next.conversion);
    this.#set = next;
    this.#state = next.conversion;
    this.#converter.keep(next);
    if (change !== null) this.#options.store.apply(change);
  }

  /**
   * The same text from another file is the same document: it keeps its place, and nothing changes. A changed one keeps the time at
   * which it first came; a new one comes after all that are there, even if the clock was set back.
   */
  #stamp(documents: readonly StoredDocument[]): readonly StoredDocument[] {
    const known = new Map(this.stored.map((document) => [document.key, document]));
    let createdMs = this.#options.clock.wallMs();
    for (const document of this.stored) createdMs = Math.max(createdMs, document.createdMs + 1);
    return documents.map((document) => {
      const before = known.get(document.key);
      if (before?.text === document.text) return before;
      return { ...document, createdMs: before?.createdMs ?? createdMs };
    });
  }

  #facts({ facts }: ChangeRequest): ControlPlaneFacts {
    const known = this.#options.facts();
    return {
      ...known,
      clients: [...known.clients, ...(facts?.clients ?? [])],
      neededIdentities: [...known.neededIdentities, ...(facts?.neededIdentities ?? [])],
    };
  }

  #tellErrors(): void {
    for (const [resource, errors] of this.#set.errors) {
      for (const { location, message } of errors) {
        const at = formatLocation(location);
        this.#options.logger.log("error", "documents", "a stored document is refused", {
          resource,
          at,
          reason: message,
        });
      }
    }
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(act);
    this.#turn = mine.catch(() => {});
    return mine;
  }
}

function isPruned(document: StoredDocument, { prune = [] }: ApplyRequest): boolean {
  return prune === "all" || prune.includes(owningNamespace(document));
}

function sorted(documents: readonly StoredDocument[]): readonly StoredDocument[] {
  return [...documents].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
}

function warningsOf(next: ConvertedSet, replacements: readonly Replacement[]): ChangePlan["warnings"] {
  const written = new Set(replacements.map(({ change }) => change.key));
  return next.statuses
    .filter(({ resource }) => written.has(resource))
    .flatMap(({ resource, warnings }) => warnings.map((warning) => ({ resource, warning })));
}
