import { expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { identityLimits, stateLimits } from "../../base/limits/control.ts";
import { silentLogger } from "../../base/log.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import { grpcCode } from "../../wire/grpc/status.ts";
import { Refusals } from "../identity/refusals.ts";
import { Strangers } from "./strangers.ts";
import { openState, StateWorld } from "./testing/simulated_state.ts";

test("strangers age out only each other, and silence no known caller", async () => {
  const state = await openState();
  const metrics = new MetricRegistry();
  const { clock } = new StateWorld().host;
  const refusals = new Refusals({
    clock,
    logger: silentLogger,
    metrics,
    audit: state.audit,
    strangers: state.strangers,
  });
  const refused = { action: "caller.authenticate", target: "", reason: "r", detail: "d" };
  for (let count = 0; count < 10 * identityLimits.auditRate.burst; count++)
    refusals.refuse(grpcCode.unauthenticated, "no", { ...refused, actor: "198.51.100.7" });
  refusals.refuse(grpcCode.permissionDenied, "no", { ...refused, actor: "spiffe://cluster.local/ns/a/sa/b" });
  expect(state.audit.read({ limit: 10 }).map(({ actor }) => actor)).toEqual([
    "spiffe://cluster.local/ns/a/sa/b",
  ]);
  expect(state.strangers.read(1_000).length).toBe(identityLimits.auditRate.burst);

  const entry = {
    atMs: 1,
    action: "x",
    target: "t",
    outcome: "refused",
    detail: "",
    before: null,
    after: null,
  } as const;
  state.transaction(() => {
    for (let count = 0; count < stateLimits.maxStrangers + 10; count++)
      state.strangers.append({ ...entry, actor: `${count}` });
  });
  let rows = 0;
  let page = state.strangers.read(1_000);
  expect(page[0]?.actor).toBe(`${stateLimits.maxStrangers + 9}`);
  for (; page.length > 0; page = state.strangers.read(1_000, page.at(-1)?.id)) rows += page.length;
  expect(rows).toBe(stateLimits.maxStrangers);
  expect(state.audit.head().id).toBe(1);
});

test("what strangers were refused can wait: with little room left nothing of it is written", () => {
  const written: string[] = [];
  const database = {
    transaction: (work: () => void) => work(),
    run: (sql: string) => void written.push(sql.split(" ")[0] ?? ""),
  };
  let isFull = false;
  const room = {
    demand: () => {
      if (isFull) throw new MeshError("disk_full", "local", "the state is nearly full");
    },
  };
  const strangers = new Strangers(database as unknown as ConstructorParameters<typeof Strangers>[0], room);
  const entry = { atMs: 1, actor: "a", action: "x", target: "t", outcome: "refused", detail: "" } as const;
  strangers.append({ ...entry, before: null, after: null });
  expect(written).toEqual(["INSERT", "DELETE"]);
  isFull = true;
  expect(() => strangers.append({ ...entry, before: null, after: null })).toThrow("nearly full");
  expect(written.length).toBe(2);
});
