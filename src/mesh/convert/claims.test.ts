import { expect, test } from "bun:test";
import { nodeNamespace } from "../identity.ts";
import { convert, document, refusalsOf } from "../testing/convert_text.ts";

test("no document is in the namespace of the hosts", () => {
  const documents = [
    document("WorkloadEntry", `${nodeNamespace}/edge-1`, "{address: 10.0.0.1, serviceAccount: edge-1}"),
    document("AuthorizationPolicy", `${nodeNamespace}/all`, "{}"),
    document("PeerAuthentication", `${nodeNamespace}/all`, "{mtls: {mode: STRICT}}"),
    document("WorkloadEntry", "shop/cart", "{address: 10.0.0.2, serviceAccount: edge-1}"),
  ];
  const conversion = convert(documents);
  expect(refusalsOf(conversion).length).toBe(3);
  for (const refusal of refusalsOf(conversion)) expect(refusal).toContain("reserved for the hosts");
  expect(conversion.workloads.map((workload) => workload.identity.uri)).toEqual([
    "spiffe://cluster.local/ns/shop/sa/edge-1",
  ]);
});
