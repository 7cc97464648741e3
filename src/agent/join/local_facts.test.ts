import { expect, test } from "bun:test";
import { mergeFacts } from "./local_facts.ts";
import type { JoinedNode } from "./node_file.ts";

const membership = {
  ...{
    node: "edge-1",
    trustDomain: "mesh.example",
    clusterId: "edge",
    rootNamespace: "roots",
    network: "net-1",
  },
  ...{ workloads: ["shop/cart"], control: "control.example:15012" },
} as unknown as JoinedNode["membership"];
const local = { nodeName: "", network: "mine", clusterId: "c", trustDomain: "td", rootNamespace: "r" };

test("what the mesh says holds, and another name that this host was told is said once", () => {
  for (const [nodeName, told] of [
    ["", 0],
    ["edge-1", 0],
    ["edge-2", 1],
  ] as const) {
    const lines: unknown[] = [];
    const facts = mergeFacts(membership, { ...local, nodeName }, { log: (...line) => void lines.push(line) });
    expect(facts).toEqual({
      ...{ nodeName: "edge-1", trustDomain: "mesh.example", clusterId: "edge" },
      ...{ rootNamespace: "roots", network: "net-1" },
    });
    expect([nodeName, lines.length]).toEqual([nodeName, told]);
    if (told === 1)
      expect(lines[0]).toMatchObject([
        "warn",
        "join",
        expect.any(String),
        { joined: "edge-1", told: "edge-2" },
      ]);
  }
});
