import { describe, expect, test } from "bun:test";
import { adsLimits } from "../../base/limits/rpc.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { NodeSchema } from "../../wire/messages/envoy_core.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import { readNode, skewOf } from "./node_info.ts";

const id = (name: string) => `ztunnel~10.0.0.1~${name}.shop~shop.svc.cluster.local`;

function read(fields: object = {}, name = "z") {
  return readNode(newMessage(NodeSchema, { id: id(name), ...fields }));
}

describe("what a node says of itself", () => {
  test("is read, each from its own place", () => {
    const metadata = {
      ...{ NODE_NAME: "edge-1", NAMESPACE: "bank", SERVICE_ACCOUNT: "teller" },
      ...{ ISTIO_VERSION: "1.27.0", INSTANCE_IPS: "10.0.0.7, 2001:db8::7" },
    };
    const info = read({ metadata, userAgentName: "fairlead" });
    expect({ ...info, addresses: info.addresses.map(({ text }) => text) }).toEqual({
      ...{ id: id("z"), type: "ztunnel", addresses: ["10.0.0.7", "2001:db8::7"] },
      ...{ nodeName: "edge-1", namespace: "bank", serviceAccount: "teller" },
      ...{ version: "1.27.0", layer7: "", program: "fairlead" },
    });
    expect(read()).toMatchObject({ nodeName: "", namespace: "shop", serviceAccount: "", version: "" });
  });

  test("of its addresses all are good, or the one in its id counts", () => {
    const at = (listed: string) =>
      read({ metadata: { INSTANCE_IPS: listed } }).addresses.map(({ text }) => text);
    expect(at("10.0.0.7")).toEqual(["10.0.0.7"]);
    for (const listed of ["10.0.0.7,nonsense", "nonsense", "", "10.0.0.7,"])
      expect(at(listed)).toEqual(["10.0.0.1"]);
  });

  test("is as long as its bound at the most", async () => {
    const left = adsLimits.maxNodeIdChars - id("").length;
    expect(read({}, "x".repeat(left)).id.length).toBe(adsLimits.maxNodeIdChars);
    expect(await outcomeOf((async () => read({}, "x".repeat(left + 1)))())).toThrow(
      "the node's id is too long",
    );
  });

  test("its version is compared with ours where it is this program, and with no other", () => {
    const info = (program: string, version: string) =>
      read({ userAgentName: program, metadata: { ISTIO_VERSION: version } });
    expect(skewOf(info("fairlead", "9.0.0"), "0.1.0")).toBe("newer");
    expect(skewOf(info("ztunnel", "9.0.0"), "0.1.0")).toBeNull();
  });
});
