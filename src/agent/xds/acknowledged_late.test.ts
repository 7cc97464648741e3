import { expect, test } from "bun:test";
import type { Delivery } from "../../wire/ads/delta.ts";
import { acknowledgedLate } from "./acknowledged_late.ts";
import type { ResourceHandler } from "./resource_handler.ts";

const delivery = { typeUrl: "t", nonce: "1", resources: [], removed: [] } as unknown as Delivery;
const rejected = [{ name: "bad", reason: "why" }];

function handler(events: string[]): ResourceHandler {
  return {
    typeUrl: "t",
    apply: () => {
      events.push("taken here");
      return rejected;
    },
    resources: () => [],
  };
}

test("a delivery is taken here, then waited for until it is in force everywhere", async () => {
  const events: string[] = [];
  const everywhere = Promise.withResolvers<void>();
  const late = acknowledgedLate(handler(events), () => everywhere.promise);
  const applied = Promise.resolve(late.apply(delivery, true)).then((said) => {
    events.push("acknowledged");
    return said;
  });
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
  expect(events).toEqual(["taken here"]);
  everywhere.resolve();
  expect(await applied).toEqual(rejected);
  expect(events).toEqual(["taken here", "acknowledged"]);
});

test("where there is one process it is the handler itself", () => {
  const only = handler([]);
  expect(acknowledgedLate(only, undefined)).toBe(only);
});
