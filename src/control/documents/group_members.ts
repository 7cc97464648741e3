/**
 * Hosts that joined by a WorkloadGroup, while they are there: each is an entry of its group in the mesh, from its first stream
 * until a while after its last one, so that a restart of either side is no change of the mesh.
 */
import { asMeshError } from "../../base/errors.ts";
import { controlLimits, rotationLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Timer } from "../../host/host.ts";
import { RegisteredEntries } from "../../mesh/convert/registered_entry.ts";
import type { MeshDocument, WorkloadGroupDocument } from "../../mesh/documents/document.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { Caller } from "../identity/caller.ts";
import type { Registrations } from "../state/registrations.ts";
import type { DerivedDocuments } from "./converted_documents.ts";

export class GroupMembers implements DerivedDocuments {
  readonly #clock: Clock;
  readonly #registrations: Registrations;
  readonly #listeners = new Set<() => void>();
  readonly #logger: Logger;
  readonly #entries = new RegisteredEntries();
  readonly #connected = new Set<string>();
  /** Of those that are there, in which order they came: of two that say the same address the first one has it. */
  readonly #places = new Map<string, number>();
  #nextPlace = 0;
  readonly #startedAt: number;
  /** Gone, and not given up yet. */
  readonly #leaving = new Map<string, Timer>();

  /** Members that were there before a restart of ours count as there until they have had time to come back. */
  constructor(clock: Clock, registrations: Registrations, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
    this.#registrations = registrations;
    this.#startedAt = clock.now();
    const byAge = [...registrations.list()].sort((a, b) => a.joinedAtMs - b.joinedAtMs);
    for (const { node } of byAge) {
      this.#places.set(node, this.#nextPlace++);
      this.#leave(node);
    }
  }

  connected(caller: Caller): void {
    if (caller.kind !== "node") return;
    const { node } = caller;
    this.#connected.add(node);
    if (!this.#places.has(node)) this.#places.set(node, this.#nextPlace++);
    this.#leaving.get(node)?.cancel();
    const wasThere = this.#leaving.delete(node);
    if (!wasThere && caller.registration.binding.kind === "group") this.#changed();
    this.#touch(node);
  }

  gone(caller: Caller): void {
    if (caller.kind !== "node" || !this.#connected.delete(caller.node)) return;
    this.#leave(caller.node);
    this.#touch(caller.node);
  }

  /** What the members add to the documents. */
  derive(documents: readonly MeshDocument[]): readonly MeshDocument[] {
    return groupsIn(documents)
      .flatMap((group) => this.#membersOf(group))
      .sort((a, b) => a.place - b.place)
      .map(({ entry }) => entry);
  }

  /** The set of members has changed, or what is known of one. @returns a function that ends the subscription. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Connected, or gone for so short that it may come back. */
  isPresent(node: string): boolean {
    return this.#connected.has(node) || this.#leaving.has(node);
  }

  isConnected(node: string): boolean {
    return this.#connected.has(node);
  }

  get connectedCount(): number {
    return this.#connected.size;
  }

  /**
   * Whether it is a member of a group that has scaled in. Only once this program has run for as long: right after a start none is
   * connected yet.
   */
  isGone(node: string): boolean {
    const { memberGoneMs } = rotationLimits;
    if (this.isPresent(node) || this.#clock.now() - this.#startedAt < memberGoneMs) return false;
    const registration = this.#registrations.byNode(node);
    return (
      registration?.binding.kind === "group" && this.#clock.wallMs() - registration.lastSeenMs > memberGoneMs
    );
  }

  close(): void {
    this.#listeners.clear();
    for (const timer of this.#leaving.values()) timer.cancel();
    this.#leaving.clear();
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** When it was last seen is good to know, and no reason to send anybody away: the disk may be full. */
  #touch(node: string): void {
    try {
      this.#registrations.touch(node, this.#clock.wallMs());
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      this.#logger.log("warn", "control", "could not note when a host was seen", { node, error: message });
    }
  }

  #membersOf(
    group: WorkloadGroupDocument,
  ): readonly { readonly place: number; readonly entry: MeshDocument }[] {
    const present = this.#registrations
      .ofGroup(keyOf(group))
      .filter(({ node, revokedAtMs }) => revokedAtMs === null && this.isPresent(node));
    return present.flatMap((member) => {
      const made = this.#entries.of(group, { ...member, locality: null });
      return made.ok ? [{ place: this.#places.get(member.node) ?? this.#nextPlace, entry: made.entry }] : [];
    });
  }

  #leave(node: string): void {
    const timer = this.#clock.setTimer(controlLimits.memberGraceMs, () => {
      this.#leaving.delete(node);
      this.#places.delete(node);
      if (this.#registrations.byNode(node)?.binding.kind === "group") this.#changed();
    });
    this.#leaving.set(node, timer);
  }
}

/** Who the members of a group are; null when there is no such group. @param key `namespace/name` */
export function groupIdentity(
  documents: readonly MeshDocument[],
  key: string,
  trustDomain: string,
): SpiffeId | null {
  const group = groupsIn(documents).find((each) => keyOf(each) === key);
  if (group === undefined) return null;
  return new SpiffeId(trustDomain, group.metadata.namespace, group.template.serviceAccount);
}

function groupsIn(documents: readonly MeshDocument[]): readonly WorkloadGroupDocument[] {
  return documents.filter((document) => document.kind === "WorkloadGroup");
}

function keyOf({ metadata }: WorkloadGroupDocument): string {
  return `${metadata.namespace}/${metadata.name}`;
}
