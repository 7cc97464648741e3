import { describe, expect, test } from "bun:test";
import { waypointLimits } from "../../base/limits/waypoint.ts";
import { workload } from "../../mesh/testing/fixture.ts";
import {
  type DestinationPolicy,
  defaultDestinationPolicy,
  type OutlierDetection,
} from "../../mesh/traffic/destination_policy.ts";
import { type ChooseRequest, Cluster } from "./cluster.ts";
import type { UpstreamEndpoint, UpstreamHost } from "./upstream_host.ts";

const outlier: OutlierDetection = {
  consecutive5xx: 1,
  consecutiveGatewayErrors: 0,
  consecutiveLocalOriginFailures: 5,
  splitLocalOrigin: false,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionPercent: 100,
  minHealthPercent: 0,
  httpErrorCodes: null,
};

function dice(seed = 1): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 0x1_0000_0000;
  };
}

const random = dice();

function endpoint(name: string, fields: Partial<UpstreamEndpoint> = {}): UpstreamEndpoint {
  return { workload: workload(name), targetPort: 8080, priority: 0, weight: 1, ...fields };
}

function cluster(policy: Partial<DestinationPolicy>, ...endpoints: UpstreamEndpoint[]) {
  const told: string[] = [];
  const made = new Cluster(
    { ...defaultDestinationPolicy, ...policy },
    {
      onEjected: (host, cause) => told.push(`${host.endpoint.workload.name} out: ${cause}`),
      onReturned: (host) => told.push(`${host.endpoint.workload.name} back`),
    },
  );
  made.update(endpoints, 0);
  return { made, told };
}

const request = (fields: Partial<ChooseRequest> = {}): ChooseRequest => ({
  hash: null,
  tried: [],
  remoteLocalities: false,
  random,
  now: 0,
  ...fields,
});

const nameOf = (host: UpstreamHost | null) => host?.endpoint.workload.name ?? null;

function tally(made: Cluster, count: number, fields: Partial<ChooseRequest> = {}): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const name = nameOf(made.choose(request(fields))) ?? "none";
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

const ring = (minimumRingSize = 1024) =>
  ({ kind: "consistent-hash", key: { kind: "source" }, table: { kind: "ring", minimumRingSize } }) as const;
const maglev = {
  kind: "consistent-hash",
  key: { kind: "source" },
  table: { kind: "maglev", tableSize: 65_537 },
} as const;

describe("the balancers", () => {
  test("round robin: each in turn, by weight exactly, heavy ones not in a row", () => {
    const { made } = cluster(
      { loadBalancer: { kind: "round-robin" } },
      endpoint("a"),
      endpoint("b"),
      endpoint("c"),
    );
    expect(tally(made, 300)).toEqual({ a: 100, b: 100, c: 100 });
    const weighted = cluster(
      { loadBalancer: { kind: "round-robin" } },
      endpoint("a", { weight: 3 }),
      endpoint("b"),
    ).made;
    const order = Array.from({ length: 8 }, () => nameOf(weighted.choose(request())) ?? "").join("");
    expect(order.replaceAll("b", "")).toHaveLength(6);
    expect(order).not.toContain("aaaaa");
    expect(order).not.toContain("bb");
  });

  test("random: by weight, roughly", () => {
    const { made } = cluster(
      { loadBalancer: { kind: "random" } },
      endpoint("a", { weight: 3 }),
      endpoint("b"),
    );
    const { a = 0, b = 0 } = tally(made, 4000);
    expect(a / b).toBeGreaterThan(2.6);
    expect(a / b).toBeLessThan(3.4);
  });

  test("least request: the busy one is left alone", () => {
    const { made } = cluster({}, endpoint("a"), endpoint("b"), endpoint("c"));
    const busy = made.hosts.find((host) => nameOf(host) === "a");
    for (let i = 0; i < 10; i++) made.begun(busy as UpstreamHost);
    const { a = 0 } = tally(made, 900);
    // Chosen only when both draws are this one.
    expect(a).toBeLessThan(150);
  });

  for (const [name, loadBalancer] of [
    ["ring", ring()],
    ["maglev", maglev],
  ] as const) {
    const names = Array.from({ length: 20 }, (_, i) => `e${i}`);
    const hashes = Array.from({ length: 5000 }, (_, i) => Math.imul(i + 1, 2654435761) >>> 0);

    test(`${name}: the same hash, the same host; one host less moves few others`, () => {
      const { made } = cluster({ loadBalancer }, ...names.map((each) => endpoint(each)));
      const before = hashes.map((hash) => nameOf(made.choose(request({ hash }))));
      expect(hashes.map((hash) => nameOf(made.choose(request({ hash }))))).toEqual(before);
      made.update(
        names.slice(1).map((each) => endpoint(each)),
        0,
      );
      const after = hashes.map((hash) => nameOf(made.choose(request({ hash }))));
      const moved = hashes.filter((_, i) => before[i] !== "e0" && before[i] !== after[i]).length;
      expect(after).not.toContain("e0");
      expect(moved / hashes.length).toBeLessThan(0.08);
    });

    test(`${name}: shares are near the weights`, () => {
      const { made } = cluster(
        { loadBalancer: name === "ring" ? ring(8192) : maglev },
        endpoint("heavy", { weight: 3 }),
        endpoint("light"),
        endpoint("none", { weight: 0 }),
      );
      const counts: Record<string, number> = {};
      for (const hash of hashes) {
        const chosen = nameOf(made.choose(request({ hash }))) ?? "none";
        counts[chosen] = (counts[chosen] ?? 0) + 1;
      }
      expect(counts.none).toBeUndefined();
      expect((counts.heavy ?? 0) / hashes.length).toBeGreaterThan(0.68);
      expect((counts.heavy ?? 0) / hashes.length).toBeLessThan(0.82);
    });

    test(`${name}: another attempt is another host`, () => {
      const { made } = cluster({ loadBalancer }, endpoint("a"), endpoint("b"), endpoint("c"));
      for (const hash of hashes.slice(0, 200)) {
        const first = made.choose(request({ hash }));
        const second = made.choose(request({ hash, tried: first === null ? [] : [first] }));
        expect(second).not.toBe(first);
      }
    });
  }

  test("no endpoints, or none of weight: no host", () => {
    expect(cluster({}).made.choose(request())).toBeNull();
    expect(cluster({}, endpoint("a", { weight: 0 })).made.choose(request())).toBeNull();
  });

  test("what has no weight is not chosen either when all others have been tried", () => {
    for (const priority of [0, 1]) {
      const { made } = cluster({}, endpoint("a"), endpoint("none", { weight: 0, priority }));
      const tried = made.hosts.filter((host) => nameOf(host) === "a");
      // With a level of its own it has no share while the first is healthy, and is looked at only as what is left.
      expect(tally(made, 20, { tried, remoteLocalities: true })).toEqual({ a: 20 });
    }
  });
});

describe("ejection", () => {
  const fail = (made: Cluster, name: string, now = 0) => {
    const host = made.hosts.find((each) => nameOf(each) === name) as UpstreamHost;
    made.begun(host);
    made.ended(host, { status: 503 }, now);
  };

  test("a host that fails gets no more requests, and comes back after its time", () => {
    const { made, told } = cluster({ outlier }, endpoint("a"), endpoint("b"));
    fail(made, "a");
    expect(tally(made, 100)).toEqual({ b: 100 });
    expect(tally(made, 100, { now: 29_000 })).toEqual({ b: 100 });
    expect(Object.keys(tally(made, 100, { now: 41_000 })).sort()).toEqual(["a", "b"]);
    expect(told).toEqual(["a out: consecutive_5xx", "a back"]);
    expect(made.ejected).toBe(0);
  });

  test("with all out there is no host, and with a panic threshold there are all", () => {
    const { made } = cluster({ outlier }, endpoint("a"), endpoint("b"));
    fail(made, "a");
    fail(made, "b");
    expect(made.choose(request())).toBeNull();
    const panic = cluster(
      { outlier: { ...outlier, minHealthPercent: 60 } },
      endpoint("a"),
      endpoint("b"),
    ).made;
    fail(panic, "a");
    expect(Object.keys(tally(panic, 100)).sort()).toEqual(["a", "b"]);
    fail(panic, "b");
    expect(Object.keys(tally(panic, 100)).sort()).toEqual(["a", "b"]);
  });

  test("what is known of a host outlives a change of endpoints, and goes with the host", () => {
    const { made } = cluster({ outlier }, endpoint("a"), endpoint("b"));
    fail(made, "a");
    made.update([endpoint("a"), endpoint("b"), endpoint("c")], 0);
    expect(made.ejected).toBe(1);
    expect(tally(made, 100).a).toBeUndefined();
    made.update([endpoint("b")], 0);
    expect(made.ejected).toBe(0);
    made.update([endpoint("a"), endpoint("b")], 0);
    expect(Object.keys(tally(made, 100)).sort()).toEqual(["a", "b"]);
  });

  test("an end of a host that is gone puts none out, and counts for none", () => {
    const { made, told } = cluster({ outlier }, endpoint("a"), endpoint("b"));
    const [gone] = made.hosts as [UpstreamHost];
    made.begun(gone);
    made.update([endpoint("b")], 0);
    made.ended(gone, { status: 503 }, 0);
    expect([gone.active, made.ejected, told]).toEqual([0, 0, []]);
    expect(tally(made, 10)).toEqual({ b: 10 });
  });

  test("an end that says nothing of the host gives back what was under way", () => {
    const { made } = cluster({ outlier }, endpoint("a"), endpoint("b"));
    const [host] = made.hosts as [UpstreamHost];
    made.begun(host);
    made.ended(host, null, 0);
    expect(host.active).toBe(0);
    expect(made.ejected).toBe(0);
  });
});

describe("levels", () => {
  const near = ["a", "b", "c", "d", "e"];
  const levels = (): UpstreamEndpoint[] => [
    ...near.map((name) => endpoint(name)),
    ...["x", "y"].map((name) => endpoint(name, { priority: 3 })),
  ];
  const failFirst = (made: Cluster, count: number) => {
    for (const name of near.slice(0, count)) {
      const host = made.hosts.find((each) => nameOf(each) === name) as UpstreamHost;
      made.ended(host, { status: 500 }, 0);
    }
  };
  const far = (counts: Record<string, number>) => (counts.x ?? 0) + (counts.y ?? 0);

  test("the nearest takes all as long as it is healthy to five sevenths", () => {
    const { made } = cluster({ outlier }, ...levels());
    failFirst(made, 1);
    expect(far(tally(made, 500))).toBe(0);
  });

  test("below that the rest goes on, in proportion", () => {
    const { made } = cluster({ outlier }, ...levels());
    failFirst(made, 3);
    // 2 of 5 healthy times 1.4 is 56 %.
    const share = far(tally(made, 4000)) / 4000;
    expect(share).toBeGreaterThan(0.38);
    expect(share).toBeLessThan(0.5);
    failFirst(made, 5);
    expect(far(tally(made, 100))).toBe(100);
  });

  test("a retry leaves its level only where the policy says so", () => {
    const { made } = cluster({}, endpoint("a"), endpoint("x", { priority: 1 }));
    const tried = [made.hosts.find((host) => nameOf(host) === "a") as UpstreamHost];
    expect(nameOf(made.choose(request({ tried })))).toBe("a");
    expect(nameOf(made.choose(request({ tried, remoteLocalities: true })))).toBe("x");
  });
});

test("a new host warms up: little at first, its share in the end; the first hosts have theirs at once", () => {
  const warmup = { durationMs: 60_000, minimumPercent: 10, aggression: 1 };
  const { made } = cluster({ warmup, loadBalancer: { kind: "random" } }, endpoint("a"));
  expect(tally(made, 10)).toEqual({ a: 10 });
  made.update([endpoint("a"), endpoint("b")], 100_000);
  const early = tally(made, 2000, { now: 100_001 }).b ?? 0;
  const middle = tally(made, 2000, { now: 130_000 }).b ?? 0;
  const late = tally(made, 2000, { now: 161_500 }).b ?? 0;
  expect(early).toBeLessThan(320);
  expect(middle).toBeGreaterThan(500);
  expect(middle).toBeLessThan(830);
  expect(late).toBeGreaterThan(880);
});

test("a new host begins with its least share, and grows as its aggression says", () => {
  const shareAt = (ageMs: number, aggression: number, minimumPercent: number): number => {
    const warmup = { durationMs: 60_000, minimumPercent, aggression };
    const { made } = cluster({ warmup, loadBalancer: { kind: "random" } }, endpoint("a"));
    made.update([endpoint("a"), endpoint("b")], 100_000);
    const { b = 0, a = 1 } = tally(made, 8_000, { now: 100_000 + ageMs });
    return b / a;
  };
  // Of a weight of one: half of the time is (1/2) ** (1/aggression).
  for (const [aggression, expected] of [
    [1, 0.5],
    [2, Math.SQRT1_2],
    [0.5, 0.25],
  ] as const)
    expect(Math.abs(shareAt(30_000, aggression, 1) - expected)).toBeLessThan(0.07);
  expect(Math.abs(shareAt(10, 1, 30) - 0.3)).toBeLessThan(0.05);
});

test("tried hosts are avoided as long as there are others, and no longer", () => {
  const { made } = cluster({}, endpoint("a"), endpoint("b"), endpoint("c"));
  const [a, b, c] = made.hosts as [UpstreamHost, UpstreamHost, UpstreamHost];
  for (let i = 0; i < 50; i++) expect(made.choose(request({ tried: [a, b] }))).toBe(c);
  expect(made.choose(request({ tried: [a, b, c] }))).not.toBeNull();
});

test("of more hosts than states are kept of none is put out", () => {
  for (const [count, told] of [
    [waypointLimits.maxHostStates, 1],
    [waypointLimits.maxHostStates + 1, 0],
  ] as const) {
    const endpoints = Array.from({ length: count }, (_, index) => endpoint(`w${index}`));
    const { made, told: lines } = cluster({ outlier }, ...endpoints);
    const host = made.choose(request());
    if (host === null) throw new Error("there are hosts");
    made.begun(host);
    made.ended(host, { status: 500 }, 0);
    expect([count, lines.length]).toEqual([count, told]);
  }
});
