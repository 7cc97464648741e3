import { describe, expect, test } from "bun:test";
import { MemoryWorld } from "../../host/memory/world.ts";
import {
  type DestinationPolicy,
  defaultDestinationPolicy,
  type HashKey,
} from "../../mesh/traffic/destination_policy.ts";
import type { SessionPersistence } from "../../mesh/traffic/route_plan.ts";
import { type Exchange, field } from "../exchange.ts";
import { exchangeOf, ruleOf } from "../testing/exchanges.ts";
import { Affinity, cookie } from "./affinity.ts";

function scene() {
  const world = new MemoryWorld(1);
  const machine = world.machine("waypoint", { addresses: ["10.0.0.1"] });
  const { clock, random } = machine.start();
  return { affinity: new Affinity(clock, random), machine };
}

const hashing = (key: HashKey): DestinationPolicy => ({
  ...defaultDestinationPolicy,
  loadBalancer: { kind: "consistent-hash", key, table: { kind: "maglev", tableSize: 65_537 } },
});
const withFields = (...fields: string[]) => exchangeOf({ request: { fields } });

describe("what a balancer hashes", () => {
  const { affinity } = scene();
  const same = (key: HashKey, a: Exchange, b: Exchange) => {
    const [left, right] = [affinity.hash(a, hashing(key)), affinity.hash(b, hashing(key))];
    expect(left).not.toBeNull();
    return left === right;
  };

  test("a header, all of its lines; absent, nothing", () => {
    const key = { kind: "header", name: "x-user" } as const;
    expect(same(key, withFields("x-user", "a"), withFields("x-user", "a"))).toBe(true);
    expect(same(key, withFields("x-user", "a"), withFields("x-user", "b"))).toBe(false);
    expect(same(key, withFields("x-user", "a"), withFields("x-user", "a", "x-user", "b"))).toBe(false);
    expect(affinity.hash(withFields(), hashing(key))).toBeNull();
  });

  test("the source's address, not its port", () => {
    const from = (port: number) =>
      exchangeOf({ downstream: { source: { ip: exchangeOf().downstream.source.ip, port } } });
    expect(same({ kind: "source" }, from(1), from(2))).toBe(true);
  });

  test("a parameter of the query", () => {
    const key = { kind: "query", name: "u" } as const;
    const at = (path: string) => exchangeOf({ request: { path } });
    expect(same(key, at("/a?u=1&v=2"), at("/b?v=3&u=1"))).toBe(true);
    expect(affinity.hash(at("/a?v=1"), hashing(key))).toBeNull();
  });

  test("a cookie; without one, one is made where the document has a ttl, and a second attempt has the same", () => {
    const key = {
      kind: "cookie",
      name: "id",
      path: "/p",
      ttlMs: 60_000,
      attributes: [{ name: "SameSite", value: "Lax" }],
    } as const;
    expect(same(key, withFields("cookie", "a=1; id=7"), withFields("cookie", 'id="7"'))).toBe(true);
    const fresh = withFields();
    const first = affinity.hash(fresh, hashing(key));
    expect(affinity.hash(fresh, hashing(key))).toBe(first as number);
    const made = field(fresh.added ?? [], "set-cookie") ?? "";
    expect(made).toMatch(/^id="[0-9a-f]{16}"; Max-Age=60; Path=\/p; HttpOnly; SameSite=Lax$/);
    expect(fresh.added).toHaveLength(2);
    const back = withFields("cookie", made.split(";")[0] ?? "");
    expect(affinity.hash(back, hashing(key))).toBe(first as number);
    expect(affinity.hash(withFields(), hashing({ ...key, ttlMs: null }))).toBeNull();
  });
});

describe("sessions", () => {
  const persistence: SessionPersistence = {
    name: "sid",
    type: "cookie",
    absoluteTimeoutMs: 3_600_000,
    idleTimeoutMs: null,
    lifetime: "permanent",
    cookiePath: "/shop",
  };
  const within = (fields: readonly string[], own: Partial<SessionPersistence> = {}) => {
    const exchange = exchangeOf({ request: { fields: [...fields] } });
    exchange.rule = ruleOf({ session: { ...persistence, ...own } });
    return exchange;
  };
  const back = (exchange: Exchange) => [
    "cookie",
    (field(exchange.added ?? [], "set-cookie") ?? "").split(";")[0] ?? "",
  ];

  test("the first answer gives it, the next request names its endpoint and gets no other", () => {
    const { affinity } = scene();
    const first = within([]);
    expect(affinity.session(first)).toBeNull();
    affinity.answered(first, "uid/cart-1:8080");
    expect(field(first.added ?? [], "set-cookie")).toMatch(
      /^sid=[A-Za-z0-9_-]+; Max-Age=3600; Path=\/shop; HttpOnly$/,
    );
    const second = within(back(first));
    expect(affinity.session(second)).toBe("uid/cart-1:8080");
    affinity.answered(second, "uid/cart-1:8080");
    expect(second.added).toBeNull();
  });

  test("an endpoint that is gone gives its sessions to another", () => {
    const { affinity } = scene();
    const first = within([]);
    affinity.answered(first, "a:1");
    const second = within(back(first));
    affinity.session(second);
    affinity.answered(second, "b:1");
    expect(affinity.session(within(back(second)))).toBe("b:1");
  });

  test("it ends after its time, counted from its beginning, and after its time without use", () => {
    const { affinity, machine } = scene();
    const first = within([]);
    affinity.answered(first, "a:1");
    machine.jumpWall(3_601_000);
    expect(affinity.session(within(back(first)))).toBeNull();
    const idle = { idleTimeoutMs: 60_000 };
    const begun = within([], idle);
    affinity.answered(begun, "a:1");
    machine.jumpWall(50_000);
    const used = within(back(begun), idle);
    expect(affinity.session(used)).toBe("a:1");
    affinity.answered(used, "a:1");
    machine.jumpWall(50_000);
    expect(affinity.session(within(back(used), idle))).toBe("a:1");
    machine.jumpWall(61_000);
    expect(affinity.session(within(back(used), idle))).toBeNull();
  });

  test("by header", () => {
    const { affinity } = scene();
    const first = within([], { type: "header", name: "X-Session" });
    affinity.answered(first, "a:1");
    const value = field(first.added ?? [], "x-session") ?? "";
    expect(affinity.session(within(["x-session", value], { type: "header", name: "X-Session" }))).toBe("a:1");
  });

  test("what is no session is none", () => {
    const { affinity } = scene();
    for (const bad of ["", "x", "!!!", "e30", btoa('["a"]'), btoa("[1,2,3]"), "A".repeat(5000)])
      expect(affinity.session(within(["cookie", `sid=${bad}`]))).toBeNull();
  });
});

test("cookies are found whole: no name within another's, nothing behind a name without a value", () => {
  expect(cookie(["cookie", "xid=1; id=2"], "id")).toBe("2");
  expect(cookie(["cookie", "id; id=3", "cookie", "id=4"], "id")).toBe("3");
  expect(cookie(["cookie", "a=id=9"], "id")).toBeNull();
});
