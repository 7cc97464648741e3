import { describe, expect, test } from "bun:test";
import { joinLimits } from "../../base/limits/agent.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { documentType } from "../../wire/ads/delta.ts";
import { encodeDocumentMessage } from "../../wire/messages/mesh_resources.ts";
import { HeldDocuments } from "./held_documents.ts";
import { WaypointDocumentResources } from "./waypoint_documents.ts";

const policy = (name: string, action = "ALLOW") =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: shop}\nspec:\n` +
  `  targetRefs: [{kind: Service, name: cart}]\n  action: ${action}\n  rules: [{}]\n`;

function scene(refusedPolicies: "deny" | "skip" = "deny") {
  const world = new MemoryWorld(1);
  const { clock } = world.host("waypoint", { addresses: ["10.0.0.1"] });
  const held = new HeldDocuments(refusedPolicies);
  const resourcesOf = new WaypointDocumentResources(clock, held);
  const give = async (
    texts: Readonly<Record<string, string | Uint8Array>>,
    removed: readonly string[] = [],
  ) => {
    const resources = Object.entries(texts).map(([name, text]) => ({
      name,
      version: "1",
      resource: {
        typeUrl: documentType,
        value:
          typeof text === "string"
            ? encodeDocumentMessage({
                key: name,
                text,
                place: { file: "mesh.yaml", line: 10, column: 1 },
                createdMs: 5n,
              })
            : text,
      },
    }));
    const rejected: { readonly name: string; readonly reason: string }[] = [];
    let isDone = false;
    resourcesOf
      .apply({ typeUrl: documentType, nonce: "n", resources, removed: [...removed] })
      .then((value) => {
        rejected.push(...value);
        isDone = true;
      });
    await world.runUntil(() => isDone, world.nowMs + 10_000);
    return rejected;
  };
  const names = () => held.inForce.value?.documents.map(({ metadata }) => metadata.name);
  return { held, give, names };
}

describe("documents of the control plane, at a waypoint", () => {
  test("are not known before the first answer, and are when there are none", async () => {
    const { held, give } = scene();
    expect(held.inForce.value).toBeNull();
    await give({});
    expect(held.inForce.value).toEqual({ documents: [], refused: [] });
  });

  test("have their author's places and the control plane's time", async () => {
    const { held, give } = scene();
    expect(await give({ "AuthorizationPolicy shop/a": policy("a") })).toEqual([]);
    expect(held.inForce.value?.documents[0]).toMatchObject({
      location: { file: "mesh.yaml", line: 10 },
      metadata: { name: "a", createdMs: 5 },
    });
    expect([...held.resources(documentType)].map(({ name }) => name)).toEqual(["AuthorizationPolicy shop/a"]);
  });

  test("one that cannot be read leaves its last good version in force, and is refused with its line", async () => {
    const { give, names } = scene();
    await give({ "AuthorizationPolicy shop/a": policy("a"), "AuthorizationPolicy shop/b": policy("b") });
    const rejected = await give({ "AuthorizationPolicy shop/a": policy("a", "ALOW") });
    expect(rejected).toMatchObject([
      { name: "AuthorizationPolicy shop/a", reason: expect.stringContaining("mesh.yaml:15:") },
    ]);
    expect(names()).toEqual(["a", "b"]);
  });

  test("one that never could be read denies what it may have denied, or nothing, as the host says", async () => {
    for (const [refusedPolicies, count] of [
      ["deny", 1],
      ["skip", 0],
    ] as const) {
      const { held, give } = scene(refusedPolicies);
      await give({ "AuthorizationPolicy shop/a": policy("a", "ALOW") });
      expect(held.inForce.value?.refused).toHaveLength(count);
      await give({ "AuthorizationPolicy shop/a": policy("a") });
      expect(held.inForce.value?.refused).toEqual([]);
    }
  });

  test("a list of two documents, or of none, is not one document, and nothing of it is in force", async () => {
    const { give, names } = scene();
    const item = (name: string) => `- ${policy(name).trimEnd().replaceAll("\n", "\n  ")}\n`;
    for (const items of [[], [item("a"), item("b")]]) {
      const list = `apiVersion: v1\nkind: List\nitems:${items.length === 0 ? " []" : ""}\n${items.join("")}`;
      expect(await give({ "AuthorizationPolicy shop/a": list })).toEqual([
        { name: "AuthorizationPolicy shop/a", reason: "it is not one document" },
      ]);
    }
    expect(names()).toEqual([]);
  });

  test("what is removed is gone", async () => {
    const { give, names } = scene();
    await give({ "AuthorizationPolicy shop/a": policy("a"), "AuthorizationPolicy shop/b": policy("b") });
    await give({}, ["AuthorizationPolicy shop/a"]);
    expect(names()).toEqual(["b"]);
  });

  test("bytes that are none, another's name and two in one are refused", async () => {
    const { give, names } = scene();
    const rejected = await give({
      one: Uint8Array.of(0xff),
      "AuthorizationPolicy shop/b": policy("a"),
      "AuthorizationPolicy shop/c": "",
    });
    expect(rejected.map(({ name }) => name)).toEqual([
      "one",
      "AuthorizationPolicy shop/b",
      "AuthorizationPolicy shop/c",
    ]);
    expect(names()).toEqual([]);
  });

  test("bytes are bounded, and room comes back with what goes", async () => {
    const { give } = scene();
    const only = (length: number) => ({ length }) as Uint8Array;
    const [refused] = await give({ a: only(joinLimits.maxResourceBytes + 1) });
    expect(refused?.reason).toContain("which is the limit");
  });
});

test("a document that is called otherwise than its resource is none", async () => {
  const { give } = scene();
  const value = encodeDocumentMessage({
    key: "AuthorizationPolicy shop/p",
    text: policy("p"),
    place: { file: "mesh.yaml", line: 10, column: 1 },
    createdMs: 5n,
  });
  expect(await give({ "AuthorizationPolicy shop/q": value })).toEqual([
    { name: "AuthorizationPolicy shop/q", reason: "it calls itself AuthorizationPolicy shop/p" },
  ]);
});
