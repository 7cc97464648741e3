import { expect, test } from "bun:test";
import { stateLimits } from "../../base/limits/control.ts";
import { meshLimits } from "../../base/limits/mesh.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import type { StoredDocument } from "../records/document_versions.ts";
import { overShare } from "./shares.ts";

function documents(namespace: string, count: number, text = "x"): StoredDocument[] {
  return Array.from({ length: count }, (_, index) => {
    const name = `d${index}`;
    const key = `ServiceEntry ${namespace}/${name}`;
    return { key, namespace, name, kind: "ServiceEntry", text, source: "f", line: 1, createdMs: 0 };
  });
}

function over(...of: Parameters<typeof overShare>) {
  return runSteps(overShare(...of));
}

const { maxDocuments } = meshLimits;

test("a namespace has half of what the others leave, of documents and of bytes", () => {
  const half = documents("a", maxDocuments / 2);
  expect(over([], half, "root")).toBeNull();
  expect(over([], documents("a", maxDocuments / 2 + 1), "root")?.message).toContain("namespace a");
  expect(over(half, [...half, ...documents("b", maxDocuments / 4)], "root")).toBeNull();
  expect(over(half, [...half, ...documents("b", maxDocuments / 4 + 1)], "root")?.message).toContain(
    "namespace b",
  );
  const large = "x".repeat(256 * 1024);
  const share = stateLimits.maxDocumentBytesInForce / 2 / large.length;
  expect(over([], documents("a", share, large), "root")).toBeNull();
  expect(over([], documents("a", share + 1, large), "root")?.message).toContain("bytes");
});

test("who had more before may keep it and make it less; the mesh's own namespace has the whole", () => {
  const many = documents("a", maxDocuments - 10);
  expect(over(many, many.slice(1), "root")).toBeNull();
  expect(over(many, [...many, ...documents("b", 1)], "root")).toBeNull();
  expect(over(many, [...many, ...documents("a2", 9)], "root")?.message).toContain("namespace a2");
  expect(over([], documents("root", maxDocuments), "root")).toBeNull();
  expect(over([], documents("root", maxDocuments + 1), "root")?.message).toContain("more than");
});
