import { expect, test } from "bun:test";
import { assertLittleEndian, WordWriter } from "./word_writer.ts";

test("words come out as they were written, one by one, in lists and in places that were left, however many", () => {
  for (const count of [1, 255, 256, 257, 1_000]) {
    const writer = new WordWriter();
    const numbers = Array.from({ length: count }, (_, index) => index + 7);
    for (const number of numbers) writer.push(number);
    expect(writer.offset).toBe(4 * count);
    writer.pushAll(numbers);
    const left = writer.reserve(count);
    expect(left).toBe(8 * count);
    writer.set(left, 5);
    writer.set(left + 4 * (count - 1), 6);
    const last = count === 1 ? [6] : [5, ...Array.from({ length: count - 2 }, () => 0), 6];
    const padding = count % 2 === 1 ? [0] : [];
    expect([...writer.finish()]).toEqual([...numbers, ...numbers, ...last, ...padding]);
  }
});

test("a place where a u64 may be is a multiple of eight bytes", () => {
  const writer = new WordWriter();
  expect(writer.align()).toBe(0);
  writer.push(1);
  expect([writer.align(), writer.align()]).toEqual([8, 8]);
  writer.push(2);
  expect([...writer.finish()]).toEqual([1, 0, 2, 0]);
});

test("nothing is set but a word that was written or left", () => {
  const writer = new WordWriter();
  writer.reserve(2);
  for (const offset of [8, 12, 2, 10]) expect(() => writer.set(offset, 1)).toThrow("not reserved");
  writer.set(4, 9);
  expect([...writer.finish()]).toEqual([0, 9]);
});

test("what was written before a clear is not there any more", () => {
  const writer = new WordWriter();
  writer.pushAll([1, 2, 3]);
  writer.clear();
  expect(writer.offset).toBe(0);
  writer.reserve(4);
  expect([...writer.finish()]).toEqual([0, 0, 0, 0]);
});

test("a machine whose words begin with their high byte is refused", () => {
  expect(() => assertLittleEndian(Uint8Array.of(1, 0, 0, 0))).not.toThrow();
  expect(() => assertLittleEndian(Uint8Array.of(0, 0, 0, 1))).toThrow("a big-endian machine");
});
