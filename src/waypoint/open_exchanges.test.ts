import { expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { MemoryWorld } from "../host/memory/world.ts";
import { localReply } from "./local_reply.ts";
import { OpenExchanges } from "./open_exchanges.ts";
import { exchangeOf } from "./testing/exchanges.ts";

test("what is not allowed any more ends with the answer that says so; what has one of ours keeps it, and what is over is not asked", async () => {
  const world = new MemoryWorld(1);
  const { clock } = world.host("waypoint", { addresses: ["10.0.0.1"] });
  const open = new OpenExchanges(clock);
  const [allowed, waiting, replied, over] = [exchangeOf(), exchangeOf(), exchangeOf(), exchangeOf()];
  const own = localReply(504, "UT", "", "late");
  replied.reply = own;
  over.isOver = true;
  for (const exchange of [allowed, waiting, replied, over]) open.add(exchange);
  const ending = {
    error: new MeshError("policy_denied", "policy", "denied now"),
    reply: localReply(403, "UAEX", "", "denied now"),
  };
  const asked: unknown[] = [];
  open.recheck((exchange) => {
    asked.push(exchange);
    return exchange === allowed ? null : ending;
  });
  await world.run(1_000);
  expect(asked).toEqual([allowed, waiting, replied]);
  expect([allowed, waiting, replied, over].map(({ reply }) => reply)).toEqual([
    null,
    ending.reply,
    own,
    null,
  ]);
  expect([allowed, waiting, replied, over].map(({ error }) => error)).toEqual([
    null,
    ending.error,
    ending.error,
    null,
  ]);
});
