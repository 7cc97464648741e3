import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { tokenLimits } from "../../base/limits/pki.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { FakeClock } from "../testing/fake_clock.ts";
import { JwksCache } from "./jwks_cache.ts";
import type { PublishedKeys } from "./jwks_keys.ts";

const key = (name: string) => ({ name }) as unknown as CryptoKey;

/** A set of keys by their names. */
function keys(...names: readonly string[]): PublishedKeys {
  return {
    size: names.length,
    has: (kid: string) => names.includes(kid),
    find: async ({ kid }: { readonly kid: string | null }) =>
      names.filter((name) => kid === null || name === kid).map(key),
  } as unknown as PublishedKeys;
}

function bench() {
  const clock = new FakeClock(0);
  const lines: string[] = [];
  const readings: PromiseWithResolvers<PublishedKeys>[] = [];
  const cache = new JwksCache({
    clock,
    logger: {
      log: (level, _target, message, fields) =>
        void lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
    },
    issuer: "https://issuer.example",
    read: () => {
      const reading = Promise.withResolvers<PublishedKeys>();
      readings.push(reading);
      return reading.promise;
    },
  });
  const names = async (kid: string | null): Promise<readonly string[]> => {
    const found = await cache.find({ kid, algorithm: "ES256" } as Parameters<JwksCache["find"]>[0]);
    return (found as readonly (CryptoKey & { readonly name: string })[]).map(({ name }) => name);
  };
  const away = () => readings.at(-1)?.reject(new MeshError("connect_refused", "upstream", "away"));
  /** Null where it waits. */
  const soon = async (kid: string | null): Promise<readonly string[] | null> => {
    let found: readonly string[] | null = null;
    void names(kid).then((those) => {
      found = those;
    });
    await clock.advance(0);
    return found;
  };
  return { clock, lines, readings, cache, names, soon, away };
}

describe("an issuer's keys", () => {
  test("are read once for all who ask, and kept while they are fresh", async () => {
    const { clock, readings, cache, names } = bench();
    expect(cache.status()).toEqual({ keys: 0, ageMs: null, error: null });
    const asked = [names("a"), names("b"), names(null)];
    await clock.advance(1);
    readings[0]?.resolve(keys("a", "b"));
    expect(await Promise.all(asked)).toEqual([["a"], ["b"], ["a", "b"]]);
    await clock.advance(tokenLimits.keysFreshMs - 1);
    expect([await names("a"), readings.length]).toEqual([["a"], 1]);
    expect(cache.status()).toEqual({ keys: 2, ageMs: tokenLimits.keysFreshMs - 1, error: null });
  });

  test("that are old serve while new ones are read; too old ones do not", async () => {
    const { clock, readings, names, soon } = bench();
    const first = names("a");
    readings[0]?.resolve(keys("a"));
    expect(await first).toEqual(["a"]);
    await clock.advance(tokenLimits.keysFreshMs);
    // The reading has begun and has not ended.
    expect([await soon("a"), await soon("a"), readings.length]).toEqual([["a"], ["a"], 2]);
    await clock.advance(tokenLimits.keysStaleMs - tokenLimits.keysFreshMs - 1);
    expect(await names("a")).toEqual(["a"]);
    await clock.advance(1);
    let waits = true;
    const late = names("b").finally(() => {
      waits = false;
    });
    await clock.advance(1);
    expect([waits, readings.length]).toEqual([true, 2]);
    readings[1]?.resolve(keys("b"));
    expect(await late).toEqual(["b"]);
  });

  test("that cannot be read are asked for again after a while, and what is said names the reason", async () => {
    const { clock, readings, lines, cache, names, away } = bench();
    const first = names("a");
    away();
    expect(await rejectionOf(first)).toMatchObject({
      code: "identity_unavailable",
      blame: "upstream",
      message: "the keys of https://issuer.example are not known: away",
    });
    expect(lines).toEqual([
      'warn the keys of an issuer of tokens cannot be read {"issuer":"https://issuer.example","reason":"away","held":0}',
    ]);
    expect(cache.status()).toEqual({ keys: 0, ageMs: null, error: "away" });
    await clock.advance(tokenLimits.retryMinMs - 1);
    expect(await rejectionOf(names("a"))).toMatchObject({ code: "identity_unavailable" });
    expect(readings).toHaveLength(1);
    await clock.advance(1);
    const second = names("a");
    expect(readings).toHaveLength(2);
    away();
    await rejectionOf(second);
    await clock.advance(2 * tokenLimits.retryMinMs - 1);
    await rejectionOf(names("a"));
    expect(readings).toHaveLength(2);
    await clock.advance(1);
    const third = names("a");
    readings.at(-1)?.resolve(keys("a"));
    expect([await third, readings.length, cache.status().error]).toEqual([["a"], 3, null]);
  });

  test("that a token names and the set does not hold are looked for, once in a while", async () => {
    const { clock, readings, names } = bench();
    const first = names("a");
    readings[0]?.resolve(keys("a"));
    await first;
    await clock.advance(tokenLimits.unknownKeyIntervalMs - 1);
    expect([await names("new"), readings.length]).toEqual([[], 1]);
    await clock.advance(1);
    const asked = [names("new"), names("new")];
    await clock.advance(1);
    expect(readings).toHaveLength(2);
    readings[1]?.resolve(keys("a", "new"));
    expect(await Promise.all(asked)).toEqual([["new"], ["new"]]);
    // Nor does one whose key is answered with keys of no name, or whose key is there and of another kind.
    await clock.advance(tokenLimits.unknownKeyIntervalMs);
    const before = readings.length;
    const answering = bench();
    const other = answering.names(null);
    answering.readings[0]?.resolve({
      ...keys("a", "b"),
      find: async ({ kid }: { readonly kid: string | null }) => (kid === "unnamed" ? [key("b")] : []),
    } as unknown as PublishedKeys);
    expect(await other).toEqual([]);
    await answering.clock.advance(tokenLimits.unknownKeyIntervalMs);
    for (const [kid, found] of [
      ["unnamed", ["b"]],
      ["a", []],
      [null, []],
    ] as const)
      expect([kid, await answering.soon(kid), answering.readings.length]).toEqual([kid, [...found], 1]);
    expect(readings).toHaveLength(before);
    // A token that names none makes no reading.
    await clock.advance(tokenLimits.unknownKeyIntervalMs);
    expect([await names(null), readings.length]).toEqual([["a", "new"], 2]);
  });
});
