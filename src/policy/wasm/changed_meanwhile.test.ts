/** Policies that change in the middle of being compiled in steps, at each step: which job goes on, which begins again, and what comes of it. */
import { describe, expect, test } from "bun:test";
import { isDeepStrictEqual } from "node:util";
import { policyLimits } from "../../base/limits/policy.ts";
import { type Authorization, authorizationKey } from "../../mesh/authorization.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { PolicyEngine, PolicyLimits } from "../policy_engine.ts";
import { PolicySet } from "../policy_set.ts";
import { createReferenceEngine } from "../reference.ts";
import { observe } from "../testing/agreement.ts";
import { match, policy, rule, string, workload } from "../testing/policy_fixtures.ts";
import { PolicyGenerator } from "../testing/policy_generator.ts";
import { Turns } from "../testing/turns.ts";
import { compileSection } from "./compile.ts";
import { type CompileJob, CompileJobs } from "./compile_jobs.ts";
import { createPolicyEngine } from "./engine.ts";
import { LoadedPolicies } from "./loaded_policies.ts";

const here = workload();
/** Each names one caller, which counts as two. */
const letters = new Map(
  [..."abcdefg"].map((name) => [
    name,
    policy({ name, rules: [rule([match({ principals: [string(`td/ns/a/sa/${name}`)] })])] }),
  ]),
);
const those = (names: string): Authorization[] =>
  [...names].map((name) => letters.get(name)).filter((one) => one !== undefined);
/** The same, of workloads that name them. */
const selected = (names: string): Authorization[] =>
  those(names).map((one) => ({ ...one, scope: "WORKLOAD_SELECTOR" }));

/** What an engine is made of, and what its jobs have come to. */
class Bench {
  readonly turns = new Turns();
  readonly done: CompileJob[] = [];
  readonly taken: boolean[] = [];
  active: LoadedPolicies;
  #idle: LoadedPolicies;
  #version = 0;

  constructor(limits: Partial<PolicyLimits>) {
    const all = { ...policyLimits, ...limits };
    const jobs = new CompileJobs(this.turns, all, (job) => {
      this.done.push(job);
      this.taken.push(this.active.finish(job));
    });
    this.active = new LoadedPolicies({ missingPolicy: "deny" }, all, jobs);
    this.#idle = new LoadedPolicies({ missingPolicy: "deny" }, all, jobs);
  }

  update(policies: readonly Authorization[]): void {
    this.#idle.replace(new PolicySet(policies), ++this.#version, this.active);
    [this.active, this.#idle] = [this.#idle, this.active];
  }

  /** Of each layer of the ALLOW policies, which there are. */
  names(of: Workload = here): readonly string[] {
    return this.active
      .plan(of)
      .allow.flat()
      .map(({ rules }) => rules.map(({ policy: { name } }) => name).join(""));
  }
}

describe("a job", () => {
  const limits = { minLayeredPolicies: 4, maxChangedShare: 0.5, maxValuesAtOnce: 5 };

  /** The policies change once the job has begun. @returns of each job that ended, which policies it was for and how many came before it. */
  function jobs(before: string, after: string, more: Partial<PolicyLimits> = {}) {
    const bench = new Bench({ ...limits, ...more });
    bench.update(those(before));
    expect(bench.active.plan(here).isPreparing).toBe(true);
    bench.turns.run(1);
    bench.update(those(after));
    expect(bench.active.plan(here).isPreparing).toBe(true);
    bench.turns.run();
    const ended = bench.done.map(({ group, restarts }, at) => {
      const names = group.policies.map(({ name }) => name).join("");
      return `${names} ${restarts} ${bench.taken[at] ? "taken" : "left"}`;
    });
    return { ended, layers: bench.names() };
  }

  test("goes on where nothing of its own has changed, whether it is of many policies or of few", () => {
    expect(jobs("abcd", "abcd")).toEqual({ ended: ["abcd 0 taken"], layers: ["abcd"] });
    expect(jobs("abc", "abc")).toEqual({ ended: ["abc 0 taken"], layers: ["abc"] });
  });

  test("goes on where as little has changed as may, and what is new is put beside it", () => {
    // Of four kept two are new; of three kept one is gone.
    expect(jobs("abcd", "abcdef")).toEqual({ ended: ["abcd 0 taken"], layers: ["abcd", "ef"] });
    expect(jobs("abcde", "abcd")).toEqual({ ended: ["abcde 0 taken"], layers: ["abcde"] });
  });

  test("begins again where more has changed, or too few are left", () => {
    const ended = (...names: string[]) => [`${names[0]} 0 left`, `${names[1]} 1 taken`];
    expect(jobs("abcd", "abcdefg")).toEqual({ ended: ended("abcd", "abcdefg"), layers: ["abcdefg"] });
    expect(jobs("abcd", "abc")).toEqual({ ended: ended("abcd", "abc"), layers: ["abc"] });
  });

  test("is followed by another one where what is new are too many values for one turn", () => {
    expect(jobs("abcd", "abcdef", { maxValuesAtOnce: 3 })).toEqual({
      ended: ["abcd 0 taken", "abcdef 1 taken"],
      layers: ["abcdef"],
    });
  });

  test("is followed by another one where it came to nothing, and what is new might be compiled", () => {
    const bench = new Bench(limits);
    const broken = policy({ name: "z", rules: [rule([match({ destinationPorts: [70_000] })])] });
    bench.update([...those("abcd"), broken]);
    bench.active.plan(here);
    bench.turns.run(1);
    bench.update(those("abcd"));
    while (bench.done.length === 0) bench.turns.run(1);
    expect([bench.active.plan(here).isPreparing, bench.active.preparing]).toEqual([true, 1]);
    bench.turns.run();
    expect([bench.names(), bench.taken]).toEqual([["abcd"], [true, true]]);
  });

  test("has what it came to taken once", () => {
    const bench = new Bench(limits);
    bench.update(those("abcd"));
    bench.active.plan(here);
    bench.turns.run();
    const [job] = bench.done;
    const taken = bench.active.plan(here);
    expect(job && bench.active.finish(job)).toBe(false);
    expect(bench.active.plan(here)).toBe(taken);
  });

  test("brings its own sections, and none where there are only policies without rules", () => {
    const bench = new Bench(limits);
    bench.update([...those("abcd"), policy({ name: "no", action: "DENY" })]);
    bench.active.plan(here);
    bench.turns.run();
    const { deny, allow } = bench.active.plan(here);
    const compiled = bench.done[0]?.compiled?.get("allow");
    if (compiled === undefined || compiled === null || compiled === "too_large") throw new Error("no rules");
    expect([deny, allow.length, allow[0]?.length]).toEqual([[], 1, 1]);
    expect(allow[0]?.[0]?.rules).toBe(compiled.rules);
  });

  test("that finds no room for what it came to makes room when that is decided with", () => {
    const own = (namespace: string): Authorization[] =>
      those("abcd").map((one) => ({ ...one, namespace, action: "DENY" }));
    const bytes = compileSection(own("a"), policyLimits)?.words.byteLength ?? 0;
    const bench = new Bench({ ...limits, maxImageBytes: bytes });
    const [inA, inB] = ["a", "b"].map((namespace) => workload({ namespace }));
    bench.update([...own("a"), ...own("b")]);
    const rulesOf = (of = here) => {
      const { refusal, deny } = bench.active.plan(of);
      return refusal === null ? deny.flat().map(({ rules }) => rules.length) : null;
    };
    expect([rulesOf(inA), rulesOf(inB)]).toEqual([null, null]);
    bench.turns.run();
    expect([rulesOf(inA), rulesOf(inB), rulesOf(inB)]).toEqual([[4], [4], [4]]);
    expect(rulesOf(inA)).toBeNull();
    bench.turns.run();
    expect(rulesOf(inA)).toEqual([4]);
  });

  test("of a list of names leaves the others their place, whatever became of it", () => {
    const naming = (names: string) =>
      workload({ authorizationPolicies: [...names].map((name) => `shop/${name}`) });
    const before = selected("abcdef");
    const versions = [[], selected("a"), selected("abcd")].map((other) => [
      ...other,
      ...before.slice(other.length),
    ]);
    // As it was, amended, and begun again.
    for (const [at, after] of versions.entries()) {
      const bench = new Bench({ ...limits, maxNamedGroups: 2 });
      const [first, second] = [naming("abcde"), naming("f")];
      bench.update(before);
      bench.active.plan(first);
      bench.turns.run(1);
      bench.update(after);
      bench.turns.run();
      const plan = bench.active.plan(first);
      expect([plan.isPreparing, bench.names(first), bench.done.length]).toEqual(
        [
          [false, ["abcde"], 1],
          [false, ["abcde", "a"], 1],
          [false, ["abcde"], 2],
        ][at] ?? [],
      );
      bench.active.plan(second);
      expect(bench.active.plan(first)).toBe(plan);
    }
  });
});

describe("decisions are those of the reference, or none yet,", () => {
  const limits = { minLayeredPolicies: 3, maxChangedShare: 0.5, maxValuesAtOnce: 6 };
  const connections = 3;

  interface Pair {
    readonly turns: Turns;
    readonly engine: PolicyEngine;
    readonly reference: PolicyEngine;
    readonly workloads: readonly Workload[];
  }

  function pair(workloads: readonly Workload[]): Pair {
    const turns = new Turns();
    const options = { missingPolicy: "skip", limits } as const;
    return {
      turns,
      workloads,
      engine: createPolicyEngine({ ...options, clock: turns }),
      reference: createReferenceEngine(options),
    };
  }

  function update({ engine, reference }: Pair, policies: readonly Authorization[]): void {
    engine.update(policies);
    reference.update(policies);
  }

  /** @returns how many were decided. */
  function check({ engine, reference, workloads }: Pair, generator: PolicyGenerator): number {
    let decided = 0;
    for (const one of workloads)
      for (let index = 0; index < connections; index++) {
        const connection = generator.connection();
        const { decision, dryRuns } = observe(engine, one, connection, true);
        if (engine.isPreparing(one)) {
          if (decision.reason !== "engine_unavailable" || dryRuns.length > 0)
            expect([decision.reason, dryRuns]).toEqual(["engine_unavailable", []]);
          continue;
        }
        const expected = observe(reference, one, connection, true);
        if (!isDeepStrictEqual({ decision, dryRuns }, expected))
          expect({ decision, dryRuns }).toEqual(expected);
        decided++;
      }
    return decided;
  }

  function runToEnd(both: Pair, generator: PolicyGenerator): void {
    do check(both, generator);
    while (both.turns.run(1 + generator.below(9)) > 0);
    expect(both.engine.preparing).toBe(0);
    expect(check(both, generator)).toBe(both.workloads.length * connections);
  }

  type Change = (policies: readonly Authorization[], generator: PolicyGenerator) => Authorization[];
  const changes: readonly (readonly [string, Change])[] = [
    ["where a few have come", (policies, generator) => [...policies, ...generator.policies(3)]],
    ["where some are gone", (policies) => policies.filter((_, index) => index % 4 !== 1)],
    ["where one is another one", ([, ...policies], generator) => [...policies, ...generator.policies(1)]],
    [
      "where some say something else",
      (policies, generator) =>
        policies.map((one, index) =>
          index % 5 === 1
            ? { ...generator.policy(one.name), namespace: one.namespace, scope: one.scope }
            : one,
        ),
    ],
    ["where all are others", (_, generator) => generator.policies(12)],
    ["where none are left", () => []],
  ];

  test.each(changes)(
    "%s at some step, and something at a later one",
    (_, change) => {
      for (const seed of [1, 2]) {
        const generator = new PolicyGenerator(seed);
        const first = generator.policies(12);
        const workloads = ["shop", "b", "root"].map((namespace) =>
          workload({ namespace, authorizationPolicies: first.map(authorizationKey) }),
        );
        let steps = 0;
        for (let isOver = false; !isOver; steps += 1 + generator.below(11)) {
          const both = pair(workloads);
          update(both, first);
          check(both, generator);
          both.turns.run(steps);
          isOver = both.turns.isOver;
          const second = change(first, generator);
          update(both, second);
          check(both, generator);
          both.turns.run(generator.below(8));
          const [, again] = generator.pick(changes);
          update(both, again(second, generator));
          runToEnd(both, generator);
        }
        expect(steps).toBeGreaterThan(100);
      }
    },
    60_000,
  );
});
