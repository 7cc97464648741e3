import { expect, test } from "bun:test";
import { hostLimits } from "../../base/limits/host.ts";
import { keepAliveSeconds } from "./keep_alive.ts";

test("each whole second from the least to the most is drawn, and no other", () => {
  const { keepAliveMinSeconds: least, keepAliveMaxSeconds: most } = hostLimits;
  const drawn = new Set(Array.from({ length: 10_000 }, keepAliveSeconds));
  const all = Array.from({ length: most - least + 1 }, (_, at) => least + at);
  expect([...drawn].sort((a, b) => a - b)).toEqual(all);
});
