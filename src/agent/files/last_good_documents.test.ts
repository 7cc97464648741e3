import { expect, test } from "bun:test";
import { TimeSlice } from "../../base/time_slice.ts";
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
