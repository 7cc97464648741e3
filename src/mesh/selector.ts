/** Label selectors, and which of many labelled things one selects without looking at them all. */
import type { Labels } from "./document.ts";

/** Every label of the selector is there with its value; an empty selector selects everything. */
export function selects(selector: Labels, labels: Labels): boolean {
  for (const [name, { value }] of selector) if (labels.get(name)?.value !== value) return false;
  return true;
}

interface Labelled {
  readonly namespace: string;
  readonly labels: Labels;
}

/** Things by namespace and label; a selector looks only at those that have its rarest label. */
export class LabelIndex<T extends Labelled> {
  readonly #byNamespace = new Map<string, T[]>();
  readonly #byLabel = new Map<string, T[]>();

  constructor(items: Iterable<T>) {
    for (const item of items) {
      push(this.#byNamespace, item.namespace, item);
      for (const [name, { value }] of item.labels)
        push(this.#byLabel, labelKey(item.namespace, name, value), item);
    }
  }

  select(namespace: string, selector: Labels): readonly T[] {
    let candidates: readonly T[] = this.#byNamespace.get(namespace) ?? [];
    for (const [name, { value }] of selector) {
      const having = this.#byLabel.get(labelKey(namespace, name, value)) ?? [];
      if (having.length < candidates.length) candidates = having;
    }
    return candidates.filter((item) => selects(selector, item.labels));
  }

  namespaces(): Iterable<string> {
    return this.#byNamespace.keys();
  }
}

/** NUL stands in no namespace, label or value. */
function labelKey(namespace: string, name: string, value: string): string {
  return `${namespace}\0${name}\0${value}`;
}

function push<T>(map: Map<string, T[]>, key: string, item: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [item]);
  else list.push(item);
}
