/** The difference between two states of a mesh, as one change for the store. */

import { meshLimits } from "../../base/limits/mesh.ts";
import { filterInSteps, indexInSteps, inSteps, stepsOf } from "../../base/turns/steps.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import { type Authorization, authorizationKey } from "../authorization.ts";
import { type Service, serviceKey } from "../service.ts";
import type { Workload } from "../workload.ts";
import type { MeshChange } from "./store.ts";

/** All that a mesh consists of, in the order of its documents. */
export interface MeshState {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly policies: readonly Authorization[];
}

export const emptyState: MeshState = { workloads: [], services: [], policies: [] };

/** @returns null when they are the same, places in files included. A part without a difference is left out. */
export function diffStates(before: MeshState, after: MeshState): MeshChange | null {
  return runSteps(diffStatesInSteps(before, after));
}

/** The same, in steps. */
export function* diffStatesInSteps(before: MeshState, after: MeshState): Generator<void, MeshChange | null> {
  const workloads = yield* diffLists(before.workloads, after.workloads, (workload) => workload.uid);
  const services = yield* diffLists(before.services, after.services, serviceKey);
  const policies = yield* diffLists(before.policies, after.policies, authorizationKey);
  if (workloads === null && services === null && policies === null) return null;
  return {
    ...(workloads === null ? {} : { workloads }),
    ...(services === null ? {} : { services }),
    ...(policies === null ? {} : { policies }),
  };
}

function* diffLists<T>(
  before: readonly T[],
  after: readonly T[],
  keyOf: (item: T) => string,
): Generator<void, { upsert: T[]; remove: string[] } | null> {
  const upsertInPlace = yield* differingInPlace(before, after, keyOf);
  if (upsertInPlace !== null)
    return upsertInPlace.length === 0 ? null : { upsert: upsertInPlace, remove: [] };
  const old = yield* indexInSteps(before, keyOf);
  const kept = new Set<string>();
  const upsert: T[] = [];
  yield* inSteps(after, (item) => {
    const key = keyOf(item);
    kept.add(key);
    if (!sameValue(old.get(key), item)) upsert.push(item);
  });
  const remove = yield* filterInSteps(old.keys(), (key) => !kept.has(key));
  return upsert.length === 0 && remove.length === 0 ? null : { upsert, remove };
}

/** Of two lists of the same keys in the same order, those items that differ; null for other lists. */
function* differingInPlace<T>(
  before: readonly T[],
  after: readonly T[],
  keyOf: (item: T) => string,
): Generator<void, T[] | null> {
  if (before.length !== after.length) return null;
  const differing: T[] = [];
  let isSameOrder = true;
  yield* stepsOf(after.length, (index) => {
    const [old, item] = [before[index], after[index]];
    if (old === item || old === undefined || item === undefined || !isSameOrder) return;
    isSameOrder = keyOf(old) === keyOf(item);
    if (isSameOrder && !sameValue(old, item)) differing.push(item);
  });
  return isSameOrder ? differing : null;
}

/**
 * A change in parts that are swapped in one after the other, for meshes of which a whole change would take long. Policies come before the
 * workloads that name them, and go after those.
 */
export function* changeInParts(
  { workloads, services, policies }: MeshChange,
  itemsPerPart: number = meshLimits.changesPerSwap,
): Generator<MeshChange, void> {
  const items =
    sizeOf(workloads) + sizeOf(services) + (policies?.upsert?.length ?? 0) + (policies?.remove?.length ?? 0);
  if (items <= itemsPerPart) {
    yield {
      ...(workloads === undefined ? {} : { workloads }),
      ...(services === undefined ? {} : { services }),
      ...(policies === undefined ? {} : { policies }),
    };
    return;
  }
  const isPart = true;
  for (const upsert of inParts(policies?.upsert, itemsPerPart)) yield { policies: { upsert }, isPart };
  for (const remove of inParts(workloads?.remove, itemsPerPart)) yield { workloads: { remove }, isPart };
  for (const remove of inParts(services?.remove, itemsPerPart)) yield { services: { remove }, isPart };
  for (const upsert of inParts(services?.upsert, itemsPerPart)) yield { services: { upsert }, isPart };
  for (const upsert of inParts(workloads?.upsert, itemsPerPart)) yield { workloads: { upsert }, isPart };
  for (const remove of inParts(policies?.remove, itemsPerPart)) yield { policies: { remove }, isPart };
  yield {};
}

function sizeOf(part: MeshChange["workloads"] | MeshChange["services"]): number {
  return (part?.upsert?.length ?? 0) + (part?.remove?.length ?? 0);
}

function* inParts<T>(items: readonly T[] = [], itemsPerPart: number): Generator<readonly T[]> {
  for (let from = 0; from < items.length; from += itemsPerPart) yield items.slice(from, from + itemsPerPart);
}

/** Deep equality of plain values, maps, and value classes such as IpAddress. */
export function sameValue(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (a instanceof Map && b instanceof Map) {
    if (a.size !== b.size) return false;
    for (const [key, value] of a) if (!b.has(key) || !sameValue(value, b.get(key))) return false;
    return true;
  }
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((value, index) => sameValue(value, b[index]));
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) => Object.hasOwn(b, key) && sameValue(Reflect.get(a, key), Reflect.get(b, key)));
}
