/** The difference between two states of a mesh, as one change for the store. */
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
  const workloads = diffLists(before.workloads, after.workloads, (workload) => workload.uid);
  const services = diffLists(before.services, after.services, serviceKey);
  const policies = diffLists(before.policies, after.policies, authorizationKey);
  if (workloads === null && services === null && policies === null) return null;
  return {
    ...(workloads === null ? {} : { workloads }),
    ...(services === null ? {} : { services }),
    ...(policies === null ? {} : { policies }),
  };
}

function diffLists<T>(
  before: readonly T[],
  after: readonly T[],
  keyOf: (item: T) => string,
): { upsert: T[]; remove: string[] } | null {
  const old = new Map(before.map((item) => [keyOf(item), item]));
  const kept = new Set<string>();
  const upsert: T[] = [];
  for (const item of after) {
    const key = keyOf(item);
    kept.add(key);
    if (!sameValue(old.get(key), item)) upsert.push(item);
  }
  const remove = [...old.keys()].filter((key) => !kept.has(key));
  return upsert.length === 0 && remove.length === 0 ? null : { upsert, remove };
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
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) => Object.hasOwn(b, key) && sameValue(Reflect.get(a, key), Reflect.get(b, key)));
}
