/** `npm run conformance -- adversary` */
import { parseArgs } from "node:util";
import { cleanUpOnExit, scratchDirectory } from "../peer/lab/cleanup.ts";
import { bulkHangMs } from "../peer/lab/eventually.ts";
import type { Attack } from "./attack.ts";
import { controlAttacks } from "./control_attacks.ts";
import { documentAttacks } from "./document_attacks.ts";
import { doorAttacks } from "./door_attacks.ts";
import { h2Attacks } from "./h2_attacks.ts";
import { HonestCaller, type Seen } from "./honest.ts";
import { isTurnedAway, Stage } from "./stage.ts";

const attacks: readonly Attack[] = [...h2Attacks, ...doorAttacks, ...controlAttacks, ...documentAttacks];

/** No turn of the event loop is longer, whoever sent the input; in CPU time, see `TurnMeter`. */
const longestTurnMs = 50;
/** A collector's pause, or a neighbour's load, is no attacker's doing: it does not come three times. */
const attempts = 3;

const usage = `usage: npm run conformance -- adversary [--only TEXT]

Ways to make work cheaply, against a real node and a real control plane on loopback: the longest turn of the event loop of
the one that is attacked (CPU time, at most ${longestTurnMs} ms), and what callers that mean well saw meanwhile (none refused).

  --only TEXT   attacks whose name contains TEXT
`;

interface Result {
  readonly turnMs: number;
  readonly seen: Seen;
  readonly problem: string | null;
}

/** @returns the exit code. */
export async function adversaryConformance(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: { only: { type: "string", default: "" }, help: { type: "boolean", default: false } },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  cleanUpOnExit();
  const chosen = attacks.filter(({ name }) => name.includes(values.only));
  const stage = await Stage.open(scratchDirectory("adversary"));
  let failed = 0;
  let longest = 0;
  try {
    await warmUp(stage);
    for (const attack of chosen) {
      let result = await attempt(stage, attack);
      for (let more = 1; more < attempts && result.problem !== null; more++)
        result = await attempt(stage, attack);
      longest = Math.max(longest, result.turnMs);
      if (result.problem !== null) failed++;
      tell(attack, result);
    }
  } finally {
    stage.close();
  }
  console.log(`the longest turn of all: ${longest.toFixed(1)} ms`);
  console.log(`${chosen.length - failed} passed, ${failed} failed`);
  return failed === 0 && chosen.length > 0 ? 0 : 1;
}

async function attempt(stage: Stage, attack: Attack): Promise<Result> {
  const subject = stage.process(attack.door);
  const caller = new HonestCaller(stage, attack.door);
  await Bun.sleep(50);
  await subject.longestTurn();
  let broken: string | null = null;
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`it was not over in ${bulkHangMs} ms`)), bulkHangMs);
  try {
    await Promise.race([attack.run(stage), late]);
  } catch (error) {
    // Shut out before it could do anything: as good as it gets.
    if (!isTurnedAway(error))
      broken = error instanceof Error ? (error.stack ?? error.message) : String(error);
  } finally {
    clearTimeout(timer);
  }
  // What the attack left behind is worked off.
  await Bun.sleep(100);
  const turnMs = await subject.longestTurn();
  const seen = await caller.stop();
  return { turnMs, seen, problem: broken ?? problemOf(turnMs, seen) };
}

function problemOf(turnMs: number, { served, refused }: Seen): string | null {
  if (refused.length > 0) return `${refused.length} honest calls failed: ${refused[0]}`;
  if (served === 0) return "no honest call was made, so nothing is known";
  return turnMs > longestTurnMs ? `a turn of ${turnMs.toFixed(1)} ms` : null;
}

/** Code that ran never before is slow, and no attacker's doing. */
async function warmUp(stage: Stage): Promise<void> {
  const callers = (["node", "control"] as const).map((door) => new HonestCaller(stage, door));
  await Bun.sleep(1_000);
  for (const caller of callers) {
    const { refused } = await caller.stop();
    if (refused.length > 0) throw new Error(`honest calls fail without an attack: ${refused[0]}`);
  }
}

function tell({ name }: Attack, { turnMs, seen, problem }: Result): void {
  const calls = `${seen.served} honest calls, ${seen.newConnections} over new connections, ${seen.refused.length} refused`;
  const slowest = `slowest ${seen.slowestMs.toFixed(0)} ms`;
  const verdict = problem === null ? "passed" : "failed";
  const detail = problem === null ? "" : `: ${problem}`;
  console.log(
    `${verdict}  ${name}${detail}\n        longest turn ${turnMs.toFixed(1)} ms; ${calls}, ${slowest}`,
  );
}
