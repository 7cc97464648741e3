import { expect, test } from "bun:test";
import type { RefusedPolicy } from "../documents/refused_policy.ts";
import type { ConversionContext } from "./conversion_context.ts";
import { convertRefusedPolicy } from "./refused_policy.ts";

const context: ConversionContext = {
  trustDomain: "cluster.local",
  clusterId: "",
  rootNamespace: "istio-system",
  network: "",
};
const location = { file: "policy.yaml", line: 7, column: 3 };
const refused: RefusedPolicy = {
  kind: "AuthorizationPolicy",
  name: "few",
  namespace: "shop",
  selector: new Map([["app", { value: "cart", at: location }]]),
  location,
};

test("a refused AuthorizationPolicy denies everything to those it may have been for", () => {
  const policy = convertRefusedPolicy(refused, context);
  expect(policy).toEqual({
    name: "fairlead_refused_authorizationpolicy_few",
    namespace: "shop",
    scope: "WORKLOAD_SELECTOR",
    action: "DENY",
    dryRun: false,
    rules: [{ clauses: [], location }],
    location,
  });
});

test("a refused PeerAuthentication denies plaintext alone, as STRICT does", () => {
  const [rule, ...others] = convertRefusedPolicy({ ...refused, kind: "PeerAuthentication" }, context).rules;
  expect(others).toEqual([]);
  const match = rule?.clauses[0]?.matches[0];
  expect([rule?.clauses.length, rule?.clauses[0]?.matches.length]).toEqual([1, 1]);
  expect(match?.notPrincipals).toEqual([{ kind: "presence" }]);
  const elsewhere = Object.entries(match ?? {}).filter(([field]) => field !== "notPrincipals");
  expect(elsewhere.every(([, values]) => values.length === 0)).toBe(true);
});

test("without a selector it is for its namespace, in the root namespace for the mesh", () => {
  const scope = (namespace: string) =>
    convertRefusedPolicy({ ...refused, namespace, selector: null }, context).scope;
  expect([scope("shop"), scope("istio-system")]).toEqual(["NAMESPACE", "GLOBAL"]);
});
