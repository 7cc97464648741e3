import { describe, expect, test } from "bun:test";
import { middlewareLimits } from "../../../base/limits/middleware.ts";
import { parseDocuments } from "../parse.ts";

function read(spec: string) {
  const text = `apiVersion: fairlead.dev/v1\nkind: Middleware\nmetadata: {name: keys, namespace: shop}\nspec:\n${spec.replace(/^/gm, "  ")}\n`;
  const { documents, errors } = parseDocuments([{ path: "f", text }]);
  return {
    document: documents[0],
    errors: errors.map(({ location, message }) => `${location.line}:${location.column} ${message}`),
  };
}

const target = "targetRefs: [{kind: Service, name: cart}]\n";

describe("Middleware", () => {
  test("with every field", () => {
    const { document, errors } = read(
      `${target}file: api_key.ts\norder: -5\ntimeout: 250ms\nonFailure: Continue\nconfig: {header: x-key}`,
    );
    expect(errors).toEqual([]);
    expect(document).toMatchObject({
      kind: "Middleware",
      targetRefs: [{ value: "Service cart" }],
      file: { value: "api_key.ts" },
      order: -5,
      timeoutMs: 250,
      onFailure: "Continue",
      config: new Map([["header", "x-key"]]),
    });
  });

  test("what it does not say: it refuses when it fails, after a second", () => {
    expect(read(`${target}file: a.ts`).document).toMatchObject({
      order: 0,
      timeoutMs: middlewareLimits.timeoutMs,
      onFailure: "Deny",
    });
  });

  test("a file is a name, never a path", () => {
    for (const file of ["../a.ts", "/etc/a.ts", "a/b.ts", ".a.ts", "a.sh", "a.ts?x", '""'])
      expect(read(`${target}file: ${file}`).errors[0]).toStartWith("6:9 ");
    expect(read(`${target}file: ${"a".repeat(middlewareLimits.maxFileName - 3)}.ts`).errors).toEqual([]);
    expect(read(`${target}file: ${"a".repeat(middlewareLimits.maxFileName - 2)}.ts`).errors).toHaveLength(1);
  });

  test("targets and file are needed; fields that there are not are refused", () => {
    expect(read("file: a.ts").errors.join()).toContain("spec.targetRefs is missing");
    expect(read(target).errors.join()).toContain("spec.file is missing");
    expect(read(`${target}file: a.ts\nonFailure: Ignore`).errors.join()).toContain("onFailure");
    expect(read(`${target}file: a.ts\nfiel: b`).errors.join()).toContain("fiel");
  });
});
