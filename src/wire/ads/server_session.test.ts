/** The server's side of delta ADS, rule by rule (ztunnel `src/xds/client.rs`; istiod `pilot/pkg/xds/delta.go`). */
import { describe, expect, test } from "bun:test";
import { fromBinary } from "@bufbuild/protobuf";
import { adsLimits } from "../../base/limits/rpc.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import { DeltaDiscoveryResponseSchema } from "../messages/envoy_discovery.gen.ts";
import { HeldEntries } from "../messages/held_entries.ts";
import { emptyRequest } from "./client.ts";
import { addressType, authorizationType, type DeltaRequest, trustBundleType } from "./delta.ts";
import { type NewResource, ResourceSet } from "./resource_set.ts";
import { ResponseEncoder } from "./response_parts.ts";
import { DeltaSession, type SessionFault, type SessionLimits } from "./server_session.ts";

const value = (text: string) => new TextEncoder().encode(text);

function resource(name: string, version: string, more: Partial<NewResource> = {}): NewResource {
  return { name, version, value: value(`${name} ${version}`), ...more };
}

/** One stream with a hand on its clock. */
class Bench {
  readonly policies = new ResourceSet(authorizationType);
  readonly addresses: ResourceSet;
  readonly roots = new ResourceSet(trustBundleType);
  readonly encoder = new ResponseEncoder("fairlead/test");
  readonly session: DeltaSession;
  readonly sent: Uint8Array[] = [];
  nowMs = 1000;

  constructor(limits: Partial<SessionLimits> = {}, implicit: readonly string[] = [], maxChanges?: number) {
    this.addresses = new ResourceSet(addressType, maxChanges);
    this.session = this.another(limits, implicit);
  }

  another(limits: Partial<SessionLimits> = {}, implicit: readonly string[] = []): DeltaSession {
    const sets = new Map([this.policies, this.addresses, this.roots].map((set) => [set.typeUrl, set]));
    return new DeltaSession(sets, this.encoder, implicit, { ...adsLimits, ...limits });
  }

  request(typeUrl: string, fields: Partial<DeltaRequest> = {}): SessionFault | null {
    return this.session.onRequest({ ...emptyRequest(typeUrl, ""), ...fields }, this.nowMs);
  }

  /** Policies are asked for and answered, so that addresses need not wait. */
  withPolicies(): this {
    this.request(authorizationType);
    this.request(addressType);
    this.acknowledgeAll();
    return this;
  }

  /** The next response in words, or null. */
  next(session: DeltaSession = this.session): Readonly<Seen> | null {
    const out = session.next(this.nowMs);
    if (out === null) return null;
    if ("kind" in out) throw new Error(out.message);
    this.sent.push(out.bytes);
    const { typeUrl, nonce, resources, removedResources, controlPlane } = fromBinary(
      DeltaDiscoveryResponseSchema,
      out.bytes,
    );
    expect(controlPlane?.identifier).toBe("fairlead/test");
    expect(nonce).toBe(out.nonce);
    for (const each of resources) {
      expect(each.resource?.typeUrl).toBe(typeUrl);
      expect(each.resource?.value).toEqual(value(`${each.name} ${each.version}`));
    }
    const type = typeUrl.slice(typeUrl.lastIndexOf(".") + 1);
    const names = resources.map((each) => `${each.name}@${each.version}`).sort();
    return { type, typeUrl, nonce, names, removed: removedResources.sort() };
  }

  acknowledge(seen: Seen | null, fields: Partial<DeltaRequest> = {}, session = this.session): void {
    if (seen === null) throw new Error("nothing to acknowledge");
    const answer = { ...emptyRequest(seen.typeUrl, seen.nonce), ...fields };
    expect(session.onRequest(answer, this.nowMs)).toBeNull();
  }

  acknowledgeAll(): string[] {
    const seen: string[] = [];
    for (let next = this.next(); next !== null; next = this.next()) {
      seen.push(words(next));
      this.acknowledge(next);
    }
    return seen;
  }
}

interface Seen {
  readonly type: string;
  readonly typeUrl: string;
  readonly nonce: string;
  readonly names: string[];
  readonly removed: string[];
}

function words(seen: Seen | null): string {
  if (seen === null) return "nothing";
  return [seen.type, ...seen.names, ...seen.removed.map((name) => `-${name}`)].join(" ");
}

describe("the first request of a type", () => {
  test("is answered at once, even when there is nothing", () => {
    const bench = new Bench();
    bench.request(authorizationType);
    expect(words(bench.next())).toBe("Authorization");
    bench.request(addressType);
    expect(words(bench.next())).toBe("Address");
    expect(bench.next()).toBeNull();
  });

  test("is answered when the type is unknown here", () => {
    const bench = new Bench();
    bench.request("type.googleapis.com/envoy.config.cluster.v3.Cluster");
    expect(words(bench.next())).toBe("Cluster");
  });

  test("without names is for everything", () => {
    const bench = new Bench().withPolicies();
    bench.addresses.apply([resource("a", "1"), resource("b", "1")], []);
    expect(words(bench.next())).toBe("Address a@1 b@1");
  });

  test("may name * instead", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("a", "1")], []);
    bench.request(authorizationType);
    bench.request(addressType, { resourceNamesSubscribe: ["*"] });
    expect(bench.acknowledgeAll()).toEqual(["Authorization", "Address a@1"]);
  });

  test("with * taken and given back is on demand: an empty answer", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("a", "1")], []);
    bench.request(authorizationType);
    bench.request(addressType, { resourceNamesSubscribe: ["*"], resourceNamesUnsubscribe: ["*"] });
    expect(bench.acknowledgeAll()).toEqual(["Authorization", "Address"]);
    bench.addresses.apply([resource("a", "2")], []);
    expect(bench.next()).toBeNull();
  });

  test("may carry the nonce of another stream", () => {
    const bench = new Bench();
    bench.request(authorizationType, { responseNonce: "of old" });
    expect(words(bench.next())).toBe("Authorization");
  });

  test("after a reconnect: what is held is not sent again, what is old is, what is gone is removed", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("same", "1"), resource("old", "2"), resource("new", "1")], []);
    bench.request(authorizationType);
    bench.request(addressType, {
      initialResourceVersions: { same: "1", old: "1", gone: "1", unversioned: "" },
    });
    expect(bench.acknowledgeAll()).toEqual(["Authorization", "Address new@1 old@2 -gone -unversioned"]);
  });

  test("after a reconnect with everything as it was is answered with nothing in it", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("same", "1")], []);
    bench.request(authorizationType);
    bench.request(addressType, { initialResourceVersions: { same: "1" } });
    expect(bench.acknowledgeAll()).toEqual(["Authorization", "Address"]);
  });
});

describe("a change", () => {
  test("sends what changed and nothing else, removals by name", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("a", "1"), resource("b", "1"), resource("c", "1")], []);
    bench.withPolicies();
    bench.addresses.apply([resource("b", "2"), resource("c", "1"), resource("d", "1")], ["a"]);
    expect(bench.acknowledgeAll()).toEqual(["Address b@2 d@1 -a"]);
  });

  test("that leaves every version as it was sends nothing", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("a", "1")], []);
    bench.withPolicies();
    expect(bench.addresses.apply([resource("a", "1")], ["never"])).toBe(false);
    expect(bench.next()).toBeNull();
  });

  test("a resource that came and went between two looks is not mentioned", () => {
    const bench = new Bench().withPolicies();
    bench.addresses.apply([resource("brief", "1")], []);
    bench.addresses.apply([], ["brief"]);
    expect(bench.next()).toBeNull();
    bench.addresses.apply([resource("brief", "2")], []);
    bench.addresses.apply([resource("stays", "1")], ["brief"]);
    expect(words(bench.next())).toBe("Address stays@1");
  });

  test("a resource that went and came back is sent, not removed", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("a", "1")], []);
    bench.withPolicies();
    bench.addresses.apply([], ["a"]);
    bench.addresses.apply([resource("a", "1")], []);
    expect(words(bench.next())).toBe("Address a@1");
  });

  test("changes gather while a response is unanswered, and become one", () => {
    const bench = new Bench().withPolicies();
    bench.addresses.apply([resource("a", "1")], []);
    const first = bench.next();
    for (let version = 2; version < 20; version++) bench.addresses.apply([resource("a", `${version}`)], []);
    bench.addresses.apply([resource("b", "1")], []);
    expect(bench.next()).toBeNull();
    bench.acknowledge(first);
    expect(bench.acknowledgeAll()).toEqual(["Address a@19 b@1"]);
  });

  test("two who lack the same are sent the same bytes, encoded once", () => {
    const bench = new Bench();
    const other = bench.another();
    for (const session of [bench.session, other])
      for (const typeUrl of [authorizationType, addressType])
        session.onRequest(emptyRequest(typeUrl, ""), bench.nowMs);
    for (const change of [[], [resource("a", "1")], [resource("a", "2"), resource("b", "1")]]) {
      bench.addresses.apply(change, []);
      bench.acknowledgeAll();
      const mine = bench.sent.at(-1);
      for (let seen = bench.next(other); seen !== null; seen = bench.next(other))
        bench.acknowledge(seen, {}, other);
      expect(bench.sent.at(-1)).toBe(mine as Uint8Array);
    }
  });
});

describe("policies and workloads", () => {
  test("policies go out first, whatever was asked for first", () => {
    const bench = new Bench();
    bench.policies.apply([resource("ns/p", "1")], []);
    bench.addresses.apply([resource("w", "1")], []);
    bench.request(addressType);
    expect(bench.next()).toBeNull();
    bench.request(authorizationType);
    expect(bench.acknowledgeAll()).toEqual(["Authorization ns/p@1", "Address w@1"]);
  });

  test("who asks for addresses alone is answered, a moment later", () => {
    const bench = new Bench();
    bench.request(addressType);
    expect(bench.next()).toBeNull();
    expect(bench.session.deadlineMs(bench.nowMs)).toBe(bench.nowMs + adsLimits.policiesFirstMs);
    bench.nowMs += adsLimits.policiesFirstMs;
    expect(words(bench.next())).toBe("Address");
  });

  test("a change of both: the policy, then the workload", () => {
    const bench = new Bench().withPolicies();
    bench.addresses.apply([resource("w", "2")], []);
    bench.policies.apply([resource("ns/p", "1")], []);
    expect(bench.acknowledgeAll()).toEqual(["Authorization ns/p@1", "Address w@2"]);
  });

  test("a workload waits while policies cannot be sent", () => {
    const bench = new Bench().withPolicies();
    bench.policies.apply([resource("ns/p", "1")], []);
    const first = bench.next();
    bench.policies.apply([resource("ns/q", "1")], []);
    bench.addresses.apply([resource("w", "2")], []);
    expect(bench.next()).toBeNull();
    bench.acknowledge(first);
    expect(bench.acknowledgeAll()).toEqual(["Authorization ns/q@1", "Address w@2"]);
  });

  test("a policy is removed after the workloads that named it", () => {
    const bench = new Bench();
    bench.policies.apply([resource("ns/p", "1")], []);
    bench.withPolicies();
    bench.policies.apply([resource("ns/q", "1")], ["ns/p"]);
    bench.addresses.apply([resource("w", "2")], []);
    expect(bench.acknowledgeAll()).toEqual(["Authorization ns/q@1", "Address w@2", "Authorization -ns/p"]);
  });

  test("so it is after a reconnect", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("w", "2")], []);
    bench.request(authorizationType, { initialResourceVersions: { "ns/gone": "1" } });
    expect(bench.acknowledgeAll()).toEqual(["Authorization"]);
    bench.request(addressType, { initialResourceVersions: { w: "1" } });
    expect(bench.acknowledgeAll()).toEqual(["Address w@2", "Authorization -ns/gone"]);
  });

  test("a policy that came back before its removal could be told is not removed", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("w", "2")], []);
    bench.request(authorizationType, { initialResourceVersions: { "ns/p": "1" } });
    bench.acknowledgeAll();
    bench.policies.apply([resource("ns/p", "2")], []);
    bench.request(addressType);
    expect(bench.acknowledgeAll()).toEqual(["Authorization ns/p@2", "Address w@2"]);
  });

  test("roots are bound to no order", () => {
    const bench = new Bench();
    bench.roots.apply([resource("trust", "1")], []);
    bench.request(addressType);
    bench.request(trustBundleType);
    expect(words(bench.next())).toBe("TrustBundle trust@1");
  });
});

describe("answers of the client", () => {
  test("a refusal is kept and shown, and the resource is not sent again until it changes", () => {
    const bench = new Bench().withPolicies();
    bench.policies.apply([resource("ns/bad", "1")], []);
    const seen = bench.next();
    bench.acknowledge(seen, { errorDetail: { code: 0, message: "ns/bad: unknown action" } });
    expect(bench.next()).toBeNull();
    const status = () => bench.session.status().find((each) => each.typeUrl === authorizationType);
    expect(status()).toMatchObject({ refused: true, refusals: 1, sentRevision: 1, acknowledgedRevision: 0 });
    expect(status()?.lastRefusal?.message).toBe("ns/bad: unknown action");
    bench.policies.apply([resource("ns/bad", "2")], []);
    expect(bench.acknowledgeAll()).toEqual(["Authorization ns/bad@2"]);
    expect(status()).toMatchObject({ refused: false, acknowledgedRevision: 2, behind: false });
    expect(status()?.lastRefusal?.message).toBe("ns/bad: unknown action");
  });

  test("a refusal is kept to a bound", () => {
    const bench = new Bench();
    bench.request(authorizationType);
    bench.acknowledge(bench.next(), { errorDetail: { code: 0, message: "x".repeat(100_000) } });
    expect(bench.session.status()[0]?.lastRefusal?.message).toHaveLength(adsLimits.maxErrorChars);
  });

  test("an answer to an earlier response is ignored; the names beside it are not", () => {
    const bench = new Bench().withPolicies();
    bench.addresses.apply([resource("a", "1")], []);
    const first = bench.next();
    bench.acknowledge(first);
    bench.addresses.apply([resource("a", "2")], []);
    const second = bench.next();
    bench.addresses.apply([resource("a", "3")], []);
    bench.acknowledge(first, { errorDetail: { code: 0, message: "late" }, resourceNamesSubscribe: ["none"] });
    expect(bench.next()).toBeNull();
    bench.acknowledge(second);
    expect(words(bench.next())).toBe("Address a@3 -none");
    expect(bench.session.status().find((each) => each.typeUrl === addressType)).toMatchObject({
      stale: 1,
      refusals: 0,
    });
  });

  test("who does not answer loses the stream", () => {
    const bench = new Bench();
    bench.request(authorizationType);
    bench.next();
    expect(bench.session.deadlineMs(bench.nowMs)).toBe(bench.nowMs + adsLimits.acknowledgeTimeoutMs);
    bench.nowMs += adsLimits.acknowledgeTimeoutMs - 1;
    expect(bench.session.tick(bench.nowMs)).toBeNull();
    bench.nowMs += 1;
    expect(bench.session.tick(bench.nowMs)?.kind).toBe("timeout");
  });
});

describe("on demand", () => {
  function onDemand(implicit: readonly string[] = []): Bench {
    const bench = new Bench({}, implicit);
    const vip = { aliases: ["/10.0.0.9"] };
    const member = { groups: ["shop/db.shop", "node:edge-1"] };
    bench.addresses.apply(
      [
        resource("shop/db.shop", "1", vip),
        resource("uid-1", "1", { aliases: ["/10.0.0.1"], ...member }),
        resource("uid-2", "1", { aliases: ["/10.0.0.2"], groups: ["shop/db.shop"] }),
        resource("uid-3", "1", { aliases: ["/10.0.0.3"] }),
      ],
      [],
    );
    bench.request(authorizationType);
    bench.request(addressType, { resourceNamesSubscribe: ["*"], resourceNamesUnsubscribe: ["*"] });
    return bench;
  }

  function ask(bench: Bench, ...resourceNamesSubscribe: string[]): string[] {
    bench.request(addressType, { resourceNamesSubscribe });
    return bench.acknowledgeAll();
  }

  test("a uid is answered with the workload", () => {
    const bench = onDemand();
    bench.acknowledgeAll();
    expect(ask(bench, "uid-3")).toEqual(["Address uid-3@1"]);
  });

  test("an address is answered under the resource's name, and called removed so that ztunnel's lookup ends", () => {
    const bench = onDemand();
    bench.acknowledgeAll();
    expect(ask(bench, "/10.0.0.3")).toEqual(["Address uid-3@1 -/10.0.0.3"]);
  });

  test("a service by name or VIP brings its workloads", () => {
    const bench = onDemand();
    bench.acknowledgeAll();
    expect(ask(bench, "shop/db.shop")).toEqual(["Address shop/db.shop@1 uid-1@1 uid-2@1"]);
    const other = onDemand();
    other.acknowledgeAll();
    expect(ask(other, "/10.0.0.9")).toEqual(["Address shop/db.shop@1 uid-1@1 uid-2@1 -/10.0.0.9"]);
  });

  test("an unknown name is called removed, and sent when it comes to be", () => {
    const bench = onDemand();
    bench.acknowledgeAll();
    expect(ask(bench, "/10.9.9.9")).toEqual(["Address -/10.9.9.9"]);
    bench.addresses.apply([resource("uid-9", "1", { aliases: ["/10.9.9.9"] })], []);
    expect(bench.acknowledgeAll()).toEqual(["Address uid-9@1"]);
  });

  test("a name asked for again is answered again", () => {
    const bench = onDemand();
    bench.acknowledgeAll();
    ask(bench, "uid-3");
    expect(ask(bench, "uid-3")).toEqual(["Address uid-3@1"]);
  });

  test("changes of what was asked for are sent, others are not", () => {
    const bench = onDemand();
    bench.acknowledgeAll();
    ask(bench, "/10.0.0.9");
    bench.addresses.apply([resource("uid-3", "2")], []);
    expect(bench.acknowledgeAll()).toEqual([]);
    bench.addresses.apply([resource("uid-2", "2", { groups: ["shop/db.shop"] })], ["uid-1"]);
    expect(bench.acknowledgeAll()).toEqual(["Address uid-2@2 -uid-1"]);
    bench.addresses.apply([resource("uid-4", "1", { groups: ["shop/db.shop"] })], []);
    expect(bench.acknowledgeAll()).toEqual(["Address uid-4@1"]);
    bench.addresses.apply([resource("uid-4", "2", { groups: [] })], []);
    expect(bench.acknowledgeAll()).toEqual(["Address -uid-4"]);
  });

  test("a VIP that moves takes the lookup along", () => {
    const bench = onDemand();
    bench.acknowledgeAll();
    ask(bench, "/10.0.0.9");
    bench.addresses.apply(
      [resource("shop/db.shop", "2"), resource("shop/web", "1", { aliases: ["/10.0.0.9"] })],
      [],
    );
    expect(bench.acknowledgeAll()).toEqual(["Address shop/web@1 -shop/db.shop -uid-1 -uid-2"]);
  });

  test("a name given back is not kept up to date", () => {
    const bench = onDemand();
    bench.acknowledgeAll();
    ask(bench, "uid-3");
    bench.request(addressType, { resourceNamesUnsubscribe: ["uid-3"] });
    bench.addresses.apply([resource("uid-3", "2")], []);
    expect(bench.acknowledgeAll()).toEqual([]);
    expect(ask(bench, "uid-3")).toEqual(["Address uid-3@2"]);
  });

  test("the workloads of a client's own node come unasked", () => {
    const bench = onDemand(["node:edge-1"]);
    expect(bench.acknowledgeAll()).toEqual(["Authorization", "Address uid-1@1"]);
    bench.addresses.apply([resource("uid-5", "1", { groups: ["node:edge-1"] })], []);
    expect(bench.acknowledgeAll()).toEqual(["Address uid-5@1"]);
  });

  test("after a reconnect, names and versions are taken up again", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("uid-1", "2"), resource("uid-2", "1")], []);
    bench.request(authorizationType);
    bench.request(addressType, {
      resourceNamesSubscribe: ["*", "uid-1", "uid-2", "uid-3"],
      resourceNamesUnsubscribe: ["*"],
      initialResourceVersions: { "uid-1": "1", "uid-3": "1" },
    });
    expect(bench.acknowledgeAll()).toEqual(["Authorization", "Address uid-1@2 uid-2@1 -uid-3"]);
  });
});

describe("between everything and names", () => {
  test("* taken later brings all that is not held", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("a", "1"), resource("b", "1")], []);
    bench.request(authorizationType);
    bench.request(addressType, { resourceNamesSubscribe: ["a"] });
    expect(bench.acknowledgeAll()).toEqual(["Authorization", "Address a@1"]);
    bench.request(addressType, { resourceNamesSubscribe: ["*"] });
    expect(bench.acknowledgeAll()).toEqual(["Address b@1"]);
  });

  test("* given back leaves the names", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("a", "1"), resource("b", "1")], []);
    bench.request(authorizationType);
    bench.request(addressType, { resourceNamesSubscribe: ["*", "a"] });
    expect(bench.acknowledgeAll()).toEqual(["Authorization", "Address a@1 b@1"]);
    bench.request(addressType, { resourceNamesUnsubscribe: ["*"] });
    expect(bench.acknowledgeAll()).toEqual(["Address a@1"]);
    bench.addresses.apply([resource("a", "2"), resource("b", "2")], []);
    expect(bench.acknowledgeAll()).toEqual(["Address a@2"]);
  });

  test("a name given back under * is sent again: the client may have dropped it", () => {
    const bench = new Bench();
    bench.addresses.apply([resource("a", "1"), resource("b", "1")], []);
    bench.request(authorizationType);
    bench.request(addressType, { resourceNamesSubscribe: ["*", "a"] });
    bench.acknowledgeAll();
    bench.request(addressType, { resourceNamesUnsubscribe: ["a"] });
    expect(bench.acknowledgeAll()).toEqual(["Address a@1"]);
  });
});

describe("bounds", () => {
  test("a big change goes in parts of bounded size, one at a time; the first response of a type goes whole", () => {
    const bench = new Bench({ responseBytes: 300, firstResponseBytes: 100_000 });
    const many = (version: string) =>
      Array.from({ length: 20 }, (_, index) => resource(`name-${index}`, version));
    bench.addresses.apply(many("1"), []);
    bench.request(authorizationType);
    bench.request(addressType);
    expect(bench.acknowledgeAll()).toHaveLength(2);
    bench.addresses.apply(many("2"), []);
    const sizes: number[] = [];
    const names = new Set<string>();
    for (let seen = bench.next(); seen !== null; seen = bench.next()) {
      expect(bench.next()).toBeNull();
      sizes.push(bench.sent.at(-1)?.length ?? 0);
      for (const name of seen.names) names.add(name);
      bench.acknowledge(seen);
    }
    expect(names.size).toBe(20);
    expect(sizes.length).toBeGreaterThan(4);
    // The head of a response stands beside what the bound counts.
    for (const size of sizes) expect(size).toBeLessThan(300 + 150);
  });

  test("a change in the middle of parts is sent after them", () => {
    const bench = new Bench({ responseBytes: 1 });
    bench.withPolicies();
    bench.addresses.apply([resource("a", "1"), resource("b", "1")], []);
    const first = bench.next();
    bench.addresses.apply([resource("a", "2")], ["b"]);
    bench.acknowledge(first);
    expect([words(first), ...bench.acknowledgeAll()]).toEqual([
      "Address a@1",
      "Address b@1",
      "Address a@2",
      "Address -b",
    ]);
  });

  test("floods, names and types are bounded", () => {
    const flood = new Bench({ requests: { burst: 3, perSecond: 1 } });
    for (let count = 0; count < 3; count++) expect(flood.request(authorizationType)).toBeNull();
    expect(flood.request(authorizationType)?.kind).toBe("flood");
    flood.nowMs += 2000;
    expect(flood.request(authorizationType)).toBeNull();

    const bounds = new Bench({
      maxNamesPerStream: 2,
      maxTypesPerStream: 2,
      maxNameChars: 50,
      maxInitialVersions: 1,
    });
    expect(bounds.request("")?.message).toContain("without a type");
    expect(bounds.request("t", { resourceNamesSubscribe: ["x".repeat(51)] })?.message).toContain("too long");
    expect(bounds.request("t", { resourceNamesUnsubscribe: ["x".repeat(51)] })?.message).toContain(
      "too long",
    );
    expect(bounds.request("x".repeat(51))?.message).toContain("too long");
    expect(bounds.request("t", { initialResourceVersions: { a: "1", b: "1" } })?.message).toContain(
      "initial",
    );
    expect(bounds.request("t", { resourceNamesSubscribe: ["a", "b"] })).toBeNull();
    expect(bounds.request("u", { resourceNamesSubscribe: ["c"] })?.message).toContain("too many names");
    expect(bounds.request("t", { resourceNamesUnsubscribe: ["a"] })).toBeNull();
    expect(bounds.request("u", { resourceNamesSubscribe: ["c"] })).toBeNull();
    expect(bounds.request("v")?.message).toContain("too many types");
  });

  test("a subscriber behind all that is remembered has to begin again; one that is not goes on", () => {
    const bench = new Bench({}, [], 10).withPolicies();
    bench.addresses.apply([resource("a", "0")], []);
    const unanswered = bench.next();
    for (let version = 1; version < 20; version++) bench.addresses.apply([resource("a", `${version}`)], []);
    bench.acknowledge(unanswered);
    expect(bench.session.next(bench.nowMs)).toMatchObject({ kind: "behind" });
    const other = bench.another();
    for (const typeUrl of [authorizationType, addressType])
      other.onRequest(emptyRequest(typeUrl, ""), bench.nowMs);
    for (let seen = bench.next(other); seen !== null; seen = bench.next(other))
      bench.acknowledge(seen, {}, other);
    bench.addresses.apply(
      Array.from({ length: 50 }, (_, index) => resource(`b${index}`, "1")),
      [],
    );
    expect(bench.next(other)?.names).toHaveLength(50);
  });
});

/** As they come by wire; of each map entry its bytes. */
function entriesOf(entries: readonly (readonly [string, string])[]): HeldEntries {
  const bytes: number[] = [];
  const bounds: number[] = [];
  for (const each of entries) {
    bounds.push(bytes.length);
    for (const [tag, text] of [[0x0a, each[0]] as const, [0x12, each[1]] as const])
      bytes.push(tag, text.length, ...value(text));
    bounds.push(bytes.length);
  }
  return new HeldEntries(Uint8Array.from(bytes), Uint32Array.from(bounds));
}

describe("whoever comes back with much", () => {
  /** What a client is told that holds all of `held`, looked at first or not. */
  function told(
    isLooked: boolean,
    held: readonly string[],
    between: (bench: Bench) => void,
  ): readonly string[] {
    const bench = new Bench({ responseBytes: 200 });
    const names = ["a", "b", "c", "d", "e", "f"];
    bench.addresses.apply(
      names.map((name) => resource(name, "1")),
      [],
    );
    bench.addresses.apply([resource("b", "2")], ["c"]);
    bench.request(authorizationType);
    bench.acknowledgeAll();
    const first = {
      ...emptyRequest(addressType, ""),
      initialResourceVersions: isLooked ? {} : Object.fromEntries(held.map((name) => [name, "1"])),
      ...(isLooked ? { heldEntries: entriesOf(held.map((name) => [name, "1"])) } : {}),
    };
    const looked = isLooked ? runSteps(bench.session.look(first)) : first;
    between(bench);
    expect(bench.session.onRequest(looked, bench.nowMs)).toBeNull();
    const seen: string[] = [];
    for (let next = bench.next(); next !== null; next = bench.next()) {
      seen.push(...next.names, ...next.removed.map((name) => `-${name}`));
      bench.acknowledge(next);
    }
    return seen.sort();
  }

  const cases: Readonly<Record<string, (bench: Bench) => void>> = {
    "nothing happens in between": () => {},
    "what was gone comes back": (bench) => void bench.addresses.apply([resource("c", "9")], []),
    "what was there goes": (bench) => void bench.addresses.apply([], ["d"]),
    "what was there goes and comes back": (bench) => {
      bench.addresses.apply([], ["d", "a"]);
      bench.addresses.apply([resource("d", "1"), resource("a", "3")], []);
    },
  };
  for (const [name, between] of Object.entries(cases))
    test(`is told the same when it was looked at in steps before: ${name}`, () => {
      for (const held of [["a", "b", "c", "d"], ["c", "x", "y"], ["a", "b", "d", "e", "f"], []])
        expect(told(true, held, between), held.join()).toEqual(told(false, held, between));
    });

  test("has what is gone in parts of bounded size", () => {
    const bench = new Bench({ responseBytes: 1_000, firstResponseBytes: 1_000_000 });
    bench.addresses.apply([resource("a", "1")], []);
    bench.request(authorizationType);
    bench.acknowledgeAll();
    const held = new Map(Array.from({ length: 500 }, (_, at) => [`gone-${at}`, "1"]));
    const heldEntries = entriesOf([...held]);
    const looked = runSteps(bench.session.look({ ...emptyRequest(addressType, ""), heldEntries }));
    expect(bench.session.onRequest(looked, bench.nowMs)).toBeNull();
    const removed: string[] = [];
    let parts = 0;
    for (let next = bench.next(); next !== null; next = bench.next(), parts++) {
      removed.push(...next.removed);
      bench.acknowledge(next);
    }
    expect(removed.sort()).toEqual([...held.keys()].sort());
    expect(parts).toBeGreaterThan(5);
    expect(Math.max(...bench.sent.slice(-parts).map(({ length }) => length))).toBeLessThan(1_300);
  });

  test("is refused beyond the bound, looked at or not", () => {
    const bench = new Bench({ maxInitialVersions: 2 });
    const heldEntries = entriesOf([
      ["a", ""],
      ["b", ""],
      ["c", ""],
    ]);
    const looked = runSteps(bench.session.look({ ...emptyRequest(addressType, ""), heldEntries }));
    expect(bench.session.onRequest(looked, bench.nowMs)?.message).toBe("too many initial versions");
  });
});
