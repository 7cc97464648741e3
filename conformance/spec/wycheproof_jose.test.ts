import { describe, expect, test } from "bun:test";
import { joseCases, joseFaults, joseGroups, strictness } from "./wycheproof_jose.ts";

describe("Wycheproof's vectors of JSON Web Signature and JSON Web Key, RFC 7520's among them", () => {
  const groups = joseGroups();

  test("there are as many as Wycheproof counts", () => {
    expect(groups.reduce((sum, { tests }) => sum + tests.length, 0)).toBe(joseCases);
  });

  for (const group of groups) {
    const why = strictness(group);
    test(`${group.name}${why === null ? "" : `: ${why}`}`, async () => {
      expect(await joseFaults(group)).toEqual([]);
    });
  }
});
