/**
 * By what a caller comes back to the same endpoint: the value that a hashing balancer looks at (Istio `consistentHash`), and sessions that
 * name their endpoint (the Gateway API's GEP-1619).
 */
import { murmur3 } from "../../base/murmur3.ts";
import type { Clock, Random } from "../../host/host.ts";
import type { DestinationPolicy, HashKey } from "../../mesh/traffic/destination_policy.ts";
import type { SessionPersistence } from "../../mesh/traffic/route_plan.ts";
import { type Exchange, type Fields, field } from "../exchange.ts";
import { HeadView, joinedField } from "./head_view.ts";

/** What a session says of itself. The client can read and forge it; all it can choose by it is one of the endpoints that it may call anyway. */
interface Session {
  readonly hostKey: string;
  /** Milliseconds since the Unix epoch. */
  readonly beganMs: number;
}

export class Affinity {
  readonly #clock: Clock;
  readonly #random: Random;
  /** Sessions that the request came with and that still hold. */
  readonly #sessions = new WeakMap<Exchange, Session>();

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** 32 bits; null when the balancer hashes nothing, or nothing that this request has. Once for each attempt: a cookie is made at the first. */
  hash(exchange: Exchange, { loadBalancer }: DestinationPolicy): number | null {
    if (loadBalancer.kind !== "consistent-hash") return null;
    const value = this.#hashed(exchange, loadBalancer.key);
    return value === null ? null : murmur3(value);
  }

  /** The key of the endpoint that has the session; null without one, or when its time is over. */
  session(exchange: Exchange): string | null {
    const persistence = exchange.rule?.session ?? null;
    if (persistence === null) return null;
    const value = carried(exchange.request.fields, persistence);
    const read = value === null ? null : parseSession(value);
    if (read === null) return null;
    const now = this.#clock.wallMs();
    const { absoluteTimeoutMs, idleTimeoutMs } = persistence;
    if (absoluteTimeoutMs !== null && now - read.session.beganMs > absoluteTimeoutMs) return null;
    if (idleTimeoutMs !== null && now - read.usedMs > idleTimeoutMs) return null;
    this.#sessions.set(exchange, read.session);
    return read.session.hostKey;
  }

  /** Gives the client its session, if it has none with this endpoint or the time of its last use counts. */
  answered(exchange: Exchange, hostKey: string): void {
    const persistence = exchange.rule?.session ?? null;
    if (persistence === null) return;
    const known = this.#sessions.get(exchange);
    const isSame = known?.hostKey === hostKey;
    if (isSame && persistence.idleTimeoutMs === null) return;
    const now = this.#clock.wallMs();
    const value = formatSession(
      { hostKey, beganMs: isSame && known !== undefined ? known.beganMs : now },
      now,
    );
    if (persistence.type === "header") exchange.addToAnswer(persistence.name.toLowerCase(), value);
    else exchange.addToAnswer("set-cookie", sessionCookie(persistence, value));
  }

  #hashed(exchange: Exchange, key: HashKey): string | null {
    const { request, downstream } = exchange;
    switch (key.kind) {
      case "header":
        return key.name === "host" ? request.authority : joinedField(request.fields, key.name);
      case "source":
        return downstream.source.ip.text;
      case "query":
        return new HeadView(request).query(key.name);
      case "cookie":
        return cookie(request.fields, key.name) ?? this.#newCookie(exchange, key);
    }
  }

  /** As Envoy makes one (`hash_policy.cookie.ttl`). Kept on the exchange's answer: a second attempt finds it there. */
  #newCookie(exchange: Exchange, key: Extract<HashKey, { readonly kind: "cookie" }>): string | null {
    if (key.ttlMs === null) return null;
    const made = madeBefore(exchange.added, key.name);
    if (made !== null) return made;
    const bytes = new Uint8Array(8);
    this.#random.fill(bytes);
    const value = bytes.toHex();
    const attributes = key.attributes.map(({ name, value: own }) =>
      own === "" ? `; ${name}` : `; ${name}=${own}`,
    );
    const age = key.ttlMs === 0 ? "" : `; Max-Age=${Math.ceil(key.ttlMs / 1000)}`;
    const path = key.path === "" ? "" : `; Path=${key.path}`;
    exchange.addToAnswer("set-cookie", `${key.name}="${value}"${age}${path}; HttpOnly${attributes.join("")}`);
    return value;
  }
}

function madeBefore(added: Fields | null, name: string): string | null {
  if (added === null) return null;
  for (let i = 0; i + 1 < added.length; i += 2) {
    const value = added[i + 1] ?? "";
    if (added[i] === "set-cookie" && value.startsWith(`${name}="`))
      return value.slice(name.length + 2).split('"')[0] ?? null;
  }
  return null;
}

/** RFC 6265 §4.2.1: the first of that name, without its quotes. */
export function cookie(fields: Fields, name: string): string | null {
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (fields[i] !== "cookie") continue;
    for (const pair of (fields[i + 1] ?? "").split(";")) {
      const equals = pair.indexOf("=");
      if (equals === -1 || pair.slice(0, equals).trim() !== name) continue;
      const value = pair.slice(equals + 1).trim();
      return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
    }
  }
  return null;
}

function carried(fields: Fields, { type, name }: SessionPersistence): string | null {
  return type === "header" ? field(fields, name.toLowerCase()) : cookie(fields, name);
}

function sessionCookie(
  { name, cookiePath, lifetime, absoluteTimeoutMs }: SessionPersistence,
  value: string,
): string {
  const age =
    lifetime === "permanent" && absoluteTimeoutMs !== null
      ? `; Max-Age=${Math.ceil(absoluteTimeoutMs / 1000)}`
      : "";
  return `${name}=${value}${age}; Path=${cookiePath}; HttpOnly`;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });
/** Endpoints' keys are short; what is longer is none of ours. */
const maxSessionLength = 1024;

function formatSession({ hostKey, beganMs }: Session, usedMs: number): string {
  const text = JSON.stringify([hostKey, Math.floor(beganMs / 1000), Math.floor(usedMs / 1000)]);
  return encoder.encode(text).toBase64({ alphabet: "base64url", omitPadding: true });
}

function parseSession(value: string): { readonly session: Session; readonly usedMs: number } | null {
  if (value.length > maxSessionLength) return null;
  try {
    const read: unknown = JSON.parse(decoder.decode(Uint8Array.fromBase64(value, { alphabet: "base64url" })));
    if (!Array.isArray(read)) return null;
    const [hostKey, began, used] = read;
    if (typeof hostKey !== "string" || typeof began !== "number" || typeof used !== "number") return null;
    return { session: { hostKey, beganMs: began * 1000 }, usedMs: used * 1000 };
  } catch {
    return null;
  }
}
