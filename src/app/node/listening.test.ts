import { expect, test } from "bun:test";
import { MetricRegistry } from "../../base/metrics.ts";
import { writeMetrics } from "../../base/metrics_text.ts";
import type { NodeCapture } from "./capture.ts";
import { pendingCapture, registerCaptureMetrics } from "./listening.ts";

test("metrics say whether capture is in force, and count each repair once, however often they are asked for", () => {
  const metrics = new MetricRegistry();
  let capture: Pick<NodeCapture, "inForce" | "repairs"> | null = null;
  registerCaptureMetrics(metrics, () => capture as NodeCapture | null);
  const told = () =>
    [
      ...writeMetrics(metrics, "prometheus").matchAll(/^fairlead_capture_(in_force|repairs_total) (\d+)$/gm),
    ].map(([, name, value]) => `${name} ${value}`);
  expect(told()).toEqual(["in_force 0", "repairs_total 0"]);
  capture = { inForce: true, repairs: 2 };
  for (let asked = 0; asked < 2; asked++) expect(told()).toEqual(["in_force 1", "repairs_total 2"]);
  capture = { inForce: false, repairs: 3 };
  expect(told()).toEqual(["in_force 0", "repairs_total 3"]);
});

test("readiness waits for capture until its rules are installed, and for what it says itself then", () => {
  expect(pendingCapture(null)).toEqual(["capture rules"]);
  expect(pendingCapture({ pending: "a confirmation" } as NodeCapture)).toEqual(["a confirmation"]);
  expect(pendingCapture({ pending: null } as NodeCapture)).toEqual([]);
});
