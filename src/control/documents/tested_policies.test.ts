import { describe, expect, test } from "bun:test";
import { document } from "../../mesh/testing/convert_text.ts";
import { explainedState } from "../../policy/explain/explained_mesh.ts";
import { runPolicyTests } from "../../policy/explain/policy_tests.ts";
import type { ChangeRequest, ChangeResult } from "./change_request.ts";
import { owningNamespace } from "./document_diff.ts";
import type { PolicyTester } from "./tested_policies.ts";
import { admin, DocumentWorld, told } from "./testing/control_plane.ts";

const policyTester: PolicyTester = function* ({ documents, state }) {
  const words = { missingPolicy: "deny", rootNamespace: "istio-system", documents, layer7: null } as const;
  return yield* runPolicyTests(yield* explainedState(state, words));
};

function workload(name: string, ip: string): string {
  const labels = `{app: ${name.split("/")[1]}, networking.istio.io/tunnel: http}`;
  return document("WorkloadEntry", name, `labels: ${labels} | {address: ${ip}, labels: ${labels}}`);
}

function policy(name: string, spec: string): string {
  return document("AuthorizationPolicy", name, `| {${spec}}`);
}

function policyTest(name: string, tests: string): string {
  return document("PolicyTest", name, `| {tests: [${tests}]}`).replace(
    "security.istio.io/v1",
    "fairlead.dev/v1",
  );
}

const shop = [
  workload("shop/frontend", "10.0.0.1"),
  workload("shop/backend", "10.0.0.2"),
  workload("bank/teller", "10.0.0.3"),
];
const allowed = policyTest(
  "shop/callers",
  "{to: shop/backend, port: 80, allowed: [shop/frontend, bank/teller]}",
);
const denyAll = policy("shop/none", "action: DENY, rules: [{}]");

async function world(...texts: readonly string[]) {
  const w = new DocumentWorld();
  const { documents, state } = await w.documents({ policyTester });
  const apply = (given: readonly string[], request: ChangeRequest = admin): Promise<ChangeResult> =>
    w.settle(documents.apply([{ source: "f.yaml", text: given.join("---\n") }], request));
  expect(told(await apply(texts))).toBe("applied 1");
  return { w, documents, state, apply };
}

function errorsOf(result: ChangeResult): readonly string[] {
  return result.outcome === "refused"
    ? result.errors.map(
        ({ location, resource, message }) => `${location.file}:${location.line} ${resource} ${message}`,
      )
    : [];
}

const tenantOf = (namespace: string): ChangeRequest => ({
  actor: namespace,
  mayChange: (it) => owningNamespace(it) === namespace,
});

describe("a change that breaks a policy test", () => {
  test("is refused with the test's place, in a dry run too, and is in the audit log", async () => {
    const { apply, documents, state } = await world(...shop, allowed);
    for (const request of [admin, { ...admin, dryRun: true }]) {
      const result = await apply([denyAll], request);
      expect(told(result)).toBe("refused: test_failed");
      expect(errorsOf(result)[0]).toMatch(
        /^f\.yaml:\d+ PolicyTest shop\/callers shop\/frontend → shop\/backend:80 must be allowed/,
      );
    }
    expect(documents.version).toBe(1);
    expect(state.audit.read({ limit: 9 })[0]).toMatchObject({
      outcome: "refused",
      target: "PolicyTest shop/callers",
    });
  });

  test("by deleting, or by rolling back, is refused as well", async () => {
    const { apply, documents, w } = await world(
      ...shop,
      policy("shop/only", "rules: [{from: [{source: {namespaces: [shop]}}]}]"),
    );
    const denied = policyTest("shop/callers", "{to: shop/backend, port: 80, denied: [bank/teller]}");
    expect(told(await apply([denied]))).toBe("applied 2");
    expect(told(await w.settle(documents.delete(["AuthorizationPolicy shop/only"], admin)))).toBe(
      "refused: test_failed",
    );
    expect(
      told(
        await w.settle(documents.delete(["PolicyTest shop/callers", "AuthorizationPolicy shop/only"], admin)),
      ),
    ).toBe("applied 3");
  });

  test("may be insisted on, and mends itself when the test changes with it", async () => {
    const first = await world(...shop, allowed);
    expect(told(await first.apply([denyAll], { ...admin, force: true }))).toBe("applied 2");
    const second = await world(...shop, allowed);
    const mended = policyTest("shop/callers", "{to: shop/backend, port: 80, denied: [shop/frontend]}");
    expect(told(await second.apply([denyAll, mended]))).toBe("applied 2");
  });

  test("a new test that fails is refused; one that failed before holds nothing up", async () => {
    const { apply } = await world(...shop, denyAll);
    expect(told(await apply([allowed]))).toBe("refused: test_failed");
    expect(told(await apply([allowed], { ...admin, force: true }))).toBe("applied 2");
    expect(told(await apply([policy("shop/other", "rules: [{}]")]))).toBe("applied 3");
    // The test itself, changed and still failing, is as good as new.
    const again = allowed.replace("port: 80", "port: 81");
    expect(told(await apply([again]))).toBe("refused: test_failed");
  });

  test("one namespace's tests do not hold up another's changes, but the mesh's they do", async () => {
    const { apply } = await world(...shop, allowed);
    const moved = workload("bank/teller", "10.0.0.3").replace("networking.istio.io/tunnel: http", "x: y");
    const strictShop = document("PeerAuthentication", "shop/strict", "| {mtls: {mode: STRICT}}");
    expect(told(await apply([strictShop]))).toBe("applied 2");
    // Without its tunnel the teller cannot reach the backend any more: that is the bank's to decide.
    expect(told(await apply([moved], tenantOf("bank")))).toBe("applied 3");
    const meshWide = policy("istio-system/none", "action: DENY, rules: [{}]");
    expect(told(await apply([meshWide]))).toBe("refused: test_failed");
  });
});
