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
  readonly #onDone: (job: CompileJob) => void;
  readonly #queue: CompileJob[] = [];
  #isRunning = false;

  constructor(clock: SliceClock, limits: PolicyLimits, onDone: (job: CompileJob) => void) {
    this.#clock = clock;
    this.#limits = limits;
    this.#onDone = onDone;
  }

  /** Nothing of it is done before this returns. */
  start(group: PolicyGroup, restarts: number): CompileJob {
    const job = new CompileJob(group, restarts, this.#limits);
    this.#queue.push(job);
    if (!this.#isRunning) this.#later();
    return job;
  }

  #later(): void {
    this.#isRunning = true;
    this.#clock.defer(() => this.#slice());
  }

  #slice(): void {
    const [job] = this.#queue;
    this.#isRunning = false;
    if (job === undefined) return;
    const untilMs = this.#clock.now() + meshLimits.parseSliceMs;
    let isOver = true;
    try {
      do isOver = job.isCancelled || job.advance();
      while (!isOver && this.#clock.now() < untilMs);
    } finally {
      // A fault of ours ends the job as well: its group is refused, and the others go on.
      if (isOver) this.#queue.shift();
      if (this.#queue.length > 0) this.#later();
      if (isOver && !job.isCancelled) this.#onDone(job);
    }
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
