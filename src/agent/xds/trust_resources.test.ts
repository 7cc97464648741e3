import { expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { type Delivery, trustBundleType } from "../../wire/ads/delta.ts";
import { TrustBundleSchema } from "../../wire/messages/fairlead.gen.ts";
import { encodeMessage, type MessageInitShape, newMessage } from "../../wire/messages/message.ts";
import { TrustResources, type TrustSink } from "./trust_resources.ts";

function bench(change: Partial<TrustSink> = {}) {
  const done: string[] = [];
  const sink: TrustSink = {
    setRoots: (roots) => void done.push(`roots ${roots}`),
    setCrls: async (lists) => {
      done.push(...lists.map(({ name, bytes }) => `${name} ${bytes}`));
      return [];
    },
    keepRoots: async (roots) => {
      done.push(`kept ${roots}`);
      return null;
    },
    moveToIssuer: (id) => void done.push(`move to ${id}`),
    ...change,
  };
  const trust = new TrustResources(sink);
  const give = (fields: MessageInitShape<typeof TrustBundleSchema> | Uint8Array, name = "trust") => {
    const value =
      fields instanceof Uint8Array
        ? fields
        : encodeMessage(TrustBundleSchema, newMessage(TrustBundleSchema, fields));
    const resource = { name, version: "1", resource: { typeUrl: trustBundleType, value } };
    return trust.apply({ resources: [resource], removed: [] } as unknown as Delivery);
  };
  return { done, give, held: () => [...trust.resources()].length };
}

const bundle = { rootsPem: "R", crls: [Uint8Array.of(1), Uint8Array.of(2)] };

test("a bundle is in force and kept before it is taken; a CA is moved to where one is named", async () => {
  const { done, give, held } = bench();
  expect(held()).toBe(0);
  expect(await give(bundle)).toEqual([]);
  const taken = ["roots R", "control plane, list 1 1", "control plane, list 2 2", "kept R"];
  expect([done, held()]).toEqual([taken, 1]);
  await give({ ...bundle, wantedIssuerKeyId: "ab" });
  expect([done, held()]).toEqual([[...taken, ...taken, "move to ab"], 1]);
});

test("what cannot be taken is refused with its reason, and not held", async () => {
  const list = { source: "control plane, list 1", state: "refused" };
  const cases: readonly (readonly [Partial<TrustSink>, string])[] = [
    [
      {
        setRoots: () => {
          throw new MeshError("configuration", "local", "no root");
        },
      },
      "no root",
    ],
    [{ setCrls: async () => [{ ...list, message: "no list" }] as never }, "control plane, list 1: no list"],
    [{ setCrls: async () => [{ ...list, message: null }] as never }, "control plane, list 1: refused"],
    [{ keepRoots: async () => "the disk is full" }, "the disk is full"],
  ];
  for (const [change, reason] of cases) {
    const { give, held, done } = bench(change);
    expect(await give({ ...bundle, wantedIssuerKeyId: "ab" })).toEqual([{ name: "trust", reason }]);
    expect([held(), done.includes("move to ab")]).toEqual([0, false]);
  }
  const { give, held, done } = bench();
  expect(await give(bundle, "other")).toMatchObject([{ name: "other" }]);
  expect(await give(Uint8Array.of(0xff))).toHaveLength(1);
  expect([held(), done]).toEqual([0, []]);
});
