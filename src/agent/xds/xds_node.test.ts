import { expect, test } from "bun:test";
import { describeNode, type NodeKind } from "./xds_node.ts";

test("a host introduces itself as ztunnel does, by its address or by the one that ztunnel has for want of it", () => {
  const facts = { nodeName: "edge-1", clusterId: "c1", network: "n1" };
  const told = (instanceIp: string, more?: Readonly<Record<string, string>>, kind?: NodeKind) =>
    describeNode(
      { instanceIp, podName: "pod", podNamespace: "ns", metadata: { NETWORK: "told", TEAM: "blue" } },
      facts,
      "0.4.0",
      more,
      kind,
    );
  expect([told("10.0.0.7").id, told("").id]).toEqual([
    "ztunnel~10.0.0.7~pod.ns~ns.svc.cluster.local",
    "ztunnel~1.1.1.1~pod.ns~ns.svc.cluster.local",
  ]);
  expect(told("10.0.0.7", {}, "waypoint").id).toBe("waypoint~10.0.0.7~pod.ns~ns.svc.cluster.local");
  expect(told("10.0.0.7", { GENERATOR: "api" }).metadata).toEqual({
    NAME: "pod",
    NAMESPACE: "ns",
    INSTANCE_IPS: "10.0.0.7",
    NODE_NAME: "edge-1",
    CLUSTER_ID: "c1",
    NETWORK: "n1",
    TEAM: "blue",
    GENERATOR: "api",
  });
});
