/** Which members of a group there are, and who comes first. */
import { expect, test } from "bun:test";
import { controlLimits } from "../../base/limits/control.ts";
import { silentLogger } from "../../base/log.ts";
import { parseDocuments } from "../../mesh/documents/parse.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { Caller } from "../identity/caller.ts";
import { StateWorld } from "../state/testing/simulated_state.ts";
import { GroupMembers } from "./group_members.ts";

const { documents } = parseDocuments([
  {
    path: "f",
    text: ["aa/apes", "zz/shop"]
      .map((key) => {
        const [namespace, name] = key.split("/");
        return `apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: {template: {serviceAccount: x}}\n`;
      })
      .join("---\n"),
  },
]);

test("of two that say the same address the one that came first is first, whatever their groups and names; after a restart who joined first", async () => {
  const w = new StateWorld();
  const state = await w.open();
  const { registrations } = state;
  const join = (node: string, group: string, joinedAtMs: number): Caller => {
    const registration = {
      node,
      binding: { kind: "group", group } as const,
      addresses: ["10.0.0.7"],
      network: "",
      labels: {},
      joinedAtMs,
      lastSeenMs: joinedAtMs,
      tokenId: null,
      revokedAtMs: null,
      revokeReason: null,
    };
    registrations.put(registration);
    const id = new SpiffeId("cluster.local", "fairlead-nodes", node);
    return { kind: "node", id, node, registration, serialNumber: "01", credential: "valid" };
  };
  let members = new GroupMembers(w.host.clock, registrations, silentLogger);
  const names = () => members.derive(documents).map(({ metadata }) => metadata.name);
  const shop = join("zebra", "zz/shop", 1);
  const apes = join("aardvark", "aa/apes", 2);
  members.connected(shop);
  members.connected(apes);
  expect(names()).toEqual(["shop-zebra", "apes-aardvark"]);
  // One that was away for long has lost its place.
  members.gone(shop);
  await w.world.run(w.world.nowMs + controlLimits.memberGraceMs * 2);
  members.connected(shop);
  expect(names()).toEqual(["apes-aardvark", "shop-zebra"]);
  members.close();
  members = new GroupMembers(w.host.clock, registrations, silentLogger);
  expect(names()).toEqual(["shop-zebra", "apes-aardvark"]);
  expect(members.isPresent("zebra")).toBe(true);
  members.close();
});
