/**
 * `bun conformance/sim/awaits/run.ts [--flow=TEXT] [--event=TEXT] [--until=CHECKER,…]`: every flow with every event at every one of its
 * places, on every core. With `--until` it ends at the first finding of one of these checkers.
 */
import { availableParallelism } from "node:os";
import { addTallies, emptyTally, formatTally, oneFailure, parseTally } from "../../../scripts/tally.ts";
import { callFlows } from "./call_flow.ts";
import { controlFlows } from "./control_flow.ts";
import { countSteps, type Finding, type Flow, placesOf, tryEverywhere } from "./everywhere.ts";
import { watchCryptography } from "./steps.ts";

const flows: readonly Flow[] = [...callFlows, ...controlFlows];
/** Of one case; the others are more of the same. */
const maxFindings = 5;

interface Options {
  readonly flow: string;
  readonly event: string;
  readonly until: readonly string[] | null;
  /** This process's share, `[index, count]`. */
  readonly share: readonly [number, number] | null;
}

function show({ place: { step, turn }, kind, what }: Finding): string {
  return `  ✗ ${what} (step ${step}, ${kind}, turn ${turn})`;
}

async function runHere({ flow: wanted, event: part, until, share }: Options): Promise<boolean> {
  watchCryptography();
  let passed = 0;
  let failed = 0;
  const cases = flows
    .filter(({ name }) => name.includes(wanted))
    .flatMap((flow) => flow.events.filter((name) => name.includes(part)).map((event) => ({ flow, event })))
    .filter((_, index) => share === null || index % share[1] === share[0]);
  const isEnough = (found: readonly Finding[]): boolean =>
    until === null
      ? found.length >= maxFindings
      : found.some(({ what }) => until.some((checker) => what.startsWith(`${checker}:`)));
  for (const { flow, event } of cases) {
    const steps = await countSteps(flow);
    const places = placesOf(steps);
    const { tried, findings } = await tryEverywhere(flow, event, steps, isEnough);
    const isWell = findings.length === 0 && tried > 0;
    if (isWell) passed++;
    else failed++;
    const count = `${steps.length} steps, ${tried} of ${places.length} places`;
    console.log(`${isWell ? "✓" : "✗"} ${flow.name}: ${event} (${count})`);
    for (const finding of findings) console.log(show(finding));
    if (!isWell && until !== null) break;
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && cases.length > 0;
}

async function runShared(args: readonly string[]): Promise<boolean> {
  // Each of the many small WebAssembly memories would reserve 4 GiB of addresses, and a full collection when they run out.
  const env = { ...process.env, BUN_JSC_useWasmFastMemory: "0" };
  const count = args.some((arg) => arg.startsWith("--event=")) ? 1 : Math.min(availableParallelism(), 8);
  const outputs = await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const command = [process.execPath, import.meta.path, ...args, `--share=${index}/${count}`];
      const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "inherit", env });
      const output = await new Response(child.stdout).text();
      await child.exited;
      return output;
    }),
  );
  console.log(outputs.map((output) => output.replace(/^\d+ passed, \d+ failed\n/gm, "").trim()).join("\n"));
  // A share that did not come to its last line has failed, whatever it said before.
  const total = outputs.map((output) => parseTally(output) ?? oneFailure).reduce(addTallies, emptyTally);
  console.log(formatTally(total));
  return total.failed === 0 && total.passed > 0;
}

async function main(args: readonly string[]): Promise<number> {
  const text = (name: string): string | null =>
    args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3) ?? null;
  if (args.some((arg) => !/^--(?:flow|event|until|share)=/.test(arg))) {
    console.error(
      "usage: bun conformance/sim/awaits/run.ts [--flow=TEXT] [--event=TEXT] [--until=CHECKER,…]",
    );
    return 2;
  }
  const [index, count] = (text("share") ?? "").split("/").map(Number);
  if (index === undefined || count === undefined) return (await runShared(args)) ? 0 : 1;
  const options: Options = {
    flow: text("flow") ?? "",
    event: text("event") ?? "",
    until: text("until")?.split(",") ?? null,
    share: [index, count],
  };
  return (await runHere(options)) ? 0 : 1;
}

process.exit(await main(process.argv.slice(2)));
