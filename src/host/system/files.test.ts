import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostLimits } from "../../base/limits/host.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { createBunHost } from "../bun/host.ts";

const folder = mkdtempSync(join(tmpdir(), "fairlead-files-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("what a killed process has left of a line is looked for so far, and in another program's file no further", async () => {
  const { files } = createBunHost();
  const path = join(folder, "lines");
  const { maxTornLineBytes } = hostLimits;
  const append = () => files.appendLines(path, new TextEncoder().encode("d\n"), 0o640);
  writeFileSync(path, `a\n{${"x".repeat(maxTornLineBytes - 2)}`);
  await append();
  expect(readFileSync(path, "utf8")).toBe("a\nd\n");
  const longer = `a\n{${"x".repeat(maxTornLineBytes - 1)}`;
  writeFileSync(path, longer);
  expect(await rejectionOf(append())).toMatchObject({ code: "io", blame: "local" });
  expect(readFileSync(path, "utf8")).toBe(longer);
});
