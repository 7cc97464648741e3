/** Label selectors, and which of many labelled things one selects without looking at them all. */

import { inSteps } from "../../base/turns/steps.ts";
import type { Labels } from "../documents/document.ts";

/** Every label of the selector is there with its value; an empty selector selects everything. */
export function selects(selector: Labels, labels: Labels): boolean {
  for (const [name, { value }] of selector) if (labels.get(name)?.value !== value) return false;
  return true;
}

export interface Labelled {
  readonly namespace: string;
  readonly labels: Labels;
}

/** Things by namespace and by the labels that selectors ask for; a selector looks only at those that have its rarest label. */
export class LabelIndex<T extends Labelled> {
  readonly #byNamespace = new Map<string, T[]>();
  /** Namespace, NUL, label, NUL, value; NUL is in none of them. */
  readonly #byLabel = new Map<string, T[]>();

  /** @param selectors all that will be asked for. */
  static *of<T extends Labelled>(
    items: Iterable<T>,
    selectors: Iterable<Labels>,
  ): Generator<void, LabelIndex<T>> {
    const index = new LabelIndex<T>();
    const names = new Set<string>();
    for (const selector of selectors) for (const name of selector.keys()) names.add(name);
    yield* inSteps(items, (item) => index.#add(item, names));
    return index;
  }

  #add(item: T, names: Iterable<string>): void {
    push(this.#byNamespace, item.namespace, item);
    for (const name of names) {
      const value = item.labels.get(name)?.value;
      if (value !== undefined) push(this.#byLabel, `${item.namespace}\0${name}\0${value}`, item);
    }
  }

  select(namespace: string, selector: Labels): readonly T[] {
    let candidates: readonly T[] = this.#byNamespace.get(namespace) ?? [];
    for (const [name, { value }] of selector) {
      const having = this.#byLabel.get(`${namespace}\0${name}\0${value}`) ?? [];
      if (having.length < candidates.length) candidates = having;
    }
    return candidates.filter((item) => selects(selector, item.labels));
  }

  namespaces(): Iterable<string> {
    return this.#byNamespace.keys();
  }
}

function push<T>(map: Map<string, T[]>, key: string, item: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [item]);
  else list.push(item);
}
