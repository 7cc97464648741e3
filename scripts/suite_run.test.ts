import { expect, test } from "bun:test";
import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beginnings, mountsIn, removeFolder, runCommand, suiteFolder } from "./suite_run.ts";

const program = (text: string): readonly string[] => [process.execPath, "-e", text];

test("a suite's programs have its folder for what is temporary; what they leave there is told, and removed", async () => {
  const folder = suiteFolder();
  // Another user has to get to what a test makes in it.
  expect(statSync(folder).mode & 0o777).toBe(0o755);
  let seconds = 0;
  let said = "";
  const surroundings = {
    ...{ lane: 2, folder },
    write: (text: string) => {
      said += text;
    },
    used: (more: number) => {
      seconds += more;
    },
  };
  const make = `const { mkdtempSync } = require("node:fs"); const { join } = require("node:path");
    for (let i = 0; i < 2; i++) mkdtempSync(join(require("node:os").tmpdir(), "fairlead-left-"));
    console.log("lane", process.env.FAIRLEAD_TEST_LANE); process.exit(3);`;
  const { exitCode, text } = await runCommand(program(make), 60_000, surroundings);
  expect([exitCode, text, said]).toEqual([3, "lane 2\n", "lane 2\n"]);
  expect(seconds).toBeGreaterThan(0);
  expect(await removeFolder(folder, 0)).toEqual(["fairlead-left-* (2)"]);
  expect(existsSync(folder)).toBe(false);
});

test("what is gone a moment later was not left behind", async () => {
  const folder = suiteFolder();
  mkdirSync(join(folder, "late"));
  const remove = Bun.spawn(["rmdir", join(folder, "late")]);
  expect(await removeFolder(folder)).toEqual([]);
  expect(await remove.exited).toBe(0);
});

test("a command that does not end is stopped, and says so", async () => {
  const folder = suiteFolder();
  const { exitCode, text } = await runCommand(program("setInterval(() => {}, 1000)"), 300, {
    ...{ lane: 0, folder },
    ...{ write() {}, used() {} },
  });
  expect([exitCode, text]).toEqual([137, "stopped after 0.3 s\n"]);
  writeFileSync(join(folder, "core.123456"), "");
  expect(await removeFolder(folder, 0)).toEqual(["core.*"]);
});

test("names are told by their beginnings", () => {
  const names = ["fairlead-demo-x8K2pq", "fairlead-demo-AbCdE1", "kill-000001", "plain", "state-12"];
  expect(beginnings(names)).toEqual(["fairlead-demo-* (2)", "kill-*", "plain", "state-*"]);
});

test("what is mounted below a folder is known, and nothing beside it", () => {
  const listed = "a / ext4 rw 0 0\ntmpfs /run/flt-1/disk tmpfs rw 0 0\nproc /run/flt-12/proc proc rw 0 0\n";
  expect(mountsIn("/run/flt-1", listed)).toEqual(["/run/flt-1/disk"]);
  expect(mountsIn("/run/flt-3", listed)).toEqual([]);
});
