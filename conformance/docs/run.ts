/**
 * `npm run conformance -- docs`: every command of README.md and docs/ is run as it is on its page, in a folder and a network namespace of
 * its own, or is named with the reason why not. A line that is on no list, or on a list and on no page, fails.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { scratchFolder } from "../../scripts/scratch.ts";
import { formatTally } from "../../scripts/tally.ts";
import { inNamespace, whyNoNamespace } from "../soak/network.ts";
import { controlSteps } from "./control_steps.ts";
import { editorsSteps, kindsSteps, movingSteps, startSteps } from "./guide_steps.ts";
import { commandsOf, pages, pageText, repository, spokenCommands } from "./pages.ts";
import { Shell } from "./shell.ts";
import { readmeSteps, type Step } from "./steps.ts";
import {
  captureSteps,
  explainSteps,
  installSteps,
  namesSteps,
  runSteps,
  upgradeSteps,
  watchingSteps,
  waypointSteps,
} from "./waypoint_steps.ts";

const stepsOf: Readonly<Record<string, readonly Step[]>> = {
  "README.md": readmeSteps,
  "docs/getting-started.md": startSteps,
  "docs/kinds.md": kindsSteps,
  "docs/moving.md": movingSteps,
  "docs/editors.md": editorsSteps,
  "docs/control-plane.md": controlSteps,
  "docs/waypoint.md": waypointSteps,
  "docs/capture.md": captureSteps,
  "docs/explain.md": explainSteps,
  "docs/install.md": installSteps,
  "docs/names.md": namesSteps,
  "docs/run.md": runSteps,
  "docs/upgrade.md": upgradeSteps,
  "docs/watching.md": watchingSteps,
};

const tally = { passed: 0, failed: 0, skipped: 0 };

function check(fault: string | null, name: string): void {
  if (fault === null) tally.passed++;
  else tally.failed++;
  console.log(fault === null ? `ok  ${name}` : `✗ ${name}: ${fault}`);
}

/** The lists and the pages are the same lines in the same order. */
function checkLists(): void {
  for (const page of pages) {
    const written = commandsOf(page, pageText(page)).map(({ text }) => text);
    const listed = (stepsOf[page] ?? []).map(({ line }) => line);
    const missing = written.filter((line) => !listed.includes(line));
    const stale = listed.filter((line) => !written.includes(line));
    const fault = [
      ...missing.map((line) => `on no list: ${line}`),
      ...stale.map((line) => `not on the page: ${line}`),
      // Each is run in the order of its page.
      ...(missing.length === 0 && stale.length === 0 && written.join("\n") !== listed.join("\n")
        ? ["the lists have another order than the page"]
        : []),
    ];
    check(fault.length === 0 ? null : fault.join("; "), `${page}: every command is on a list`);
  }
}

/** Commands in the running text: there is such a command, and it has such flags. */
async function checkSpoken(shell: Shell): Promise<void> {
  const help = new Map<string, Promise<string>>();
  const helpOf = (words: string): Promise<string> => {
    const known = help.get(words) ?? shell.run(`fairlead ${words} --help`).then(({ output }) => output);
    help.set(words, known);
    return known;
  };
  for (const page of pages) {
    const faults: string[] = [];
    for (const command of spokenCommands(pageText(page))) {
      const [, first = "", second = ""] = command.split(/[ |]/);
      const top = await helpOf("");
      if (!new RegExp(`^  ${first}\\b`, "m").test(top)) {
        faults.push(`no such command: ${command}`);
        continue;
      }
      const own = await helpOf(first);
      const isGroup = /^Commands:/m.test(own) && /^[a-z-]+$/.test(second) && second !== "";
      const text = isGroup ? own + (await helpOf(`${first} ${second}`)) : own;
      for (const [flag] of command.matchAll(/--[a-z-]+/g))
        if (!text.includes(flag)) faults.push(`${flag} is no flag of ${first}: ${command}`);
    }
    check(
      faults.length === 0 ? null : faults.join("; "),
      `${page}: commands in its text exist, with their flags`,
    );
  }
}

const others = (text: string): boolean => /^kind: (?:Administrator|TokenIssuer)$/m.test(text);
const meshDocuments = (text: string): boolean => !others(text);

function joined(blocks: readonly string[], isOfThese: (text: string) => boolean): string {
  return blocks
    .flatMap((block) => block.split(/^---\n/m))
    .filter(isOfThese)
    .join("---\n");
}

/**
 * The page's first blocks of documents, as the files that its text calls them; or all of them joined in two: what is of the mesh, and what
 * is of who runs its control plane.
 */
function writeDocuments(page: string, folder: string, paths: readonly string[], areJoined: boolean): void {
  const each = [...pageText(page).matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, block = ""]) => block);
  const blocks = areJoined ? [meshDocuments, others].map((isOfThese) => joined(each, isOfThese)) : each;
  for (const [index, path] of paths.entries()) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), blocks[index] ?? "");
  }
}

async function runStep(page: string, shell: Shell, step: Step): Promise<string | null> {
  const { before, line, instead = line, until, says, exitCodes = [0] } = step;
  const [, how, paths = ""] = /^page-documents(-joined|-of)? (.*)$/.exec(before ?? "") ?? [];
  const words = paths.split(" ");
  const [of = "", ...others] = words;
  if (how === "-of") writeDocuments(of, shell.folder, others, false);
  else if (paths !== "") writeDocuments(page, shell.folder, words, how === "-joined");
  else if (before !== undefined) {
    const { exitCode, output } = await shell.run(before);
    if (exitCode !== 0) return `what goes before it ended with ${exitCode}: ${output.slice(-500)}`;
  }
  if (until !== undefined) return await shell.start(instead, until);
  const { exitCode, output } = await shell.run(`(${instead}) 2>&1`.replace(/^\((export .*)\) 2>&1$/, "$1"));
  if (!exitCodes.includes(exitCode)) return `it ended with ${exitCode}: ${output.slice(-600)}`;
  return says === undefined || says.test(output) ? null : `it said: ${output.slice(-600)}`;
}

async function runPage(page: string, program: readonly string[]): Promise<void> {
  const folder = scratchFolder("docs");
  const shell = new Shell(folder, program);
  let isBroken = false;
  try {
    for (const step of stepsOf[page] ?? []) {
      if (step.notRun !== undefined) {
        console.log(`not run: ${page}: ${step.line}: ${step.notRun}`);
        continue;
      }
      const fault = isBroken ? "a step before it failed" : await runStep(page, shell, step);
      // A program that did not start would make all that follows fail, each after its time-out.
      if (fault !== null && step.until !== undefined) isBroken = true;
      check(fault, `${page}: ${step.line}`);
    }
  } finally {
    await shell.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @returns the exit code. */
export async function docsConformance(argv: readonly string[]): Promise<number> {
  const whyNot = whyNoNamespace();
  if (whyNot === null && !argv.includes("--in-namespace"))
    return await inNamespace([
      process.execPath,
      join(repository, "conformance", "run.ts"),
      "docs",
      ...argv,
      "--in-namespace",
    ]);
  const only = argv.find((arg) => arg.startsWith("--only="))?.slice("--only=".length);
  const binary = process.env.FAIRLEAD;
  const program =
    binary === undefined ? [process.execPath, join(repository, "src", "main.ts")] : [resolve(binary)];
  checkLists();
  const folder = scratchFolder("docs");
  await checkSpoken(new Shell(folder, program));
  rmSync(folder, { recursive: true, force: true });
  for (const page of Object.keys(stepsOf)) {
    if (only !== undefined && !page.includes(only)) continue;
    if (whyNot !== null) {
      // Their addresses and ports are those of whoever else runs here.
      tally.skipped++;
      console.log(`skipped: the commands of ${page}: ${whyNot}`);
    } else if (!existsSync(join(repository, page))) check("there is no such page", page);
    else await runPage(page, program);
  }
  console.log(formatTally(tally));
  return tally.failed === 0 ? 0 : 1;
}
