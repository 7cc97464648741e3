import { expect, test } from "bun:test";
import { ChunkQueue } from "./chunk_queue.ts";

test("chunks come out in order, byte by byte, while the ring grows and wraps", () => {
  const queue = new ChunkQueue();
  const seen: number[] = [];
  let pushed = 0;
  const push = (count: number): void => {
    for (let i = 0; i < count; i++) queue.push(Uint8Array.of(pushed++, pushed++, pushed++));
  };
  const take = (bytes: number): void => {
    for (let i = 0; i < bytes; i++) {
      seen.push(queue.first?.[queue.offset] ?? -1);
      queue.advance(1);
    }
  };
  // The head is in the middle of the ring whenever it grows, from two places to four and from four to eight.
  push(2);
  take(4);
  push(3);
  take(5);
  push(6);
  expect([pushed, queue.offset]).toEqual([33, 0]);
  take(24);
  expect(seen).toEqual(Array.from({ length: 33 }, (_none, at) => at));
  expect([queue.first, queue.offset]).toEqual([undefined, 0]);
});

test("a chunk stays until its last byte is gone, and is not kept afterwards", () => {
  const queue = new ChunkQueue();
  const chunk = Uint8Array.of(1, 2, 3);
  queue.push(chunk);
  queue.advance(2);
  expect([queue.first, queue.offset]).toEqual([chunk, 2]);
  queue.advance(1);
  expect([queue.first, queue.offset]).toEqual([undefined, 0]);
});
