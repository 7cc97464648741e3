/**
 * A Permit is proof: whoever holds one was let through by `policy/`. The type checker keeps that (each `@ts-expect-error`
 * here is itself an error once the line below it compiles), and so does the runtime where somebody casts.
 */
import { expect, test } from "bun:test";
import {
  type Decision,
  type Denial,
  type DenialReason,
  describeDenial,
  mintPermit,
  Permit,
} from "./decision.ts";
import { connection } from "./testing/policy_fixtures.ts";

/** Stands for `connectWorkload`: what dials a local workload takes a Permit and nothing else. */
function dial(permit: Permit): boolean {
  return Permit.isGenuine(permit);
}

const denial: Denial = {
  allowed: false,
  reason: "no_allow_matched",
  policy: null,
  rule: null,
  location: null,
  version: 1,
};

test("a minted Permit is genuine", () => {
  expect(dial(mintPermit(connection(), 1, null))).toBe(true);
});

test("nothing else dials", () => {
  // @ts-expect-error: a connection without a decision
  expect(dial(connection())).toBe(false);
  // @ts-expect-error: a refusal
  expect(dial(denial)).toBe(false);
  // @ts-expect-error: no decision at all
  expect(dial(null)).toBe(false);
  const undecided: Decision = [denial as Decision][0] ?? denial;
  // @ts-expect-error: a decision that was not looked at
  expect(dial(undecided)).toBe(false);
});

test("a look-alike has no proof", () => {
  const fields = { allowed: true, connection: connection(), version: 1, policy: null } as const;
  // @ts-expect-error: the private field cannot be written down
  expect(dial(fields)).toBe(false);
  // @ts-expect-error: spreading a Permit loses its proof
  expect(dial({ ...mintPermit(connection(), 1, null) })).toBe(false);
  // A cast is the one way past the type checker, and the runtime still tells.
  expect(dial(Object.assign(Object.create(Permit.prototype), fields))).toBe(false);
});

test("the constructor wants a key that no other module has", () => {
  // @ts-expect-error: another symbol, though it reads the same
  expect(() => new Permit(Symbol("permit"), connection(), 1, null)).toThrow("made by policy/ alone");
  class Forged extends Permit {
    constructor() {
      // @ts-expect-error: nor does a subclass have it
      super(Symbol("permit"), connection(), 1, null);
    }
  }
  expect(() => new Forged()).toThrow("made by policy/ alone");
});

test("a denial is said in one line, with its place where that is known", () => {
  const location = { file: "mesh.yaml", line: 12, column: 5 };
  const denial = { allowed: false, policy: "shop/p", rule: 3, location: null, version: 1 } as const;
  const said = (reason: DenialReason, change: Partial<Denial> = {}) =>
    describeDenial({ ...denial, reason, ...change });
  expect([said("denied_by_rule"), said("denied_by_rule", { location })]).toEqual([
    "denied by shop/p rule 3",
    "denied by shop/p rule 3 (mesh.yaml:12:5)",
  ]);
  expect(said("no_allow_matched", { location, rule: null })).toBe(
    "not allowed by any rule of shop/p (mesh.yaml:12:5)",
  );
  expect(said("policy_missing")).toBe("policy shop/p, which the workload names, does not exist here");
  expect(said("engine_unavailable", { policy: null })).toBe("the policy engine could not decide");
});
