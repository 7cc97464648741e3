import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import type { RateLimit, RateLimitRule, RateLimitStore } from "../../mesh/traffic/rate_limit.ts";
import { type Exchange, field, type LocalReply } from "../exchange.ts";
import { exchangeOf, ruleOf } from "../testing/exchanges.ts";
import { judge, type Verdict } from "./gcra.ts";
import { RateLimits, type SharedStore } from "./rate_limits.ts";

const redis = (whenAway: "local" | "allow" | "deny"): RateLimitStore => ({
  kind: "redis",
  address: { host: "redis", port: 6379 },
  tls: null,
  passwordFile: null,
  database: 0,
  timeoutMs: 50,
  whenAway,
});

function ruleFor(fields: Partial<RateLimitRule> = {}): RateLimitRule {
  return {
    name: "each",
    location: { file: "limits.yaml", line: 9, column: 5 },
    matches: [],
    routes: [],
    keys: [],
    limit: { requests: 2, periodMs: 60_000, burst: 2 },
    ...fields,
  };
}

function limitOf(rules: readonly RateLimitRule[], fields: Partial<RateLimit> = {}): RateLimit {
  return {
    key: "shop/limit",
    location: { file: "limits.yaml", line: 1, column: 1 },
    targets: [],
    rules,
    store: { kind: "local" },
    dryRun: false,
    headers: true,
    ...fields,
  };
}

function scene(limits: readonly RateLimit[], store: SharedStore | null = null) {
  const { clock } = new MemoryWorld(1).host("waypoint", { addresses: ["10.0.0.1"] });
  const log: string[] = [];
  let current = limits;
  const made = new RateLimits({
    clock,
    logger: {
      log: (_level, _target, message, fields) => log.push(`${message} ${JSON.stringify(fields ?? {})}`),
    },
    limits: () => current,
    matches: (matches) => (exchange) => matches.some(({ path }) => path?.value === exchange.request.path),
    shared: () =>
      store ?? { take: () => Promise.reject(new MeshError("connection_closed", "upstream", "away")) },
  });
  return {
    made,
    log,
    change: (next: readonly RateLimit[]) => {
      current = next;
    },
    ask: async (exchange: Exchange = exchangeOf()) => ({ reply: await made.stage(exchange), exchange }),
  };
}

async function statuses(
  ask: (exchange: Exchange) => Promise<{ reply: LocalReply | null }>,
  ...exchanges: Exchange[]
) {
  const found: number[] = [];
  for (const exchange of exchanges) found.push((await ask(exchange)).reply?.status ?? 200);
  return found;
}

describe("who shares a bucket", () => {
  test("without keys, all", async () => {
    const { ask } = scene([limitOf([ruleFor()])]);
    expect(await statuses(ask, exchangeOf(), exchangeOf(), exchangeOf())).toEqual([200, 200, 429]);
  });

  test("by header: each value its own, the absent one too, and an empty one is not absent", async () => {
    const limit = { requests: 1, periodMs: 60_000, burst: 1 };
    const { ask } = scene([limitOf([ruleFor({ keys: [{ by: "header", name: "x-key" }], limit })])]);
    const by = (...fields: string[]) => exchangeOf({ request: { fields } });
    expect(await statuses(ask, by("x-key", "a"), by("x-key", "b"), by(), by("x-key", ""))).toEqual([
      200, 200, 200, 200,
    ]);
    expect(await statuses(ask, by("x-key", "a"), by("x-key", "b"), by(), by("x-key", ""))).toEqual([
      429, 429, 429, 429,
    ]);
  });

  test("by claim, into what is nested; claims of another type are another value", async () => {
    const limit = { requests: 1, periodMs: 60_000, burst: 1 };
    const { ask } = scene([limitOf([ruleFor({ keys: [{ by: "claim", path: ["org", "tenant"] }], limit })])]);
    const by = (tenant: unknown) => {
      const exchange = exchangeOf();
      exchange.user = {
        issuer: "i",
        subject: "s",
        audiences: [],
        claims: { org: { tenant } },
        expiresAtMs: null,
      };
      return exchange;
    };
    expect(await statuses(ask, by("1"), by(1), by("1"), exchangeOf(), exchangeOf())).toEqual([
      200, 200, 429, 200, 429,
    ]);
  });

  test("two keys do not run into each other", async () => {
    const limit = { requests: 1, periodMs: 60_000, burst: 1 };
    const keys = [
      { by: "header", name: "a" },
      { by: "header", name: "b" },
    ] as const;
    const { ask } = scene([limitOf([ruleFor({ keys, limit })])]);
    const by = (a: string, b: string) => exchangeOf({ request: { fields: ["a", a, "b", b] } });
    expect(await statuses(ask, by("xy", "z"), by("x", "yz"))).toEqual([200, 200]);
  });
});

describe("what is answered", () => {
  test("429 with the flag RL, when to come back, and for the operator which rule, file and line", async () => {
    const { ask } = scene([limitOf([ruleFor()])]);
    await statuses(ask, exchangeOf(), exchangeOf());
    const { reply } = await ask();
    expect(reply).toMatchObject({
      status: 429,
      flag: "RL",
      grpcStatus: 8,
      detail: "RateLimit shop/limit, rule each (limits.yaml:9:5)",
    });
    expect(field(reply?.fields ?? [], "retry-after")).toBe("30");
  });

  test("when to come back is in whole seconds, never sooner than there is room", async () => {
    for (const [periodMs, seconds] of [
      [2_500, "3"],
      [2_000, "2"],
      [100, "1"],
    ] as const) {
      const { ask } = scene([limitOf([ruleFor({ limit: { requests: 1, periodMs, burst: 1 } })])]);
      await ask();
      expect(field((await ask()).reply?.fields ?? [], "retry-after")).toBe(seconds);
    }
  });

  test("those that pass are told what is left, of the tightest rule", async () => {
    const loose = ruleFor({ name: "all", limit: { requests: 100, periodMs: 1000, burst: 100 } });
    const { ask } = scene([limitOf([loose, ruleFor()])]);
    const { exchange } = await ask();
    expect(field(exchange.added ?? [], "ratelimit-policy")).toBe('"all";q=100;w=1, "each";q=2;w=60');
    expect(field(exchange.added ?? [], "ratelimit")).toBe('"each";r=1;t=30');
  });

  test("nothing is told where the document says so", async () => {
    const { ask } = scene([limitOf([ruleFor()], { headers: false })]);
    await statuses(ask, exchangeOf(), exchangeOf());
    const { reply, exchange } = await ask();
    expect(exchange.added).toBeNull();
    expect(field(reply?.fields ?? [], "retry-after")).toBeNull();
  });

  test("a dry run counts, says so in the log, and refuses nothing", async () => {
    const { ask, log } = scene([limitOf([ruleFor()], { dryRun: true })]);
    expect(await statuses(ask, exchangeOf(), exchangeOf(), exchangeOf())).toEqual([200, 200, 200]);
    expect(log.join()).toContain("would have been refused");
  });

  test("a client is told nothing of a dry run, and what another rule refuses gives it no allowance", async () => {
    const once = { requests: 1, periodMs: 60_000, burst: 1 };
    const dry = limitOf([ruleFor({ limit: once })], { key: "shop/dry", dryRun: true });
    const byKey = ruleFor({ name: "real", keys: [{ by: "header", name: "k" }], limit: once });
    const { ask, log } = scene([dry, limitOf([byKey])]);
    const by = (k: string) => exchangeOf({ request: { fields: ["k", k] } });
    const { exchange } = await ask(by("a"));
    expect(field(exchange.added ?? [], "ratelimit-policy")).toBe('"real";q=1;w=60');
    expect(await statuses(ask, by("a"), by("a"), by("b"))).toEqual([429, 429, 200]);
    // The dry run's only request of the minute was the first.
    expect(log.filter((line) => line.includes("would have been refused")).length).toBe(1);
  });
});

describe("which requests count", () => {
  test("those of its matches and routes", async () => {
    const limit = { requests: 1, periodMs: 60_000, burst: 1 };
    const matches = [{ path: { kind: "exact", value: "/a" } }] as never;
    const { ask } = scene([
      limitOf([ruleFor({ limit, matches }), ruleFor({ name: "routed", limit, routes: ["r1"] })]),
    ]);
    const at = (path: string, route = "r") => {
      const exchange = exchangeOf({ request: { path } });
      exchange.rule = ruleOf({ name: route });
      return exchange;
    };
    expect(await statuses(ask, at("/b"), at("/b"), at("/a"), at("/a"))).toEqual([200, 200, 200, 429]);
    expect(await statuses(ask, at("/b", "r1"), at("/b", "r1"))).toEqual([200, 429]);
  });

  test("what one rule refuses has not used the others", async () => {
    const wide = ruleFor({ name: "wide", limit: { requests: 3, periodMs: 60_000, burst: 3 } });
    const narrow = ruleFor({
      name: "narrow",
      keys: [{ by: "header", name: "k" }],
      limit: { requests: 1, periodMs: 60_000, burst: 1 },
    });
    const { ask } = scene([limitOf([wide, narrow])]);
    const by = (k: string) => exchangeOf({ request: { fields: ["k", k] } });
    expect(await statuses(ask, by("a"), by("a"), by("a"), by("a"))).toEqual([200, 429, 429, 429]);
    expect(await statuses(ask, by("b"), by("c"), by("d"))).toEqual([200, 200, 429]);
  });
});

test("counts outlive a change of the document that leaves the rule as it is, and not one of its numbers", async () => {
  const { ask, change, made } = scene([limitOf([ruleFor()])]);
  await statuses(ask, exchangeOf(), exchangeOf());
  const same = [limitOf([ruleFor(), ruleFor({ name: "other" })])];
  change(same);
  made.keepOnly(same);
  expect(await statuses(ask, exchangeOf())).toEqual([429]);
  const other = [limitOf([ruleFor({ limit: { requests: 3, periodMs: 60_000, burst: 3 } })])];
  change(other);
  made.keepOnly(other);
  expect(await statuses(ask, exchangeOf())).toEqual([200]);
});

describe("a store that waypoints share", () => {
  const counting = () => {
    const keys: string[] = [];
    let wholeAt = 0;
    const store: SharedStore = {
      take: async (rule, key): Promise<Verdict> => {
        keys.push(key);
        const judged = judge(rule.limit, wholeAt, 0);
        wholeAt = judged.wholeAt;
        return judged.verdict;
      },
    };
    return { keys, store };
  };

  test("is asked by limit, rule and key", async () => {
    const { keys, store } = counting();
    const { ask } = scene(
      [limitOf([ruleFor({ keys: [{ by: "service" }] })], { store: redis("deny") })],
      store,
    );
    expect(await statuses(ask, exchangeOf(), exchangeOf(), exchangeOf())).toEqual([200, 200, 429]);
    expect(keys[0]).toBe("shop/limit/each/shop/cart.shop");
  });

  test("away: counted here, let through or refused, as the document says, and said once", async () => {
    for (const [whenAway, expected] of [
      ["local", [200, 200, 429, 429]],
      ["allow", [200, 200, 200, 200]],
      ["deny", [429, 429, 429, 429]],
    ] as const) {
      const { ask, log } = scene([limitOf([ruleFor()], { store: redis(whenAway) })]);
      expect(await statuses(ask, exchangeOf(), exchangeOf(), exchangeOf(), exchangeOf())).toEqual([
        ...expected,
      ]);
      expect(log.filter((line) => line.includes("cannot be asked"))).toHaveLength(1);
    }
  });
});
