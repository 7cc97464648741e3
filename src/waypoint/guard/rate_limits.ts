/** The stage of rate limits: which limits a request counts against, by which key, and what is answered when one has nothing left. */
import { MeshError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock } from "../../host/host.ts";
import { formatLocation } from "../../mesh/location.ts";
import { serviceKey } from "../../mesh/service.ts";
import type {
  RateLimit,
  RateLimitKey,
  RateLimitRule,
  RateLimitStore,
} from "../../mesh/traffic/rate_limit.ts";
import type { HttpMatch } from "../../mesh/traffic/route_plan.ts";
import { type Exchange, type Fields, field, type LocalReply } from "../exchange.ts";
import { localReply } from "../local_reply.ts";
import type { Verdict as StageVerdict } from "../stages.ts";
import { KeyedRateLimit, type Rate, type Verdict } from "./gcra.ts";

/** A store that several waypoints share. */
export interface SharedStore {
  /** @param values of the rule's keys, in their order. @throws MeshError when it cannot be asked. */
  take(rule: RateLimitRule, key: string, values: readonly string[]): Promise<Verdict>;
}

export interface RateLimitsContext {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Those that are for the service or workload that the exchange called. The same values as long as no document changed. */
  readonly limits: (exchange: Exchange) => readonly RateLimit[];
  readonly matches: (matches: readonly HttpMatch[]) => (exchange: Exchange) => boolean;
  /** @param namespace of the limit's document. */
  readonly shared: (
    store: Exclude<RateLimitStore, { readonly kind: "local" }>,
    namespace: string,
  ) => SharedStore;
}

interface CompiledRule {
  readonly rule: RateLimitRule;
  readonly applies: (exchange: Exchange) => boolean;
  /** Also of a shared store: for when it is away. */
  readonly local: KeyedRateLimit;
}

interface Compiled {
  readonly limit: RateLimit;
  readonly rules: readonly CompiledRule[];
  readonly shared: SharedStore | null;
}

/** One limit that was asked. */
interface Taken {
  readonly compiled: Compiled;
  readonly rule: CompiledRule;
  readonly key: string;
  readonly verdict: Verdict;
  /** Counted here, so it can be given back. */
  readonly isLocal: boolean;
}

export class RateLimits {
  readonly #context: RateLimitsContext;
  readonly #compiled = new WeakMap<RateLimit, Compiled>();
  /** Counters outlive a change of the documents that leaves their rule's numbers as they are. By limit and rule. */
  readonly #counters = new Map<string, KeyedRateLimit>();
  /** Stores of which it has been said that they are away. */
  readonly #away = new Set<SharedStore>();

  constructor(context: RateLimitsContext) {
    this.#context = context;
  }

  /** The stage. Nothing is waited for where all counts are local. */
  stage(exchange: Exchange): StageVerdict | Promise<StageVerdict> {
    const limits = this.#context.limits(exchange);
    if (limits.length === 0) return null;
    const asked: { compiled: Compiled; rule: CompiledRule }[] = [];
    let isShared = false;
    for (const limit of limits) {
      const compiled = this.#compile(limit);
      for (const rule of compiled.rules)
        if (rule.applies(exchange)) {
          asked.push({ compiled, rule });
          isShared ||= compiled.shared !== null;
        }
    }
    if (asked.length === 0) return null;
    if (isShared) return this.#takeShared(exchange, asked);
    const taken: Taken[] = [];
    for (const { compiled, rule } of asked) {
      const one = this.#takeLocal(exchange, compiled, rule);
      taken.push(one);
      if (refuses(one)) break;
    }
    return this.#conclude(exchange, taken);
  }

  /** Forgets what no limit has any more. @param all every limit that there is now. */
  keepOnly(all: readonly RateLimit[]): void {
    const kept = new Set(all.flatMap((limit) => limit.rules.map((rule) => counterKey(limit, rule))));
    for (const key of this.#counters.keys()) if (!kept.has(key)) this.#counters.delete(key);
  }

  async #takeShared(
    exchange: Exchange,
    asked: readonly { compiled: Compiled; rule: CompiledRule }[],
  ): Promise<StageVerdict> {
    const taken: Taken[] = [];
    for (const { compiled, rule } of asked) {
      const one =
        compiled.shared === null
          ? this.#takeLocal(exchange, compiled, rule)
          : await this.#ask(exchange, compiled, rule, compiled.shared);
      if (one === null) continue;
      taken.push(one);
      if (refuses(one)) break;
    }
    return this.#conclude(exchange, taken);
  }

  #takeLocal(exchange: Exchange, compiled: Compiled, rule: CompiledRule): Taken {
    const key = keyOf(rule.rule.keys, exchange);
    const verdict = rule.local.take(key, this.#context.clock.now());
    return { compiled, rule, key, verdict, isLocal: true };
  }

  /** Null: the store is away, and the document says that the request passes then. */
  async #ask(
    exchange: Exchange,
    compiled: Compiled,
    rule: CompiledRule,
    store: SharedStore,
  ): Promise<Taken | null> {
    const { limit } = compiled;
    const key = `${limit.key}/${rule.rule.name}/${keyOf(rule.rule.keys, exchange)}`;
    try {
      const values = rule.rule.keys.map((each) => partOf(each, exchange));
      const verdict = await store.take(rule.rule, key, values);
      if (this.#away.delete(store))
        this.#context.logger.log("info", "rate_limit", "the shared store of a rate limit answers again", {
          limit: limit.key,
        });
      return { compiled, rule, key, verdict, isLocal: false };
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      this.#sayAway(store, limit, error);
      const whenAway = limit.store.kind === "local" ? "local" : limit.store.whenAway;
      if (whenAway === "local") return this.#takeLocal(exchange, compiled, rule);
      if (whenAway === "allow") return null;
      const verdict = { allowed: false, remaining: 0, retryAfterMs: 1000, resetMs: 1000 };
      return { compiled, rule, key, verdict, isLocal: false };
    }
  }

  /** Once, not for each request. */
  #sayAway(store: SharedStore, limit: RateLimit, error: MeshError): void {
    if (this.#away.has(store)) return;
    this.#away.add(store);
    const whenAway = limit.store.kind === "local" ? "local" : limit.store.whenAway;
    const meanwhile = {
      local: "each waypoint counts for itself meanwhile",
      allow: "requests pass uncounted meanwhile",
      deny: "requests are refused meanwhile",
    }[whenAway];
    this.#context.logger.log(
      "warn",
      "rate_limit",
      `the shared store of a rate limit cannot be asked; ${meanwhile}`,
      {
        limit: limit.key,
        error: error.message,
      },
    );
  }

  #conclude(exchange: Exchange, taken: readonly Taken[]): StageVerdict {
    const refused = taken.find(refuses);
    if (refused === undefined) {
      const told = taken.filter(({ compiled }) => compiled.limit.headers && !compiled.limit.dryRun);
      const tightest = told.reduce<Taken | null>(
        (least, one) => (least === null || one.verdict.remaining < least.verdict.remaining ? one : least),
        null,
      );
      if (tightest !== null) addFields(exchange, told, tightest);
      this.#sayDryRuns(exchange, taken);
      return null;
    }
    // A request that is refused by one has not used the others.
    for (const one of taken)
      if (one !== refused && one.isLocal && one.verdict.allowed) one.rule.local.giveBack(one.key);
    if (refused.compiled.limit.headers) addFields(exchange, [refused], refused);
    return refusal(refused);
  }

  #sayDryRuns(exchange: Exchange, taken: readonly Taken[]): void {
    for (const { compiled, rule, verdict } of taken)
      if (compiled.limit.dryRun && !verdict.allowed)
        this.#context.logger.log("info", "rate_limit", "dry run: this request would have been refused", {
          limit: describe(compiled.limit, rule.rule),
          peer: exchange.downstream.peer?.uri ?? null,
          path: exchange.request.path,
        });
  }

  #compile(limit: RateLimit): Compiled {
    const known = this.#compiled.get(limit);
    if (known !== undefined) return known;
    const compiled = {
      limit,
      shared:
        limit.store.kind === "local"
          ? null
          : this.#context.shared(limit.store, limit.key.split("/")[0] ?? ""),
      rules: limit.rules.map((rule): CompiledRule => {
        const fits = rule.matches.length === 0 ? null : this.#context.matches(rule.matches);
        return {
          rule,
          applies: (exchange) => isFor(rule, exchange, fits),
          local: this.#counter(limit, rule),
        };
      }),
    };
    this.#compiled.set(limit, compiled);
    return compiled;
  }

  #counter(limit: RateLimit, rule: RateLimitRule): KeyedRateLimit {
    const key = counterKey(limit, rule);
    const known = this.#counters.get(key);
    if (known !== undefined) return known;
    const made = new KeyedRateLimit(rule.limit);
    this.#counters.set(key, made);
    return made;
  }
}

function isFor(
  rule: RateLimitRule,
  exchange: Exchange,
  fits: ((exchange: Exchange) => boolean) | null,
): boolean {
  if (rule.routes.length > 0 && !rule.routes.includes(exchange.rule?.name ?? "")) return false;
  return fits === null || fits(exchange);
}

function refuses({ verdict, compiled }: Taken): boolean {
  return !verdict.allowed && !compiled.limit.dryRun;
}

/** By its numbers too: a bucket of another size is another bucket. */
function counterKey(limit: RateLimit, { name, keys, limit: rate }: RateLimitRule): string {
  return JSON.stringify([limit.key, name, keys, rate.requests, rate.periodMs, rate.burst]);
}

/** No value holds the separator: header values and identities have no NUL, and claims are written as JSON. */
function keyOf(keys: readonly RateLimitKey[], exchange: Exchange): string {
  if (keys.length === 1 && keys[0] !== undefined) return partOf(keys[0], exchange);
  return keys.map((key) => partOf(key, exchange)).join("\0");
}

function partOf(key: RateLimitKey, { downstream, request, rule, user }: Exchange): string {
  switch (key.by) {
    case "peer":
      // Whoever shows no certificate shares one count.
      return downstream.peer?.uri ?? "";
    case "service":
      return downstream.service === null ? (downstream.workload?.uid ?? "") : serviceKey(downstream.service);
    case "route":
      return rule?.name ?? "";
    case "source-address":
      return downstream.source.ip.text;
    case "header":
      return field(request.fields, key.name) ?? absent;
    case "claim":
      return user === null ? absent : (JSON.stringify(claimAt(user.claims, key.path)) ?? absent);
  }
}

/** No header value has a control character. */
const absent = "\u0001";

function claimAt(claims: Readonly<Record<string, unknown>>, path: readonly string[]): unknown {
  let value: unknown = claims;
  for (const part of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = Reflect.get(value, part);
  }
  return value;
}

/** draft-ietf-httpapi-ratelimit-headers-10: structured fields, times in whole seconds. */
function addFields(exchange: Exchange, told: readonly Taken[], tightest: Taken): void {
  const policies = told.map(
    ({ rule: { rule } }) => `"${rule.name}";q=${rule.limit.requests};w=${seconds(rule.limit)}`,
  );
  exchange.addToAnswer("ratelimit-policy", policies.join(", "));
  const { rule, verdict } = tightest;
  const { remaining, resetMs } = verdict;
  exchange.addToAnswer("ratelimit", `"${rule.rule.name}";r=${remaining};t=${Math.ceil(resetMs / 1000)}`);
}

function seconds({ periodMs }: Rate): number {
  return Math.max(1, Math.round(periodMs / 1000));
}

/** gRPC's RESOURCE_EXHAUSTED (8): UNAVAILABLE would make its clients come back at once. */
function refusal({ compiled, rule, verdict }: Taken): LocalReply {
  const reply = localReply(429, "RL", "too many requests", describe(compiled.limit, rule.rule), 8);
  const fields: Fields = [...reply.fields];
  if (compiled.limit.headers)
    fields.push("retry-after", String(Math.max(1, Math.ceil(verdict.retryAfterMs / 1000))));
  return { ...reply, fields };
}

function describe(limit: RateLimit, rule: RateLimitRule): string {
  return `RateLimit ${limit.key}, rule ${rule.name} (${formatLocation(rule.location)})`;
}
