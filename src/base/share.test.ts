import { expect, test } from "bun:test";
import { shareOf } from "./share.ts";

const bounds = { max: 100, reserved: 20, each: 60 };

test("one may hold half of what the others leave, and never what is reserved", () => {
  expect(shareOf(bounds, 0)).toBe(40);
  expect(shareOf(bounds, 40)).toBe(20);
  expect(shareOf(bounds, 78)).toBe(1);
  expect(shareOf(bounds, 80)).toBe(0);
  expect(shareOf(bounds, 500)).toBe(0);
});

test("those that the reserve is for fill it first, and take of the rest only then", () => {
  expect(shareOf(bounds, 0, 20)).toBe(40);
  expect(shareOf(bounds, 0, 60)).toBe(20);
  expect(shareOf({ ...bounds, each: 5 }, 0)).toBe(5);
});

test("many that each take all they may never fill it: the next one still finds some", () => {
  const held: number[] = [];
  for (let one = 0; one < 6; one++)
    held.push(
      shareOf(
        { max: 10_000, reserved: 1_000, each: 10_000 },
        held.reduce((a, b) => a + b, 0),
      ),
    );
  expect(held).toEqual([4_500, 2_250, 1_125, 563, 281, 141]);
});
