/** A tenant that changes without end holds up its own changes alone: not another's, not the mesh's, and not what takes trust away. */
import { expect, test } from "bun:test";
import { controlAdminLimits } from "../../base/limits/control.ts";
import { ChangeRates } from "./change_rates.ts";
import type { Grant } from "./roles.ts";
import { Session } from "./session.ts";
import { ControlWorld, policy } from "./testing/control_world.ts";

function world(): ControlWorld {
  const made = new ControlWorld();
  made.addTenant("blue", "bluemark");
  made.addTenant("red", "redmark");
  return made;
}

const { changeRate, withdrawalRate } = controlAdminLimits;

test("past its rate a tenant's changes are refused with 429 and when to come again, whichever change it is", async () => {
  const control = world();
  const apply = (who: string, namespace: string) =>
    control.ask(who, "POST", "/v1/apply", {
      documents: [{ path: "p.yaml", text: policy(namespace, "one") }],
      dryRun: true,
    });
  const revoke = (who: string) =>
    control.ask(who, "POST", "/v1/revocations", { kind: "node", value: "bluemark-node", reason: "lost" });
  for (let n = 0; n < changeRate.burst; n++) expect((await apply("blue", "blue")).status).toBe(200);
  const refused = await apply("blue", "blue");
  expect([refused.status, refused.text]).toEqual([429, expect.stringContaining("namespace blue")]);
  expect(refused.headers.get("retry-after")).toBe("1");
  for (const [method, path, body] of [
    ["POST", "/v1/delete", { keys: ["AuthorizationPolicy blue/one"] }],
    ["DELETE", "/v1/documents/AuthorizationPolicy/blue/one", undefined],
    ["POST", "/v1/rollback", { version: 0 }],
    ["POST", "/v1/join-tokens", { binding: { kind: "workload", workload: "blue/w" } }],
    ["DELETE", "/v1/revocations/node/bluemark-node", undefined],
  ] as const)
    expect((await control.ask("blue", method, path, body)).status).toBe(429);
  // Others, the mesh, reads, and what takes trust away go on.
  expect((await apply("red", "red")).status).toBe(200);
  expect((await apply("root", "blue")).status).toBe(200);
  expect((await control.ask("blue", "GET", "/v1/documents")).status).toBe(200);
  expect((await revoke("blue")).status).toBeLessThan(300);
  // And the other way round.
  for (let n = 0; n < withdrawalRate.burst; n++) await control.ask("red", "DELETE", "/v1/join-tokens/none");
  expect((await control.ask("red", "DELETE", "/v1/join-tokens/none")).status).toBe(429);
  expect((await apply("red", "red")).status).toBe(200);
  for (let n = 0; n < 2 * changeRate.burst; n++) expect((await apply("root", "blue")).status).toBe(200);
}, 300_000);

test("who has several namespaces has the rate of each, also where that of one is used up", () => {
  const rates = new ChangeRates();
  const sources = { clock: { now: () => 0 } };
  const sessionOf = (...namespaces: readonly string[]): Session => {
    const grants: readonly Grant[] = [{ role: "namespace-admin", namespaces }];
    return Object.assign(Object.create(Session.prototype), { grants, sources, subject: { name: "ada" } });
  };
  const changes = (...namespaces: readonly string[]): number => {
    const session = sessionOf(...namespaces);
    for (let count = 0; ; count++)
      try {
        rates.charge(session, "POST", "/v1/apply");
      } catch {
        return count;
      }
  };
  expect(changes("blue")).toBe(changeRate.burst);
  // What is used up by another administrator of blue is not used up of green.
  expect(changes("blue", "green")).toBe(changeRate.burst);
  expect(changes("red", "yellow")).toBe(2 * changeRate.burst);
});

test("the root namespace and that of nodes are the mesh's, as what has no namespace is", () => {
  const sources = { rootNamespace: "istio-system" };
  const session: Session = Object.assign(Object.create(Session.prototype), { sources });
  for (const namespace of [null, "", "istio-system", "fairlead-nodes"])
    expect([namespace, session.scopeOf(namespace)]).toEqual([namespace, { kind: "mesh" }]);
  expect(session.scopeOf("shop")).toEqual({ kind: "namespace", namespace: "shop" });
});
