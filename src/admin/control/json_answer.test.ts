import { expect, test } from "bun:test";
import { controlAdminLimits } from "../../base/limits/control.ts";
import { answerJson, jsonPieces } from "./json_answer.ts";

/** Time passes with each look at it. */
class BusyClock {
  turns = 0;
  #ms = 0;

  now(): number {
    this.#ms += 3;
    return this.#ms;
  }

  defer(work: () => void): void {
    this.turns++;
    setImmediate(work);
  }
}

test.each([
  {},
  { a: [] },
  { a: 1, b: "ü\n", c: null, d: [], e: {}, f: undefined, g: [undefined, 1, { h: [1, { i: undefined }] }] },
  { a: { b: { c: { d: [1, 2, 3] } }, e: [[1], [2]] } },
])("pieces are what JSON.stringify says of %j", (value) => {
  expect([...jsonPieces(value)].join("")).toBe(JSON.stringify(value));
});

test("a large answer comes in pieces of bounded size, with turns for others in between", async () => {
  const clock = new BusyClock();
  const value = {
    version: 3,
    documents: Array.from({ length: 4_000 }, (_, at) => ({ at, text: "x".repeat(500) })),
  };
  const response = answerJson(clock, value);
  const sizes: number[] = [];
  let text = "";
  const decoder = new TextDecoder();
  for await (const piece of response.body ?? []) {
    sizes.push(piece.length);
    text += decoder.decode(piece, { stream: true });
  }
  expect(JSON.parse(text)).toEqual(value);
  expect(Math.max(...sizes)).toBeLessThan(controlAdminLimits.answerChunkChars + 1_000);
  expect(clock.turns).toBeGreaterThan(10);
});

test("what is not read is not made", async () => {
  let made = 0;
  const documents = {
    get all() {
      made++;
      return [];
    },
  };
  const response = answerJson(new BusyClock(), documents);
  await Promise.resolve();
  expect(made).toBe(0);
  await response.body?.cancel();
});
