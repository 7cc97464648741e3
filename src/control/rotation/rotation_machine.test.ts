import { describe, expect, test } from "bun:test";
import {
  abortStep,
  automaticStep,
  finishStep,
  phaseOf,
  type RotatingAuthority,
  type RotationFacts,
  type RotationStep,
} from "./rotation_machine.ts";

function one(
  id: string,
  state: RotatingAuthority["state"],
  more: Partial<RotatingAuthority> = {},
): RotatingAuthority {
  return { id, state, isAboveOthers: false, takesRootAlong: true, holders: [], ...more };
}

/** `a:retiring b:active`, or what is waited for. */
function text(step: RotationStep): string {
  if (step.kind === "nothing") return "nothing";
  if (step.kind === "wait") return `wait for ${step.waiting.what}: ${step.waiting.names.join(" ")}`;
  return step.changes.map(({ id, state }) => `${id}:${state}`).join(" ");
}

const a = one("a", "active");
const cases: readonly (readonly [
  name: string,
  facts: RotationFacts,
  phase: string,
  automatic: string,
  finish: string,
  abort: string,
])[] = [
  ["one authority", { authorities: [a], lackingRoot: [] }, "idle", "nothing", "nothing", "nothing"],
  [
    "announced, a node lacks it",
    { authorities: [a, one("b", "next")], lackingRoot: ["n1"] },
    "preparing",
    "wait for root: n1",
    "wait for root: n1",
    "b:retired",
  ],
  [
    "announced, everybody has it",
    { authorities: [a, one("b", "next")], lackingRoot: [] },
    "preparing",
    "a:retiring b:active",
    "wait for root: ",
    "b:retired",
  ],
  [
    "killed in the middle of activation",
    { authorities: [one("a", "retiring"), one("b", "next")], lackingRoot: [] },
    "preparing",
    "b:active",
    "wait for root: ",
    "b:retired",
  ],
  [
    "issuing, an old leaf is about",
    { authorities: [one("a", "retiring", { holders: ["n1"] }), one("b", "active")], lackingRoot: [] },
    "reissuing",
    "wait for leaf: n1",
    "wait for leaf: n1",
    "nothing",
  ],
  [
    "issuing, a node came back without the root",
    { authorities: [one("a", "retiring"), one("b", "active")], lackingRoot: ["n2"] },
    "reissuing",
    "wait for root: n2",
    "wait for root: n2",
    "nothing",
  ],
  [
    "nothing of the old one is about",
    { authorities: [one("a", "retiring"), one("b", "active")], lackingRoot: [] },
    "reissuing",
    "wait for finish: ",
    "a:retired",
    "nothing",
  ],
  [
    "an intermediate of the same root goes by itself",
    {
      authorities: [one("a", "retiring", { takesRootAlong: false }), one("b", "active")],
      lackingRoot: ["n1"],
    },
    "reissuing",
    "a:retired",
    "wait for root: n1",
    "nothing",
  ],
  [
    "an intermediate of the same root waits for its leaves",
    {
      authorities: [one("a", "retiring", { takesRootAlong: false, holders: ["n1"] }), one("b", "active")],
      lackingRoot: [],
    },
    "reissuing",
    "wait for leaf: n1",
    "wait for leaf: n1",
    "nothing",
  ],
  [
    "a root above the active intermediate stays",
    { authorities: [one("a", "retiring", { isAboveOthers: true }), one("b", "active")], lackingRoot: [] },
    "idle",
    "nothing",
    "nothing",
    "nothing",
  ],
];

describe("rotation", () => {
  for (const [name, facts, phase, automatic, finish, abort] of cases) {
    test(name, () => {
      expect(phaseOf(facts)).toBe(phase as never);
      expect(text(automaticStep(facts))).toBe(automatic);
      expect(text(finishStep(facts))).toBe(finish);
      expect(text(abortStep(facts))).toBe(abort);
    });
  }
});
