/** The trace against the oracle, and what it says should change, tried. `TRACE_SEED=n` repeats a run. */
import { describe, expect, test } from "bun:test";
import type { Authorization } from "../../mesh/authorization.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { PolicySet } from "../policy_set.ts";
import { createReferenceEngine } from "../reference.ts";
import { connection, match, policy, prefix, rule, string, workload } from "../testing/policy_fixtures.ts";
import { PolicyGenerator } from "../testing/policy_generator.ts";
import { tracePolicies } from "./policy_trace.ts";

function compare(seed: number, rounds: number): void {
  const generator = new PolicyGenerator(seed);
  const kinds = new Set<string>();
  for (let round = 0; round < rounds; round++) {
    const policies = generator.policies(1 + generator.below(12));
    const set = new PolicySet(policies);
    for (const missingPolicy of ["deny", "skip"] as const) {
      const engine = createReferenceEngine({ missingPolicy });
      engine.update(policies);
      for (let call = 0; call < 10; call++) {
        const target = generator.workload(policies);
        const asked = generator.connection();
        const decision = engine.decide(target, asked);
        const trace = tracePolicies(set, target, asked, missingPolicy);
        expect(trace.allowed).toBe(decision.allowed);
        kinds.add(decision.allowed ? `allowed ${decision.policy !== null}` : decision.reason);
        if (decision.allowed) expect(trace.policy).toBe(decision.policy);
        else {
          expect(trace.change).not.toEqual([]);
          if (decision.reason !== "denied_by_rule") continue;
          expect([trace.policy, trace.rule]).toEqual([decision.policy, decision.rule]);
        }
        // What the dry runs would have refused is what the engine refuses once they are in force.
        const told = decision.allowed ? engine.wouldDeny(target, decision) : null;
        const enforced = createReferenceEngine({ missingPolicy });
        enforced.update(policies.map((each) => ({ ...each, dryRun: false })));
        if (decision.allowed) expect(told !== null).toBe(!enforced.decide(target, asked).allowed);
        if (decision.allowed) expect(trace.dryRuns).toEqual(told === null ? [] : [told]);
      }
    }
  }
  expect([...kinds].sort()).toEqual(
    ["allowed false", "allowed true", "denied_by_rule", "no_allow_matched", "policy_missing"].sort(),
  );
}

test.each([1, 2, 3])("a trace decides as the reference does, of seed %d", (seed) => compare(seed, 60));

test("a trace decides as the reference does, of another seed at every run", () => {
  const seed = Number(process.env.TRACE_SEED ?? Date.now() % 2 ** 32);
  try {
    compare(seed, 150);
  } catch (error) {
    console.error(`TRACE_SEED=${seed}`);
    throw error;
  }
});

function traced(policies: readonly Authorization[], asked = connection()) {
  return tracePolicies(new PolicySet(policies), workload(), asked, "deny");
}

describe("what would have to change", () => {
  const frontend = "td/ns/namespace/sa/frontend";
  const cases: readonly (readonly [name: string, Authorization, words: string])[] = [
    [
      "a principal that is not listed",
      policy({ rules: [rule([match({ principals: [string(frontend)] })])] }),
      'rule 0 of shop/policy would allow it if principals listed "td/ns/namespace/sa/account" (it has "td/ns/namespace/sa/frontend")',
    ],
    [
      "a port beside a principal that fits",
      policy({
        rules: [
          rule([match({ principals: [string("*")] })], [match({ destinationPorts: [80, 443] })]),
          rule([match({ principals: [string(frontend)], destinationPorts: [1] })]),
        ],
      }),
      'rule 0 of shop/policy would allow it if ports listed "8080" (it has "80", "443")',
    ],
    [
      "an address that is left out",
      policy({ rules: [rule([match({ notSourceIps: [prefix("127.0.0.0/8")] })])] }),
      'rule 0 of shop/policy would allow it if notIpBlocks did not list "127.0.0.0/8"',
    ],
    ["no rule at all", policy({}), "add a rule that allows it to shop/policy"],
    ["a DENY rule", policy({ action: "DENY", rules: [rule()] }), "narrow or remove rule 0 of shop/policy"],
  ];
  for (const [name, one, words] of cases)
    test(name, () => {
      const trace = traced([one]);
      expect([trace.allowed, trace.change]).toEqual([false, [words]]);
    });

  test("plain text that STRICT refuses must come through the mesh", () => {
    const strict = policy({
      name: "strict",
      action: "DENY",
      rules: [rule([match({ notPrincipals: [{ kind: "presence" }] })])],
    });
    expect(traced([strict], connection({ sourceIdentity: null })).change[0]).toContain(
      "must come through the mesh",
    );
    expect(traced([strict]).allowed).toBe(true);
  });

  test("the place is the rule's own", () => {
    const location = { file: "mesh.yaml", line: 12, column: 5 };
    const one = policy({ action: "DENY", rules: [{ clauses: [], location }] });
    expect(traced([one]).because).toBe("denied by rule 0 of shop/policy (mesh.yaml:12:5)");
  });
});

test("who has another namespace's account of the same name is another", () => {
  const one = policy({
    rules: [rule([match({ serviceAccounts: [{ namespace: "shop", serviceAccount: "cart" }] })])],
  });
  const as = (namespace: string) =>
    traced([one], connection({ sourceIdentity: new SpiffeId("td", namespace, "cart") })).allowed;
  expect([as("shop"), as("other")]).toEqual([true, false]);
});
