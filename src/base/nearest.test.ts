import { describe, expect, test } from "bun:test";
import { nearestWord } from "./nearest.ts";

describe("nearestWord", () => {
  const words = ["namespaces", "principals", "ports", "STRICT", "nodeName"];

  test("finds a slip of the finger: a letter missing, added, replaced, swapped, or in the other case", () => {
    expect(nearestWord("namespace", words)).toBe("namespaces");
    expect(nearestWord("pricnipals", words)).toBe("principals");
    expect(nearestWord("strict", words)).toBe("STRICT");
    expect(nearestWord("nodename", words)).toBe("nodeName");
    expect(nearestWord("prts", words)).toBe("ports");
  });

  test("suggests nothing for another word", () => {
    expect(nearestWord("waypoint", words)).toBeNull();
    expect(nearestWord("", words)).toBeNull();
    expect(nearestWord("x".repeat(10_000), words)).toBeNull();
  });
});
