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
  return { id, state, below: [], roots: [id], lingers: false, holders: [], ...more };
}

/** `a:retiring b:active`, or what is waited for. */
function text(step: RotationStep): string {
  if (step.kind === "nothing") return "nothing";
  if (step.kind === "wait") return `wait for ${step.waiting.what}: ${step.waiting.names.join(" ")}`;
  return step.changes.map(({ id, state }) => `${id}:${state}`).join(" ");
}

const a = one("a", "active");
const root = one("root", "retiring", { below: ["a", "b"] });

function below(
  id: string,
  state: RotatingAuthority["state"],
  more: Partial<RotatingAuthority> = {},
): RotatingAuthority {
  return one(id, state, { roots: ["root"], ...more });
}

function replaced(more: Partial<RotatingAuthority> = {}): readonly RotatingAuthority[] {
  return [
    one("root", "retiring", { below: ["a"] }),
    below("a", "retiring", more),
    one("root2", "retiring", { below: ["b"] }),
    one("b", "active", { roots: ["root2"] }),
  ];
}
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
    { authorities: [root, below("a", "retiring"), below("b", "active")], lackingRoot: ["n1"] },
    "reissuing",
    "a:retired",
    "wait for root: n1",
    "nothing",
  ],
  [
    "an intermediate of the same root waits for its leaves",
    {
      authorities: [root, below("a", "retiring", { holders: ["n1"] }), below("b", "active")],
      lackingRoot: [],
    },
    "reissuing",
    "wait for leaf: n1",
    "wait for leaf: n1",
    "nothing",
  ],
  [
    "an intermediate that was replaced in time stays, and is in the way of nothing",
    {
      authorities: [root, below("a", "retiring", { lingers: true, holders: ["n1"] }), below("b", "active")],
      lackingRoot: [],
    },
    "idle",
    "nothing",
    "nothing",
    "nothing",
  ],
  [
    "a root above the active intermediate stays",
    { authorities: [root, below("b", "active")], lackingRoot: [] },
    "idle",
    "nothing",
    "nothing",
    "nothing",
  ],
  [
    "a root is announced with its intermediate, which is what issues next",
    {
      authorities: [
        root,
        below("a", "active"),
        one("root2", "next", { below: ["b"] }),
        one("b", "next", { roots: ["root2"] }),
      ],
      lackingRoot: [],
    },
    "preparing",
    "a:retiring b:active root2:retiring",
    "wait for root: ",
    "b:retired root2:retired",
  ],
  [
    "an old root leaves with what is below it, by the operator's word",
    { authorities: replaced(), lackingRoot: [] },
    "reissuing",
    "wait for finish: ",
    "a:retired root:retired",
    "nothing",
  ],
  [
    "an old root waits for the leaves of what is below it",
    { authorities: replaced({ holders: ["n1"] }), lackingRoot: [] },
    "reissuing",
    "wait for leaf: n1",
    "wait for leaf: n1",
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
