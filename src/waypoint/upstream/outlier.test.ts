import { describe, expect, test } from "bun:test";
import { waypointLimits } from "../../base/limits/waypoint.ts";
import type { OutlierDetection } from "../../mesh/traffic/destination_policy.ts";
import { countOutcome, eject, newEjectionState, type Outcome, sweep } from "./outlier.ts";

const policy: OutlierDetection = {
  consecutive5xx: 3,
  consecutiveGatewayErrors: 0,
  consecutiveLocalOriginFailures: 2,
  splitLocalOrigin: false,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionPercent: 50,
  minHealthPercent: 0,
  httpErrorCodes: null,
};

function causes(own: Partial<OutlierDetection>, outcomes: readonly Outcome[]) {
  const state = newEjectionState();
  return outcomes.map((outcome) => countOutcome({ ...policy, ...own }, state, outcome));
}

const status = (...statuses: number[]): Outcome[] => statuses.map((each) => ({ status: each }));

describe("what counts", () => {
  test("the third 5xx in a row, not the second, and not with a good answer between", () => {
    expect(causes({}, status(500, 503, 500))).toEqual([null, null, "consecutive_5xx"]);
    expect(causes({}, status(500, 500, 200, 500, 500))).toEqual([null, null, null, null, null]);
    expect(causes({}, status(404, 404, 404, 404))).toEqual([null, null, null, null]);
  });

  test("gateway errors by themselves: a 500 between breaks their row", () => {
    const own = { consecutive5xx: 0, consecutiveGatewayErrors: 2 };
    expect(causes(own, status(503, 504))).toEqual([null, "consecutive_gateway_failure"]);
    expect(causes(own, status(503, 500, 503))).toEqual([null, null, null]);
  });

  test("failures without an answer are 5xx, unless they are split", () => {
    const local: Outcome[] = [{ local: "connect" }, { local: "reset" }, { local: "timeout" }];
    expect(causes({}, local)).toEqual([null, null, "consecutive_5xx"]);
    expect(causes({ splitLocalOrigin: true }, local)).toEqual([
      null,
      "consecutive_local_origin_failure",
      "consecutive_local_origin_failure",
    ]);
    expect(
      causes({ splitLocalOrigin: true }, [{ local: "connect" }, { status: 500 }, { local: "connect" }]),
    ).toEqual([null, null, null]);
  });

  test("a host that does not answer in time is as one of status 504, one that cannot be reached as 503", () => {
    const of = (local: "connect" | "reset" | "timeout", code: number) =>
      causes({ consecutive5xx: 1, httpErrorCodes: [{ from: code, to: code }] }, [{ local }])[0] ?? null;
    expect([of("timeout", 504), of("timeout", 503)]).toEqual(["consecutive_5xx", null]);
    for (const local of ["connect", "reset"] as const)
      expect([of(local, 503), of(local, 504)]).toEqual(["consecutive_5xx", null]);
  });

  test("a host that is let back in begins at nothing", () => {
    const state = newEjectionState();
    const split = { ...policy, consecutiveGatewayErrors: 3, splitLocalOrigin: true };
    for (let count = 0; count < 2; count++) countOutcome(split, state, { status: 503 });
    countOutcome(split, state, { local: "connect" });
    eject(split, state, { ejected: 0, hosts: 10, now: 0 });
    expect(sweep(state, policy.baseEjectionMs)).toBe(true);
    expect(state).toMatchObject({ ejectedUntil: null, in5xx: 0, inGateway: 0, inLocal: 0 });
    // Two more are two, not four.
    expect([503, 503].map((code) => countOutcome(split, state, { status: code }))).toEqual([null, null]);
  });

  test("statuses that the document names count, and no others", () => {
    const own = { consecutive5xx: 1, httpErrorCodes: [{ from: 429, to: 429 }] };
    expect(causes(own, status(500, 429))).toEqual([null, "consecutive_5xx"]);
  });
});

describe("how long and how many", () => {
  test("each time longer, up to the bound, and shorter again after a while in peace", () => {
    const state = newEjectionState();
    const hosts = { ejected: 0, hosts: 10 };
    expect(eject(policy, state, { ...hosts, now: 0 })).toBe(true);
    expect(state.ejectedUntil).toBe(30_000);
    expect(eject(policy, state, { ...hosts, now: 1 })).toBe(false);
    expect(sweep(state, 29_999)).toBe(false);
    expect(sweep(state, 30_000)).toBe(true);
    eject(policy, state, { ...hosts, now: 40_000 });
    expect(state.ejectedUntil).toBe(100_000);
    sweep(state, 100_000);
    sweep(state, 110_000);
    eject(policy, state, { ...hosts, now: 120_000 });
    expect(state.ejectedUntil).toBe(180_000);
    for (let i = 0; i < 50; i++) {
      state.ejectedUntil = null;
      eject(policy, state, { ...hosts, now: 0 });
    }
    expect(state.ejectedUntil).toBe(300_000);
  });

  test("no more than the share of hosts that may be out", () => {
    expect(eject(policy, newEjectionState(), { ejected: 1, hosts: 4, now: 0 })).toBe(true);
    expect(eject(policy, newEjectionState(), { ejected: 2, hosts: 4, now: 0 })).toBe(false);
    expect(
      eject({ ...policy, maxEjectionPercent: 10 }, newEjectionState(), { ejected: 0, hosts: 4, now: 0 }),
    ).toBe(false);
  });
});

test("an ejection gets longer each time, up to a bound, which a longer base moves", () => {
  const lengths = (baseEjectionMs: number, times: number): readonly number[] => {
    const state = newEjectionState();
    return Array.from({ length: times }, () => {
      expect(
        eject({ ...policy, baseEjectionMs, maxEjectionPercent: 100 }, state, {
          ejected: 0,
          hosts: 3,
          now: 1_000,
        }),
      ).toBe(true);
      const until = state.ejectedUntil ?? 0;
      state.ejectedUntil = null;
      return until - 1_000;
    });
  };
  const { maxEjectionMs } = waypointLimits;
  expect(lengths(maxEjectionMs / 3, 5)).toEqual([
    maxEjectionMs / 3,
    (2 * maxEjectionMs) / 3,
    maxEjectionMs,
    maxEjectionMs,
    maxEjectionMs,
  ]);
  expect(lengths(maxEjectionMs + 1, 2)).toEqual([maxEjectionMs + 1, maxEjectionMs + 1]);
});
