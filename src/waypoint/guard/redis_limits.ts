/** Rate limits that several waypoints share: the same algorithm as `gcra.ts`, done by the Redis server in one step, by its own clock. */
import { MeshError } from "../../base/errors.ts";
import type { RespReply } from "../../wire/resp.ts";
import type { Rate, Verdict } from "./gcra.ts";
import type { RedisClient } from "./redis_client.ts";

/**
 * Times in microseconds, since Lua hands numbers back as integers. A key lives until its allowance is whole, which is when there is nothing to
 * remember. Redis 5 and later replicate what the script did, so its clock may be read.
 */
const script = `local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local tolerance = interval * (burst - 1)
local whole = tonumber(redis.call('GET', KEYS[1]) or now)
if whole < now then whole = now end
if whole - tolerance > now then return {0, 0, whole - tolerance - now, whole - now} end
local next = whole + interval
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000) + 1)
local remaining = math.floor((tolerance - (next - now - interval)) / interval)
local retry = 0
if remaining < 1 then retry = next - tolerance - now end
return {1, remaining, retry, next - now}`;

/** @throws MeshError when the server cannot be asked. */
export async function takeFromRedis(client: RedisClient, key: string, rate: Rate): Promise<Verdict> {
  const intervalMicros = Math.max(1, Math.round((rate.periodMs * 1000) / rate.requests));
  const reply = await client.command(["EVAL", script, "1", key, String(intervalMicros), String(rate.burst)]);
  const [allowed, remaining, retryMicros, resetMicros] = integers(reply);
  return {
    allowed: allowed === 1,
    remaining: remaining ?? 0,
    retryAfterMs: (retryMicros ?? 0) / 1000,
    resetMs: (resetMicros ?? 0) / 1000,
  };
}

function integers(reply: RespReply): readonly number[] {
  const values =
    reply.kind === "list" ? reply.items.flatMap((item) => (item.kind === "integer" ? [item.value] : [])) : [];
  if (values.length !== 4)
    throw new MeshError("message_malformed", "upstream", "the Redis server's answer to a rate limit is none");
  return values;
}
