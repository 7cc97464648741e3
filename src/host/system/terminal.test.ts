import { expect, test } from "bun:test";
import { join } from "node:path";

const module = join(import.meta.dir, "terminal.ts");
const program = `import { print } from ${JSON.stringify(module)}; print(1, "x".repeat(1_000_000) + "\\n"); print(2, "done");`;

test("a slow reader gets all of it", async () => {
  const child = Bun.spawn(["sh", "-c", `"$0" -e '${program}' | (sleep 0.3; wc -c)`, process.execPath], {
    stdout: "pipe",
  });
  expect((await new Response(child.stdout).text()).trim()).toBe("1000001");
});

test("a reader that goes away early is no failure", async () => {
  const child = Bun.spawn(
    ["sh", "-c", `("$0" -e '${program}'; echo "code $?" >&2) | head -c 1`, process.execPath],
    {
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  expect(await new Response(child.stderr).text()).toEndWith("code 0\n");
});
