import { expect, test } from "bun:test";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { context, document } from "../../mesh/testing/convert_text.ts";
import { DocumentFiles } from "./document_files.ts";
import { LastGoodDocuments } from "./last_good_documents.ts";

test("what is said of a document that did not change, and is good, stays the same object", async () => {
  const { clock } = new MemoryWorld(1).host("node", { addresses: ["10.0.0.1"] });
  const documents = new DocumentFiles(clock);
  const lastGood = new LastGoodDocuments(context, "deny");
  const policy = (name: string, action: string) =>
    document("AuthorizationPolicy", `shop/${name}`, `| {action: ${action}, rules: [{}]}`);
  const update = async (...texts: readonly string[]) => {
    const files = await documents.parse(new Map([["mesh.yaml", texts.join("---\n")]]));
    return (await lastGood.update(files, new Map(), new TimeSlice(clock))).documents;
  };
  const [kept, changed] = await update(policy("a", "DENY"), policy("b", "DENY"));
  expect([kept?.accepted, changed?.accepted]).toEqual([true, true]);
  const again = await update(policy("a", "DENY"), policy("b", "ALLOW"));
  expect(again.map(({ resource }) => resource)).toEqual([kept?.resource ?? "", changed?.resource ?? ""]);
  expect([again[0] === kept, again[1] === changed]).toEqual([true, false]);
});

test("what the only file held stays when that has more documents than there may be", async () => {
  const { clock } = new MemoryWorld(1).host("node", { addresses: ["10.0.0.1"] });
  const documents = new DocumentFiles(clock, 2);
  const lastGood = new LastGoodDocuments(context, "deny");
  const update = async (...names: readonly string[]) => {
    const texts = names.map((name) =>
      document("AuthorizationPolicy", `shop/${name}`, "| {action: DENY, rules: [{}]}"),
    );
    const files = await documents.parse(new Map([["mesh.yaml", texts.join("---\n")]]));
    const result = await lastGood.update(files, new Map(), new TimeSlice(clock));
    const policies = result.conversion.policies.map(({ name }) => name).sort();
    return [policies, result.errors.length, result.documents.map((one) => one.lastGoodInForce)];
  };
  expect(await update("a", "b")).toEqual([["a", "b"], 0, [false, false]]);
  expect(await update("a", "b", "c")).toEqual([["a", "b"], 1, [true, true]]);
  expect(await update("a", "c")).toEqual([["a", "c"], 0, [false, false]]);
});
