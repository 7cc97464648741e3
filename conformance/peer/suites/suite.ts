/** What every suite is given. */

import { join } from "node:path";
import { type Lab, openLab } from "../lab/lab.ts";
import type { Place } from "../lab/place.ts";
import type { NodeSubject } from "../subjects/subject.ts";
import type { Tally } from "../tally.ts";

export interface SuiteContext {
  readonly tally: Tally;
  readonly placeKind: Place["kind"];
  /** Logs and keys; a new directory below it for each lab. */
  readonly directory: string;
  /** The built Go peer. */
  readonly goPath: string;
}

let labs = 0;

/** Runs `body` in a lab of its own, with a root all `subjects` agree on. Whatever it throws is a failure named `name`. */
export async function inLab(
  context: SuiteContext,
  name: string,
  subjects: readonly NodeSubject[],
  body: (lab: Lab) => Promise<void>,
): Promise<void> {
  for (const subject of subjects) {
    if (subject.missing !== null) return context.tally.skip(name, `${subject.name}: ${subject.missing}`);
    if (subject.needsNamespaces && context.placeKind !== "namespaces") {
      return context.tally.skip(name, `${subject.name} needs network namespaces (root)`);
    }
  }
  const root = subjects.find((subject) => subject.root !== null)?.root ?? null;
  const directory = join(context.directory, `${labs++}_${name.replaceAll(/[^a-z0-9]+/gi, "_")}`);
  const lab = openLab(directory, context.placeKind, root === null ? {} : { root });
  try {
    await body(lab);
  } catch (error) {
    context.tally.fail(name, error instanceof Error ? error.message : String(error));
  } finally {
    lab.place.close();
  }
}
