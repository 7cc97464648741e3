/**
 * Large groups of policies, compiled one after the other and each in steps, so that connections of everybody else have their turn
 * between two of them. What a group is compiled into is no part of an image yet.
 */
import { meshLimits } from "../../base/limits/mesh.ts";
import type { SliceClock } from "../../base/turns/time_slice.ts";
import type { Authorization, Match } from "../../mesh/authorization.ts";
import type { PolicyLimits } from "../policy_engine.ts";
import type { PolicyGroup } from "../policy_set.ts";
import { type CompiledSection, compileInSteps } from "./compile.ts";
import { type SectionName, sectionOf } from "./section_layers.ts";

/** Null: none of its policies has a rule. */
export type CompiledGroup = ReadonlyMap<SectionName, CompiledSection | null | "too_large">;

export class CompileJob {
  /** As it was when this began. */
  readonly group: PolicyGroup;
  /** How many before this one were given up for a group that had changed. */
  readonly restarts: number;
  readonly #steps: Generator<void, CompiledGroup>;
  #compiled: CompiledGroup | null = null;
  #isCancelled = false;

  constructor(group: PolicyGroup, restarts: number, limits: PolicyLimits) {
    this.group = group;
    this.restarts = restarts;
    this.#steps = compileGroup(group.policies, limits);
  }

  get isCancelled(): boolean {
    return this.#isCancelled;
  }

  /** Null before its last step, and where a fault of ours has kept it from that. */
  get compiled(): CompiledGroup | null {
    return this.#compiled;
  }

  cancel(): void {
    this.#isCancelled = true;
  }

  /** One step. @returns whether that was the last. */
  advance(): boolean {
    const step = this.#steps.next();
    if (step.done === true) this.#compiled = step.value;
    return step.done === true;
  }
}

export class CompileJobs {
  readonly #clock: SliceClock;
  readonly #limits: PolicyLimits;
  /** Called for one that was cancelled, too: it has come to nothing. */
  readonly #onDone: (job: CompileJob) => void;
  /** The first one has a turn to come. */
  readonly #queue: CompileJob[] = [];

  constructor(clock: SliceClock, limits: PolicyLimits, onDone: (job: CompileJob) => void) {
    this.#clock = clock;
    this.#limits = limits;
    this.#onDone = onDone;
  }

  /** Nothing of it is done before this returns. */
  start(group: PolicyGroup, restarts: number): CompileJob {
    const job = new CompileJob(group, restarts, this.#limits);
    this.#queue.push(job);
    if (this.#queue.length === 1) this.#later();
    return job;
  }

  #later(): void {
    const [job] = this.#queue;
    if (job !== undefined) this.#clock.defer(() => this.#slice(job));
  }

  #slice(job: CompileJob): void {
    let goesOn = false;
    try {
      goesOn = this.#advance(job);
    } finally {
      // A fault of ours ends the job as well, in whichever step: its group is refused, and the others go on.
      if (!goesOn) this.#queue.shift();
      this.#later();
      if (!goesOn) this.#onDone(job);
    }
  }

  /** @returns whether there is more of it. */
  #advance(job: CompileJob): boolean {
    const untilMs = this.#clock.now() + meshLimits.parseSliceMs;
    do if (job.isCancelled || job.advance()) return false;
    while (this.#clock.now() < untilMs);
    return true;
  }
}

/** Whether policies are too many to be compiled in one turn. */
export function areMany(policies: readonly Authorization[], { maxValuesAtOnce }: PolicyLimits): boolean {
  let values = 0;
  for (const { rules } of policies) {
    for (const { clauses } of rules)
      for (const { matches } of clauses) for (const match of matches) values += valuesOf(match);
    if (values > maxValuesAtOnce) return true;
  }
  return false;
}

/** A match without any counts as well. */
function valuesOf(match: Match): number {
  return Object.values(match).reduce((sum, { length }: readonly unknown[]) => sum + length, 1);
}

function* compileGroup(
  policies: readonly Authorization[],
  limits: PolicyLimits,
): Generator<void, CompiledGroup> {
  const compiled = new Map<SectionName, CompiledSection | null | "too_large">();
  for (const [name, own] of Map.groupBy(policies, sectionOf)) {
    const hasRules = own.some(({ rules }) => rules.length > 0);
    compiled.set(name, hasRules ? ((yield* compileInSteps(own, limits)) ?? "too_large") : null);
  }
  return compiled;
}
