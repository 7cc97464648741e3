import { expect, test } from "bun:test";
import { upgradeLimits } from "../base/limits/host.ts";
import { FakeClock } from "../pki/testing/fake_clock.ts";
import { OpenExchanges } from "./open_exchanges.ts";
import { Serving } from "./serving.ts";

function lab() {
  const clock = new FakeClock(0);
  const serving = new Serving({
    clock,
    exchanges: new OpenExchanges(clock),
    normalise: (path) => path,
    answer: () => {},
    end: () => {},
  });
  const drained: string[] = [];
  const add = (name: string, tellsClients: boolean) =>
    serving.add({ sweep: () => {}, tellsClients, drain: () => void drained.push(name) });
  return { clock, serving, drained, add };
}

test("at once: every connection is told, and those that come are told by the state", () => {
  const { serving, drained, add } = lab();
  add("h1", false);
  add("h2", true);
  serving.drain(0);
  expect([drained, serving.isDraining]).toEqual([["h1", "h2"], true]);
});

test("little by little: HTTP/2 is told step by step, and HTTP/1.1 that is idle is closed at the end alone", async () => {
  const { clock, serving, drained, add } = lab();
  const many = upgradeLimits.goawaySteps;
  add("h1", false);
  for (let index = 0; index < many; index++) add(`h2-${index}`, true);
  serving.drain(10_000);
  // Its next answer says that it closes, all the same.
  expect([serving.isDraining, drained]).toEqual([true, ["h2-0"]]);
  await clock.advance(5_000);
  expect(drained.length).toBeWithin(many / 3, many);
  expect(drained).not.toContain("h1");
  await clock.advance(4_900);
  expect(drained).not.toContain("h1");
  add("h1 that came later", false);
  await clock.advance(100);
  expect(drained).toContain("h1");
  expect(drained).toContain("h1 that came later");
  for (let index = 0; index < many; index++) expect(drained).toContain(`h2-${index}`);
});
