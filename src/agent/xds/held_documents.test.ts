import { expect, test } from "bun:test";
import { joinLimits } from "../../base/limits/agent.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import type { DeltaResource } from "../../wire/ads/delta.ts";
import { HeldDocuments, type ReadDocument } from "./held_documents.ts";

const read: ReadDocument = { document: { kind: "Telemetry" } as MeshDocument, refused: null, reason: "" };

/** So many bytes, of which there are none. */
const resource = (name: string, bytes = 1): DeltaResource =>
  ({ name, version: "1", resource: { typeUrl: "t", value: { length: bytes } } }) as unknown as DeltaResource;

test("so many documents are held; one of the bound may change, and one that goes makes room", () => {
  const held = new HeldDocuments("deny");
  for (let index = 0; index < joinLimits.maxDocuments; index++) {
    expect(held.refuse("t", resource(`d${index}`))).toBeNull();
    held.take("t", resource(`d${index}`), read);
  }
  const full = `this host holds ${joinLimits.maxDocuments} documents, which is the limit`;
  expect([held.refuse("t", resource("new")), held.refuse("other", resource("d0"))]).toEqual([full, full]);
  expect(held.refuse("t", resource("d0"))).toBeNull();
  held.forget("t", "d7");
  held.forget("t", "d7");
  expect(held.refuse("t", resource("new"))).toBeNull();
  held.take("t", resource("new"), read);
  expect(held.refuse("t", resource("newer"))).toBe(full);
});

test("so many bytes are held, to the last one", () => {
  const held = new HeldDocuments("deny");
  const { maxResourceBytes } = joinLimits;
  held.take("t", resource("a", maxResourceBytes - 10), read);
  expect(held.refuse("t", resource("b", 10))).toBeNull();
  const full = `this host holds ${maxResourceBytes - 10} bytes of documents, which is the limit`;
  expect(held.refuse("t", resource("b", 11))).toBe(full);
  held.forget("t", "a");
  expect(held.refuse("t", resource("b", maxResourceBytes))).toBeNull();
});
