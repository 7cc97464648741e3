import { expect, test } from "bun:test";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { RememberedDigests } from "./remembered.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

test("what was added is known until its time is over, and nothing else is", async () => {
  const clock = new FakeClock(5_000);
  const known = new RememberedDigests(clock, runtimeProvider(), 8);
  await known.add(bytes("one"), 1_000);
  expect([await known.has(bytes("one")), await known.has(bytes("onE"))]).toEqual([true, false]);
  await clock.advance(999);
  expect(await known.has(bytes("one"))).toBe(true);
  await clock.advance(1);
  expect(await known.has(bytes("one"))).toBe(false);
});

test("one more than fit: the one that was looked at longest ago goes", async () => {
  const known = new RememberedDigests(new FakeClock(0), runtimeProvider(), 2);
  for (const text of ["one", "two", "one", "three"]) await known.add(bytes(text), 1_000);
  const found = await Promise.all(["one", "two", "three"].map((text) => known.has(bytes(text))));
  expect(found).toEqual([true, false, true]);
});
