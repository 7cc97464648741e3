/** Addresses and policies from a control plane into the store: each delivery is one change, a large one in parts, without what could not be read. */
import { joinLimits } from "../../base/limits/agent.ts";
import { inSteps } from "../../base/turns/steps.ts";
import { runSteps, type SliceClock, TimeSlice } from "../../base/turns/time_slice.ts";
import type { Authorization } from "../../mesh/authorization.ts";
import { decodeAddress } from "../../mesh/codec/decode_address.ts";
import { decodeAuthorization, standInFor } from "../../mesh/codec/decode_authorization.ts";
import type { Decoded } from "../../mesh/codec/decode_field.ts";
import type { Service } from "../../mesh/service.ts";
import { changeInParts } from "../../mesh/store/change.ts";
import type { MeshChange, MeshStore } from "../../mesh/store/store.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { Delivery } from "../../wire/ads/delta.ts";
import {
  addressType,
  authorizationType,
  type DeltaResource,
  type RejectedResource,
} from "../../wire/ads/delta.ts";
import type { ResourceHandler } from "./resource_handler.ts";

type MeshItem =
  | { readonly kind: "workload"; readonly workload: Workload }
  | { readonly kind: "service"; readonly service: Service }
  | { readonly kind: "policy"; readonly policy: Authorization };

interface Held {
  readonly resource: DeltaResource;
  readonly kind: MeshItem["kind"];
  /** It could not be read and never could: what it may have meant to deny is denied. */
  readonly isStandIn: boolean;
}

export interface MeshResourceOptions {
  readonly store: MeshStore;
  /** What takes the place of a policy that cannot be read: denial of what it may concern, or nothing, as ztunnel has it. */
  readonly refusedPolicies: "deny" | "skip";
  /** Of workloads that name none; istiod's default when left out. */
  readonly clusterId?: string;
  /** `joinLimits.maxResources` when left out. */
  readonly maxResources?: number;
  /** With it a large delivery is taken in slices, between which connections have their turn; without it at once. */
  readonly clock?: SliceClock;
  /** Told of a delivery that takes a while: policies come before the workloads that name them, and go after those. */
  readonly onSlow?: (until: Promise<unknown>) => void;
}

export class MeshResources implements ResourceHandler {
  readonly typeUrl: string;
  readonly #options: MeshResourceOptions;
  /** By name, which is what the store calls them. */
  readonly #held = new Map<string, Held>();
  #bytes = 0;
  /** A delivery that is being taken in slices: the next one, of a later stream, waits for it. */
  #taking: Promise<unknown> | null = null;

  constructor(typeUrl: typeof addressType | typeof authorizationType, options: MeshResourceOptions) {
    this.typeUrl = typeUrl;
    this.#options = options;
  }

  /** Also the stand-ins: at the next start they are judged again, and not forgotten. */
  *resources(): Iterable<DeltaResource> {
    for (const { resource } of this.#held.values()) yield resource;
  }

  apply(
    delivery: Delivery,
    isFirst: boolean,
  ): readonly RejectedResource[] | Promise<readonly RejectedResource[]> {
    const { clock } = this.#options;
    const items = delivery.resources.length + delivery.removed.length;
    if (clock === undefined || (items <= joinLimits.takenAtOnce && this.#taking === null))
      return runSteps(this.#applyInSteps(delivery, isFirst));
    const before = this.#taking ?? Promise.resolve();
    const taking = before.then(() => new TimeSlice(clock).run(this.#applyInSteps(delivery, isFirst)));
    this.#taking = taking;
    const taken = taking.finally(() => {
      if (this.#taking === taking) this.#taking = null;
    });
    this.#options.onSlow?.(taken);
    return taken;
  }

  *#applyInSteps(delivery: Delivery, isFirst: boolean): Generator<void, readonly RejectedResource[]> {
    const rejected: RejectedResource[] = [];
    const change = new ChangeBuilder();
    yield* inSteps(delivery.removed, (name) => this.#forget(name, change));
    if (isFirst) this.#forgetStandIns(delivery, change);
    yield* inSteps(delivery.resources, (resource) => {
      const reason = this.#take(resource, change);
      if (reason !== null) rejected.push({ name: resource.name, reason });
    });
    const finished = change.finish();
    if (finished === null) return rejected;
    for (const part of changeInParts(finished)) {
      this.#options.store.apply(part);
      yield;
    }
    return rejected;
  }

  /** @returns why not; nothing but a stand-in has changed then. */
  #take(resource: DeltaResource, change: ChangeBuilder): string | null {
    const { name } = resource;
    const bytes = resource.resource?.value ?? new Uint8Array();
    const full = this.#refuseRoom(name, bytes.length);
    if (full !== null) return full;
    const decoded = decodeItem(this.typeUrl, name, bytes, this.#options.clusterId);
    if (!decoded.ok) {
      this.#standIn(resource, bytes, change);
      return decoded.reason;
    }
    const { kind } = decoded.value;
    if (this.#held.get(name)?.kind !== kind) this.#forget(name, change);
    this.#hold({ resource, kind, isStandIn: false });
    change.upsert(name, decoded.value);
    return null;
  }

  #refuseRoom(name: string, bytes: number): string | null {
    const { maxResources = joinLimits.maxResources } = this.#options;
    if (!this.#held.has(name) && this.#held.size >= maxResources)
      return `this host holds ${maxResources} resources, which is the limit`;
    return this.#bytes + bytes > joinLimits.maxResourceBytes
      ? `this host holds ${this.#bytes} bytes of resources, which is the limit`
      : null;
  }

  #standIn(resource: DeltaResource, bytes: Uint8Array, change: ChangeBuilder): void {
    const { name } = resource;
    const before = this.#held.get(name);
    // A version that was good stays.
    if (this.typeUrl !== authorizationType || (before !== undefined && !before.isStandIn)) return;
    this.#forget(name, change);
    const policy = this.#options.refusedPolicies === "deny" ? standInFor(name, bytes) : null;
    if (policy === null) return;
    this.#hold({ resource, kind: "policy", isStandIn: true });
    change.upsert(name, { kind: "policy", policy });
  }

  /** Of these the server was not told, so it has sent those that still exist. */
  #forgetStandIns(delivery: Delivery, change: ChangeBuilder): void {
    const sent = new Set(delivery.resources.map(({ name }) => name));
    for (const [name, { isStandIn }] of this.#held)
      if (isStandIn && !sent.has(name)) this.#forget(name, change);
  }

  #hold(held: Held): void {
    this.#bytes += sizeOf(held) - sizeOf(this.#held.get(held.resource.name));
    this.#held.set(held.resource.name, held);
  }

  #forget(name: string, change: ChangeBuilder): void {
    const held = this.#held.get(name);
    if (held === undefined) return;
    this.#held.delete(name);
    this.#bytes -= sizeOf(held);
    change.remove(name, held.kind);
  }
}

function sizeOf(held: Held | undefined): number {
  return held?.resource.resource?.value.length ?? 0;
}

function decodeItem(
  typeUrl: string,
  name: string,
  bytes: Uint8Array,
  clusterId: string | undefined,
): Decoded<MeshItem> {
  if (typeUrl === addressType) return decodeAddress(name, bytes, clusterId);
  const decoded = decodeAuthorization(name, bytes);
  return decoded.ok ? { ok: true, value: { kind: "policy", policy: decoded.value } } : decoded;
}

/** Gathers a delivery; of what happens to one entry the last counts. */
class ChangeBuilder {
  readonly #removed = { workload: new Set<string>(), service: new Set<string>(), policy: new Set<string>() };
  readonly #workloads = new Map<string, Workload>();
  readonly #services = new Map<string, Service>();
  readonly #policies = new Map<string, Authorization>();

  upsert(name: string, item: MeshItem): void {
    this.#removed[item.kind].delete(name);
    if (item.kind === "workload") this.#workloads.set(name, item.workload);
    else if (item.kind === "service") this.#services.set(name, item.service);
    else this.#policies.set(name, item.policy);
  }

  remove(name: string, kind: MeshItem["kind"]): void {
    this.#removed[kind].add(name);
  }

  /** Null when nothing happened. A part that nothing happened to is left out. */
  finish(): MeshChange | null {
    const workloads = part(this.#workloads, this.#removed.workload);
    const services = part(this.#services, this.#removed.service);
    const policies = part(this.#policies, this.#removed.policy);
    if (workloads === null && services === null && policies === null) return null;
    return {
      ...(workloads === null ? {} : { workloads }),
      ...(services === null ? {} : { services }),
      ...(policies === null ? {} : { policies }),
    };
  }
}

function part<T>(
  upsert: ReadonlyMap<string, T>,
  removed: ReadonlySet<string>,
): { readonly upsert: readonly T[]; readonly remove: readonly string[] } | null {
  if (upsert.size === 0 && removed.size === 0) return null;
  return { upsert: [...upsert.values()], remove: [...removed] };
}
