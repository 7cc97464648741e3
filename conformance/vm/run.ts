/** `npm run conformance -- vm` */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { cleanUpOnExit, scratchDirectory } from "../peer/lab/cleanup.ts";
import { Tally } from "../peer/tally.ts";
import { capture } from "./capture_cases.ts";
import { checks } from "./check_cases.ts";
import type { Check, Group } from "./group.ts";
import { install } from "./install_cases.ts";
import { names } from "./names_cases.ts";
import { run } from "./run_cases.ts";
import { systemd } from "./systemd_cases.ts";
import { terminals } from "./terminal_cases.ts";
import { trial } from "./trial_cases.ts";

const groups: Readonly<Record<string, Group>> = {
  names,
  install,
  systemd,
  capture,
  check: checks,
  trial,
  run,
  terminals,
};

const usage = `usage: npm run conformance -- vm [--only TEXT] [--verbose]

A virtual machine's life in the mesh, in network namespaces that stand for VMs.

  --only TEXT   groups of cases whose name contains TEXT: ${Object.keys(groups).join(", ")}
  --verbose     also say what passed
`;

/** @returns the exit code. */
export async function vmConformance(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: "string", default: "" },
      verbose: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  cleanUpOnExit();
  const tally = new Tally(values.verbose);
  const directory = scratchDirectory("vm");
  for (const [name, group] of Object.entries(groups)) {
    if (!name.includes(values.only)) continue;
    const missing = group.whyNot();
    if (missing === null) await runGroup(tally, join(directory, name), name, group);
    else for (const one of group.cases) tally.skip(`${name}: ${one}`, missing);
  }
  if (tally.count("passed") + tally.count("failed") + tally.count("skipped") === 0)
    tally.fail("vm", `nothing is called ${values.only}`);
  console.log(tally.summary());
  return tally.count("failed") === 0 ? 0 : 1;
}

async function runGroup(tally: Tally, directory: string, name: string, group: Group): Promise<void> {
  const done = new Set<string>();
  const check: Check = async (one, body) => {
    done.add(one);
    const problem = await body().then(
      () => null,
      (thrown) => (thrown instanceof Error ? thrown.message : String(thrown)),
    );
    tally.check(`${name}: ${one}`, problem);
  };
  mkdirSync(directory);
  try {
    await group.run(directory, check);
  } catch (error) {
    tally.fail(name, error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  for (const one of group.cases) if (!done.has(one)) tally.fail(`${name}: ${one}`, "it was not reached");
}
