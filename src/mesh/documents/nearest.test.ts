import { expect, test } from "bun:test";
import { editDistance, nearestWord } from "./nearest.ts";

test.each([
  ["", "", 0],
  ["abc", "", 3],
  ["action", "acton", 1],
  ["form", "from", 1],
  ["kitten", "sitting", 3],
  ["ca", "abc", 3],
])("%s to %s takes %i changes", (a, b, distance) => {
  expect(editDistance(a, b)).toBe(distance);
  expect(editDistance(b, a)).toBe(distance);
});

test("only a near word is suggested, and the nearest", () => {
  const words = ["principals", "notPrincipals", "namespaces", "ports"];
  expect(nearestWord("principal", words)).toBe("principals");
  expect(nearestWord("NAMESPACES", words)).toBe("namespaces");
  expect(nearestWord("prots", words)).toBe("ports");
  expect(nearestWord("posts", words)).toBe("ports");
  expect(nearestWord("completely", words)).toBeNull();
  expect(nearestWord("x", words)).toBeNull();
  expect(nearestWord("p".repeat(65), words)).toBeNull();
});
