import { expect, test } from "bun:test";
import { meshLimits } from "../../base/limits/mesh.ts";
import { told } from "./refusing.ts";

test("so many errors as a person reads are told, and of more how many they are", () => {
  const { maxErrorsTold } = meshLimits;
  const errors = Array.from({ length: maxErrorsTold + 3 }, (_, line) => ({
    location: { file: "f", line, column: 1 },
    resource: `r${line}`,
    message: `error ${line}`,
  }));
  const atBound = errors.slice(0, maxErrorsTold);
  expect(told(atBound)).toBe(atBound);
  expect(told(errors)).toHaveLength(maxErrorsTold + 1);
  expect(told(errors).slice(0, -1)).toEqual(atBound);
  expect(told(errors).at(-1)).toMatchObject({ resource: null, message: "and 3 more errors" });
});
