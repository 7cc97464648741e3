import { expect, test } from "bun:test";
import { outcomeOf, rejectionOf } from "./rejection.ts";

const turn = () => new Promise<void>((wake) => setImmediate(wake));

test("immediates go on while a rejection is awaited, also with something that keeps the process alive", async () => {
  const alive = setInterval(() => {}, 1_000_000);
  try {
    await turn();
    const failing = async () => {
      for (let turns = 0; turns < 100; turns++) await turn();
      throw new Error("after a hundred turns");
    };
    expect(await rejectionOf(failing())).toMatchObject({ message: "after a hundred turns" });
    expect(await outcomeOf(failing())).toThrow("after a hundred turns");
  } finally {
    clearInterval(alive);
  }
});

test("a promise that does not reject is no rejection", async () => {
  expect(await outcomeOf(rejectionOf(Promise.resolve(7)))).toThrow("and gave 7");
  expect(await outcomeOf(Promise.resolve(7))).not.toThrow();
});
