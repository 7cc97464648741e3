import { expect, test } from "bun:test";
import { faultOf, MeshError } from "./errors.ts";

test("a fault stays what it is; anything else is a bug of ours, with what was thrown as its cause", () => {
  const fault = new MeshError("connect_refused", "upstream", "no listener");
  expect(faultOf(fault)).toBe(fault);
  const thrown = new TypeError("x is not a function");
  const bug = faultOf(thrown);
  expect([bug.code, bug.blame, bug.message]).toEqual(["bug", "local", "a bug of ours: x is not a function"]);
  expect(bug.cause).toBe(thrown);
  expect(faultOf("a string").message).toBe("a bug of ours: a string");
});
