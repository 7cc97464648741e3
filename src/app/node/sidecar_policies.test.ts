import { describe, expect, test } from "bun:test";
import { proxyLimits } from "../../base/limits/proxy.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { type Authorization, emptyMatch } from "../../mesh/authorization.ts";
import { ip, workload } from "../../mesh/testing/fixture.ts";
import { createReferenceEngine } from "../../policy/reference.ts";
import { SidecarPolicies } from "./sidecar_policies.ts";

const place = { file: "f", line: 1, column: 1 };

/** Denies whatever comes. */
function denial(name: string, scope: Authorization["scope"] = "NAMESPACE"): Authorization {
  const clauses = [{ matches: [{ ...emptyMatch, destinationPorts: [8080] }] }];
  const rules = [{ clauses, location: place }];
  return { name, namespace: "shop", scope, action: "DENY", dryRun: false, rules, location: place };
}

function stage() {
  const world = new MemoryWorld(1);
  const { clock } = world.machine("m", { addresses: ["10.0.0.1"] }).start();
  const policies = new SidecarPolicies(clock, "shop/web", () =>
    createReferenceEngine({ missingPolicy: "deny" }),
  );
  const held = new Map<string, Authorization>();
  const web = { ...workload("web"), namespace: "shop", name: "web", authorizationPolicies: ["shop/late"] };
  return {
    policies,
    pass: (ms: number) => world.run(world.nowMs + ms),
    give: (...given: readonly Authorization[]) => {
      for (const policy of given) held.set(`shop/${policy.name}`, policy);
      policies.expect(given, []);
      policies.engine.update(held.values());
    },
    takeAway: (name: string) => {
      held.delete(`shop/${name}`);
      policies.expect([], [`shop/${name}`]);
      policies.engine.update(held.values());
    },
    allows: (of = web) =>
      policies.engine.decide(of, {
        sourceIp: ip("10.0.0.9"),
        sourceIdentity: null,
        destinationIp: ip("10.0.0.3"),
        destinationPort: 8080,
      }).allowed,
    web,
  };
}

describe("policies of a workload with the application inside its tunnel", () => {
  test("what requests are decided by is not decided by connection, and for other workloads as ever", () => {
    const { policies, give, allows, web } = stage();
    give(denial("late"));
    expect(allows()).toBe(false);
    policies.read(new Set(["shop/late"]));
    expect(allows()).toBe(true);
    expect(policies.engine.missing(web)).toEqual([]);
    expect(allows({ ...web, name: "other", uid: "other" })).toBe(false);
    // One that hands its calls to a waypoint behind it reads nothing itself.
    expect(allows({ ...web, uid: "t", applicationTunnel: { protocol: "PROXY", port: 15088 } })).toBe(false);
    policies.read(new Set());
    expect(allows()).toBe(false);
  });

  test("a policy whose document is not here yet is waited for, and then enforced by connection", async () => {
    const { policies, give, takeAway, allows, pass } = stage();
    policies.read(new Set(["shop/late"]));
    const seen: number[] = [];
    policies.changes.subscribe((count) => void seen.push(count));
    give(denial("late"), denial("new"));
    expect(allows()).toBe(true);
    await pass(proxyLimits.policyWaitMs - 1);
    expect(allows()).toBe(true);
    await pass(1);
    expect(allows()).toBe(false);
    // It came, and open connections are decided again by what is left.
    policies.read(new Set(["shop/late", "shop/new"]));
    expect(allows()).toBe(true);
    takeAway("new");
    policies.read(new Set(["shop/late"]));
    expect(allows()).toBe(true);
    expect(seen.length).toBeGreaterThanOrEqual(3);
  });

  test("documents that were read without it do not hold it up: one that was refused is enforced at once", () => {
    const { policies, give, allows } = stage();
    policies.read(new Set(["shop/late"]));
    give(denial("late"), denial("refused"));
    policies.read(new Set(["shop/late"]));
    expect(allows()).toBe(false);
  });

  test("what PeerAuthentication comes to is of no document, and is never waited for", () => {
    const { policies, give, allows } = stage();
    policies.read(new Set(["shop/late"]));
    give(denial("late"), denial("istio_converted_static_strict"));
    expect(allows()).toBe(false);
  });

  test("a policy that the workload names and that is nowhere is missing", () => {
    const { policies, allows, web } = stage();
    policies.read(new Set());
    expect(policies.engine.missing(web)).toEqual(["shop/late"]);
    expect(allows()).toBe(false);
  });
});
