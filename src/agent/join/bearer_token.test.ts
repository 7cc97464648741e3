import { describe, expect, test } from "bun:test";
import { joinLimits } from "../../base/limits/agent.ts";
import { Secret } from "../../base/settings/secret.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import { readBearer } from "./bearer_token.ts";

const source = { kind: "file", path: "/token" } as const;

describe("a bearer token", () => {
  test("is read again each time, without the line's end that tools write", async () => {
    const files = new MemoryFiles();
    files.put("/token", "one\n");
    expect(await readBearer(source, files)).toBe("one");
    files.put("/token", "  two\r\n");
    expect(await readBearer(source, files)).toBe("two");
    expect(await readBearer({ kind: "literal", token: new Secret("three") }, files)).toBe("three");
  });

  test("what is none is refused before it is sent, and no message shows a part of it", async () => {
    const files = new MemoryFiles();
    expect(await outcomeOf(readBearer(source, files))).toThrow(/the token cannot be read/);
    const bad = ["", "\n", "sec ret", "sec\nret", "sécret", "x".repeat(joinLimits.maxTokenBytes + 1)];
    for (const text of bad) {
      files.put("/token", text);
      const failed = readBearer(source, files);
      expect(await outcomeOf(failed)).toThrow("/token does not hold one token");
      expect(await outcomeOf(failed)).not.toThrow(/sec/);
    }
    files.put("/token", "x".repeat(joinLimits.maxTokenBytes));
    expect((await readBearer(source, files)).length).toBe(joinLimits.maxTokenBytes);
  });
});
