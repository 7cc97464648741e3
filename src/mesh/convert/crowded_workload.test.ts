/** What selects one workload has a bound: each of it goes to every node with the workload. */
import { describe, expect, test } from "bun:test";
import { meshLimits } from "../../base/limits/mesh.ts";
import { createReferenceEngine } from "../../policy/reference.ts";
import { convert, document } from "../testing/convert_text.ts";
import { ip } from "../testing/fixture.ts";

const cart = document("WorkloadEntry", "shop/cart", "labels: {app: cart} | {address: 10.0.0.1}");
const policies = (count: number): readonly string[] =>
  Array.from({ length: count }, (_, at) =>
    document(
      "AuthorizationPolicy",
      `shop/p${String(at).padStart(4, "0")}`,
      "| {selector: {matchLabels: {app: cart}}, rules: [{}]}",
    ),
  );
const services = (count: number): readonly string[] =>
  Array.from({ length: count }, (_, at) =>
    document(
      "ServiceEntry",
      `shop/s${at}`,
      `| {hosts: [s${at}.example], resolution: STATIC, ports: [{number: 80, name: a, protocol: TCP}], workloadSelector: {labels: {app: cart}}}`,
    ),
  );

describe("policies that select one workload", () => {
  const most = meshLimits.maxPoliciesPerWorkload;

  test("as many as may be are all there", () => {
    const { errors, workloads } = convert([cart, ...policies(most)]);
    expect(errors).toEqual([]);
    expect(workloads[0]?.authorizationPolicies.length).toBe(most);
  });

  test("one more is refused by name, and where it is in force all the same everything is denied", () => {
    const { errors, workloads, policies: made } = convert([cart, ...policies(most + 2)]);
    expect(errors.map(({ resource, message }) => `${resource}: ${message}`)).toEqual(
      [most, most + 1].map(
        (at) =>
          `AuthorizationPolicy shop/p${String(at).padStart(4, "0")}: it selects WorkloadEntry shop/cart, which more than ${most} policies select`,
      ),
    );
    const [workload] = workloads;
    if (workload === undefined) throw new Error("no workload");
    expect(workload.authorizationPolicies.length).toBe(most);
    const engine = createReferenceEngine({ missingPolicy: "deny" });
    engine.update(made);
    expect(engine.missing(workload)).toEqual([]);
    const connection = { sourceIp: ip("10.0.0.2"), sourceIdentity: null, destinationIp: ip("10.0.0.1") };
    expect(engine.decide(workload, { ...connection, destinationPort: 80 }).allowed).toBe(false);
  });
});

test("services of one workload: one more than may be is refused by name", () => {
  const most = meshLimits.maxServicesPerWorkload;
  const { errors, workloads } = convert([cart, ...services(most + 1)]);
  expect(errors.map(({ message }) => message)).toEqual([
    `it selects WorkloadEntry shop/cart, which would be in more than ${most} services`,
  ]);
  expect(workloads[0]?.services.size).toBe(most);
});
