/**
 * The mesh's documents as the control plane keeps them: a set in versions. A change is all or nothing. It is read, converted with all
 * the others, held against tenancy and against locking the control plane out, written with its audit rows, and only then in
 * force, as one change of the store.
 */
import { asMeshError } from "../../base/errors.ts";
import { meshLimits } from "../../base/limits/mesh.ts";
import type { Logger } from "../../base/log.ts";
import { filterInSteps, mapInSteps } from "../../base/turns/steps.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Clock } from "../../host/host.ts";
import type { ConversionContext } from "../../mesh/convert/conversion_context.ts";
import type { DocumentStatus } from "../../mesh/convert/conversion_report.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import { changeInParts, diffStatesInSteps, emptyState, type MeshState } from "../../mesh/store/change.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type {
  ChangedName,
  DocumentSet,
  DocumentVersion,
  StoredDocument,
} from "../records/document_versions.ts";
import type { ControlState } from "../state/control_state.ts";
import { ChangeQueue } from "./change_queue.ts";
import { ChangeRecords } from "./change_records.ts";
import {
  type ApplyRequest,
  type ChangePlan,
  type ChangeRefusal,
  type ChangeRequest,
  type ChangeResult,
  type Intent,
  withFacts,
} from "./change_request.ts";
import {
  type ConvertedSet,
  type DerivedDocuments,
  DocumentConverter,
  newlyRefusedMembers,
  viewOf,
  warningsOf,
} from "./converted_documents.ts";
import {
  changesBetween,
  type DocumentDiff,
  describeChanges,
  describeEffect,
  diffDocuments,
  owningNamespace,
  type Replacement,
} from "./document_diff.ts";
import { type InputText, readInput } from "./document_input.ts";
import { type ControlPlaneFacts, findLockOuts, lockedOutBy } from "./lock_out.ts";
import { checkOwnership, isAboveOwners, touchedDocuments } from "./owned_changes.ts";
import { type HostDirectory, Ownership } from "./ownership.ts";
import { checkErrors, checkLockOuts, checkTenancy, refusal, tellErrors } from "./refusing.ts";
import { overShare } from "./shares.ts";
import { findStored, replaceStored, stampStored } from "./stored_set.ts";
import { checkPolicyTests, type PolicyTester } from "./tested_policies.ts";

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
  /** PolicyTests are not run when left out. */
  readonly policyTester?: PolicyTester;
}

const noHosts: HostDirectory = { byNode: () => null, within: () => [] };
const refusedMessage = "a member of a WorkloadGroup is left out";
const leftOutMessage =
  "a member of a WorkloadGroup is left out, because nodes could no longer reach the control plane";

export class MeshDocuments {
  readonly #options: MeshDocumentsOptions;
  readonly #converter: DocumentConverter;
  readonly #records: ChangeRecords;
  #set: ConvertedSet;
  readonly #inForce: WatchSource<readonly StoredDocument[]>;
  #state: MeshState = emptyState;
  #version: number;
  #endFollowing: () => void = () => {};
  /** Keys of derived documents that would lock the control plane out. */
  #leftOut: ReadonlySet<string> = new Set();
  #ownership: { readonly set: ConvertedSet; readonly value: Promise<Ownership> } | null = null;
  readonly #queue = new ChangeQueue();
  #isClosed = false;

  private constructor(
    options: MeshDocumentsOptions,
    records: ChangeRecords,
    converter: DocumentConverter,
    set: ConvertedSet,
  ) {
    this.#options = options;
    this.#converter = converter;
    this.#records = records;
    this.#set = set;
    this.#inForce = new WatchSource(set.stored);
    this.#version = options.state.documents.version();
  }

  /**
   * Puts what is kept in force. A document that this program refuses, though an earlier one took it, is told, and where it is a policy
   * traffic it may concern is denied until it is mended.
   *
   * @throws MeshError `database_damaged`.
   */
  static async open(options: MeshDocumentsOptions): Promise<MeshDocuments> {
    const records = new ChangeRecords(options);
    await records.resume(new TimeSlice(options.clock));
    const converter = new DocumentConverter(options.clock, options.context, options.derived ?? null);
    const set = await converter.convert(options.state.documents.current().documents, [], "all");
    const documents = new MeshDocuments(options, records, converter, set);
    await documents.#enforce(set, documents.version);
    tellErrors(options.logger, set);
    if (options.derived !== undefined) await documents.refresh();
    documents.#endFollowing = options.derived?.subscribe(() => documents.#takeDerived()) ?? (() => {});
    return documents;
  }

  /** Of what is in force. */
  get version(): number {
    return this.#version;
  }

  /** What is in force; a version that is being written is not yet. */
  current(): DocumentSet {
    return { version: this.version, documents: this.stored };
  }

  /** What a version changed, by key, a page of it; empty for one that is not kept. */
  namesChanged(version: number, afterKey: string, limit: number): readonly ChangedName[] {
    return this.#options.state.documents.namesChanged(version, afterKey, limit);
  }

  /** As they were applied, sorted by key. */
  get stored(): readonly StoredDocument[] {
    return this.#set.stored;
  }

  /** The same, told after each change. */
  get inForce(): Watch<readonly StoredDocument[]> {
    return this.#inForce;
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
    return findStored(this.#set.stored, key);
  }

  /** The newest first. */
  history(limit: number, beforeVersion?: number): readonly DocumentVersion[] {
    return this.#options.state.documents.history(limit, beforeVersion);
  }

  /** In slices. @returns null for a version that never was, or is not kept any more. */
  at(version: number): Promise<DocumentSet | null> {
    return this.#slice().run(this.#options.state.documents.atInSteps(version));
  }

  /** @returns null when one of the two is not kept. */
  async diff(from: number, to: number): Promise<readonly DocumentDiff[] | null> {
    const before = await this.at(from);
    const after = await this.at(to);
    if (before === null || after === null) return null;
    return await this.#slice().run(diffDocuments(before.documents, after.documents));
  }

  /** Adds and changes; removes only what `prune` names. @throws MeshError `disk_full`, `io`, …: nothing was changed then. */
  async apply(texts: readonly InputText[], request: ApplyRequest): Promise<ChangeResult> {
    // Before its turn: what was sent is read at its sender's expense, and no other change waits for it.
    const input = await readInput(this.#options.clock, texts, request.onNamed);
    if ("errors" in input) {
      const message = "nothing was applied: the documents have errors";
      return refusal("invalid", this.version, message, { errors: input.errors });
    }
    // It is a part of each document's row: where there are many, the first say enough.
    const detail = [...new Set(texts.slice(0, meshLimits.maxSourceChars).map(({ source }) => source))]
      .join(", ")
      .slice(0, meshLimits.maxSourceChars);
    return await this.#inTurn(request, async (slice) => {
      const given = await slice.run(mapInSteps(input.documents, ({ stored }) => stored));
      const stamped = await slice.run(this.#stamp(given));
      const pruned = new Set(request.prune === "all" ? [] : request.prune);
      const stays = (document: StoredDocument) =>
        request.prune !== "all" && !pruned.has(owningNamespace(document));
      const documents = await slice.run(replaceStored(this.stored, stamped, stays));
      return this.#change({ action: "apply", detail, documents, fresh: input.documents }, request, slice);
    });
  }

  /** @param keys `AuthorizationPolicy shop/only-cart` @throws as `apply`. */
  delete(keys: readonly string[], request: ChangeRequest): Promise<ChangeResult> {
    return this.#inTurn(request, async (slice) => {
      const unknown = keys.find((key) => this.get(key) === null);
      if (unknown !== undefined) return refusal("unknown", this.version, `there is no ${unknown}`);
      const gone = new Set(keys);
      const documents = await slice.run(filterInSteps(this.stored, ({ key }) => !gone.has(key)));
      const detail = keys.slice(0, meshLimits.maxSourceChars).join(", ");
      return this.#change({ action: "delete", detail, documents, fresh: [] }, request, slice);
    });
  }

  /** A new version with the documents of an old one. @throws as `apply`. */
  rollback(version: number, request: ChangeRequest): Promise<ChangeResult> {
    return this.#inTurn(request, async (slice) => {
      const target = await this.at(version);
      if (target === null) return refusal("unknown", this.version, `version ${version} is not kept`);
      const documents = await slice.run(this.#stamp(target.documents));
      const detail = `to version ${version}`;
      return this.#change({ action: "rollback", detail, documents, fresh: [] }, request, slice);
    });
  }

  /** Converts again: what the derived documents are made of has changed. Those that would lock the control plane out are left out. */
  async refresh(): Promise<void> {
    await this.#queue.run("ours", async () => {
      if (this.#isClosed) return;
      const slice = this.#slice();
      const before = viewOf(this.#set);
      this.#leftOut = new Set();
      for (;;) {
        const next = await this.#converter.convert(this.stored, [], this.#leftOut);
        const lockOuts = await slice.run(findLockOuts(before, viewOf(next), this.#options.facts()));
        const found = await slice.run(lockedOutBy(next.derived, lockOuts));
        if (found.size === 0) {
          for (const { resource, reason } of newlyRefusedMembers(this.#set, next))
            this.#options.logger.log("warn", "documents", refusedMessage, { resource, reason });
          await this.#enforce(next, this.version);
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

  /** Derived documents are no longer followed, and changes are refused. Resolves when the one that is under way is through. */
  async close(): Promise<void> {
    this.#endFollowing();
    this.#isClosed = true;
    await this.#queue.run("ours", async () => {});
  }

  #takeDerived(): void {
    this.refresh().catch((thrown) => {
      const { message } = asMeshError(thrown, "configuration", "local");
      this.#options.logger.log("error", "documents", "members of WorkloadGroups could not be added", {
        reason: message,
      });
    });
  }

  async #change(intent: Intent, request: ChangeRequest, slice: TimeSlice): Promise<ChangeResult> {
    const version = this.version;
    if (request.expectedVersion !== undefined && request.expectedVersion !== version) {
      const message = `the documents are at version ${version}, not ${request.expectedVersion}; look at the difference again`;
      return refusal("conflict", version, message);
    }
    const replacements = await slice.run(changesBetween(this.stored, intent.documents));
    const forbidden = await slice.run(checkTenancy(replacements, request, version));
    if (forbidden !== null) return this.#records.refuse(forbidden, intent, request);
    const { rootNamespace } = this.#options.context;
    const tooMuch = await slice.run(overShare(this.stored, intent.documents, rootNamespace));
    if (tooMuch !== null) return refusal("invalid", version, tooMuch.message, { errors: [tooMuch] });
    try {
      return await this.#decide(intent, replacements, request, slice);
    } finally {
      await slice.run(this.#converter.keep(this.#set));
    }
  }

  async #decide(
    intent: Intent,
    replacements: readonly Replacement[],
    request: ChangeRequest,
    slice: TimeSlice,
  ): Promise<ChangeResult> {
    const { version } = this;
    const next = await this.#converter.convert(intent.documents, intent.fresh, this.#leftOut);
    const owned = await this.#checkOwnership(next, replacements, request);
    if (owned !== null) return this.#records.refuse(owned, intent, request);
    const invalid = await slice.run(checkErrors(this.#set, next, replacements, request, version));
    if (invalid !== null) return invalid;
    const lockOuts = await slice.run(
      findLockOuts(viewOf(this.#set), viewOf(next), withFacts(this.#options.facts(), request)),
    );
    const lockedOut = checkLockOuts(lockOuts, request, version);
    if (lockedOut !== null) return this.#records.refuse(lockedOut, intent, request);
    const { policyTester: tester, context } = this.#options;
    const testing = { tester, rootNamespace: context.rootNamespace, version, slice };
    const broken = await checkPolicyTests(this.#set, next, replacements, request, testing);
    if (broken !== null) return this.#records.refuse(broken, intent, request);
    const change = await slice.run(diffStatesInSteps(this.#state, next.conversion));
    const keys = await slice.run(mapInSteps(replacements, ({ change: { key } }) => key));
    const plan: ChangePlan = {
      diff: await slice.run(describeChanges(replacements)),
      effect: await slice.run(describeEffect(this.#state, change)),
      warnings: await slice.run(warningsOf(next, new Set(keys))),
      lockOuts,
    };
    if (request.dryRun === true) return { outcome: "planned", version, plan };
    if (replacements.length === 0) return { outcome: "applied", version, plan };
    const written = await this.#records.write(intent, replacements, request, version, slice);
    await this.#enforce(next, written);
    if (this.#leftOut.size > 0) this.#takeDerived();
    return { outcome: "applied", version: written, plan };
  }

  async #checkOwnership(
    next: ConvertedSet,
    replacements: readonly Replacement[],
    request: ChangeRequest,
  ): Promise<ChangeRefusal | null> {
    if (isAboveOwners(next, request)) return null;
    const { context } = this.#options;
    const slice = this.#slice();
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

  /** The store takes a large change in parts, and whoever passes it on waits for the last one. */
  async #enforce(next: ConvertedSet, version: number): Promise<void> {
    const slice = this.#slice();
    const change = await slice.run(diffStatesInSteps(this.#state, next.conversion));
    for (const part of change === null ? [] : changeInParts(change)) {
      await slice.giveWay();
      this.#options.store.apply(part);
    }
    this.#set = next;
    this.#state = next.conversion;
    this.#version = version;
    if (this.#inForce.value !== next.stored) this.#inForce.set(next.stored);
    await slice.run(this.#converter.keep(next));
  }

  #stamp(documents: readonly StoredDocument[]): Generator<void, readonly StoredDocument[]> {
    return stampStored(this.stored, documents, this.#options.clock.wallMs());
  }

  #slice(): TimeSlice {
    return new TimeSlice(this.#options.clock);
  }

  #inTurn(
    { actor, mayChange }: ChangeRequest,
    act: (slice: TimeSlice) => Promise<ChangeResult>,
  ): Promise<ChangeResult> {
    const isOfMesh = mayChange({ key: "", kind: "", namespace: "", name: "" });
    const result = this.#queue.run({ actor, isOfMesh }, async () => {
      if (this.#isClosed) return refusal("busy", this.version, "the control plane is stopping");
      return await act(this.#slice());
    });
    const message = "too many changes wait for their turn; send this one again in a while";
    return result ?? Promise.resolve(refusal("busy", this.version, message));
  }
}
