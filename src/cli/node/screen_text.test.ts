import { expect, test } from "bun:test";
import { cut, formatBytes, formatCount } from "./screen_text.ts";

test("a line is cut by characters, never in one, and says that it was", () => {
  expect(["abc", "abcd", "äöüß"].map((line) => cut(line, 3))).toEqual(["abc", "ab…", "äö…"]);
  expect([cut("ab", 1), cut("ab", 0), cut("", 0)]).toEqual(["…", "", ""]);
});

test("bytes and counts take few characters, at the edges too", () => {
  const bytes = [-1, 0, 1, 999, 999.6, 1_000, 1_234, 9_949, 9_950, 34_000_000, 999_499_999, 1e18, 1e21];
  expect(bytes.map(formatBytes)).toEqual([
    "0B",
    "0B",
    "1B",
    "999B",
    "1.0K",
    "1.0K",
    "1.2K",
    "9.9K",
    "10K",
    "34M",
    "999M",
    "1000P",
    "1000000P",
  ]);
  expect([0, 0.01, 0.4, 1, 3.25, 9.96, 12, 3_400, 2e6].map(formatCount)).toEqual([
    "0",
    "<0.1",
    "0.4",
    "1",
    "3.3",
    "10",
    "12",
    "3.4k",
    "2.0M",
  ]);
});
