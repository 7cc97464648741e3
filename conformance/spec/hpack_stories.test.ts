import { expect, test } from "bun:test";
import { join } from "node:path";

test("header blocks that other implementations encoded are decoded, and ours of the same (hpack-test-case)", async () => {
  const program = join(import.meta.dir, "hpack_stories.ts");
  const child = Bun.spawn([process.execPath, program], { stdout: "pipe", stderr: "inherit" });
  const output = await new Response(child.stdout).text();
  expect(await child.exited, output).toBe(0);
  // A folder that is empty has nothing wrong in it either.
  expect(Number(/^(\d+) stories /m.exec(output)?.[1] ?? 0)).toBeGreaterThanOrEqual(20);
});
