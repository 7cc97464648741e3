import { expect, test } from "bun:test";
import { silentLogger } from "../../base/log.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import { peculiarProvider } from "../../pki/crypto/peculiar_provider.ts";
import { StateWorld } from "../state/testing/simulated_state.ts";
import { AuditExports } from "./audit_exports.ts";

test("rows are kept for the receiver that is furthest behind, whatever the others have", async () => {
  const w = new StateWorld();
  const state = await w.open();
  const exports = new AuditExports({
    host: w.host,
    logger: silentLogger,
    metrics: new MetricRegistry(),
    provider: peculiarProvider(),
    state,
    targets: {
      filePath: "/state/audit.jsonl",
      // There is no listener.
      syslog: { transport: "unix", path: "/absent.sock" },
      otlp: null,
    },
    hostName: "control",
    version: "1",
  });
  const entry = { atMs: 1, actor: "a", action: "x", target: "t", outcome: "ok", detail: "" } as const;
  for (let n = 0; n < 5; n++) state.audit.append({ ...entry, before: null, after: null });
  await w.world.run(w.world.nowMs + 5_000);
  expect(exports.status.map(({ target, exportedId }) => [target, exportedId])).toEqual([
    ["file", 5],
    ["syslog", 0],
  ]);
  expect(exports.hold).toEqual({ afterId: 0, waitsFor: "syslog" });
  await w.world.settle(exports.close());
});
