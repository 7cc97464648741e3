import { expect, test } from "bun:test";
import { equalInConstantTime, formatJoinToken, newJoinToken, parseJoinToken } from "./join_token.ts";

const bytes = (...values: readonly number[]) => Uint8Array.from(values);

test("bytes are equal when each is, and there are as many", () => {
  expect(equalInConstantTime(bytes(1, 2, 3), bytes(1, 2, 3))).toBe(true);
  expect(equalInConstantTime(bytes(), bytes())).toBe(true);
  for (const other of [
    bytes(0, 2, 3),
    bytes(1, 0, 3),
    bytes(1, 2, 0),
    bytes(1, 2),
    bytes(1, 2, 3, 0),
    bytes(),
  ])
    expect(equalInConstantTime(bytes(1, 2, 3), other)).toBe(false);
  expect(equalInConstantTime(bytes(), bytes(0))).toBe(false);
});

test("a token is written and read, and nothing else is one", () => {
  let next = 0;
  const made = newJoinToken({ fill: (into: Uint8Array) => void into.fill(++next), float: () => 0 });
  const text = formatJoinToken(made);
  expect(text).toBe(`fjt_${"01".repeat(8)}_${"02".repeat(32)}`);
  expect(parseJoinToken(text)).toEqual(made);
  for (const bad of [
    "",
    "fjt_",
    text.slice(1),
    text.slice(0, -1),
    `${text}0`,
    text.toUpperCase(),
    text.replace("_", "-"),
    ` ${text}`,
  ])
    expect([bad, parseJoinToken(bad)]).toEqual([bad, null]);
});
