/** Labels that Telemetry documents ask for: whatever a request's values are, one namespace's documents make a bounded number of label sets. */
import { waypointLimits } from "../../base/limits/waypoint.ts";
import { writeLabels } from "../../base/metrics.ts";
import type { Tags } from "./telemetry_rule.ts";

export class TaggedLabels {
  /** By metric and namespace. */
  readonly #known = new Map<string, Set<string>>();

  /** @returns label sets as written, in the order in which they should be tried: a metric may have no room for the first. */
  written(
    metric: string,
    namespace: string,
    labels: Readonly<Record<string, string>>,
    tags: Tags,
  ): readonly [first: string, instead: string] {
    const full = writeLabels(changed(labels, tags));
    const instead = writeLabels(changed(labels, overflowed(tags)));
    const key = `${metric}|${namespace}`;
    let known = this.#known.get(key);
    if (known === undefined) {
      known = new Set();
      this.#known.set(key, known);
    }
    if (known.has(full)) return [full, instead];
    if (known.size >= waypointLimits.maxTaggedSeries) return [instead, instead];
    known.add(full);
    return [full, instead];
  }
}

function changed(labels: Readonly<Record<string, string>>, tags: Tags): [string, string][] {
  const pairs = new Map(Object.entries(labels));
  for (const [name, value] of tags) {
    if (value === null) pairs.delete(name);
    else pairs.set(name, value);
  }
  return [...pairs];
}

function overflowed(tags: Tags): Tags {
  return new Map([...tags].map(([name, value]) => [name, value === null ? null : "overflow"]));
}
