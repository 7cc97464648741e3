/**
 * `npm run soak -- MINUTES`: a mesh that is called all the time while documents, policies, certificates, roots and programs come and go and
 * packets are lost. `--smoke` has every event once; `--seed=N` repeats the order of a run; `FAIRLEAD=dist/fairlead` takes the binary.
 */
import { resolve } from "node:path";
import { formatTally } from "../../scripts/tally.ts";
import { Draw } from "../fuzz/mutate.ts";
import { hangMs } from "../peer/lab/eventually.ts";
import { Caller } from "./caller.ts";
import { callers, meshOf } from "./documents.ts";
import { events, type SoakEvent, type Stage } from "./events.ts";
import { inNamespace, network, whyNoNamespace } from "./network.ts";
import { slopePerMinute } from "./samples.ts";
import { directPort, World, waypointPort } from "./world.ts";

const bounds = {
  /** What may be left of each minute, after a program has settled. */
  growthPerMinuteBytes: 1_500_000,
  /** Above what a program had open at its first sample: connections of the moment, pools. */
  descriptorsMore: 64,
  /** The project's bound, in CPU time. */
  turnMs: 50,
  /** So many calls of each caller, at the least, at a time when it is known what must come of them. */
  judgedCalls: 21,
} as const;
const sampleMs = 1_000;

interface Options {
  readonly minutes: number;
  readonly isSmoke: boolean;
  readonly seed: number;
  readonly isInside: boolean;
}

function parseArguments(args: readonly string[]): Options {
  let minutes = 10;
  let isSmoke = false;
  let isInside = false;
  let seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  for (const arg of args) {
    const seedText = /^--seed=([0-9]+)$/.exec(arg)?.[1];
    if (/^[0-9]+(?:\.[0-9]+)?$/.test(arg)) minutes = Number(arg);
    else if (arg === "--smoke") isSmoke = true;
    else if (arg === "--in-namespace") isInside = true;
    else if (seedText !== undefined) seed = Number(seedText);
    else {
      console.error("usage: npm run soak -- [MINUTES] [--smoke] [--seed=N]");
      process.exit(2);
    }
  }
  return { minutes, isSmoke, seed, isInside };
}

const options = parseArguments(process.argv.slice(2));
const whyNot = whyNoNamespace();
if (whyNot === null && !options.isInside) {
  const again = [
    process.execPath,
    import.meta.path,
    ...process.argv.slice(2),
    `--seed=${options.seed}`,
    "--in-namespace",
  ];
  process.exit(await inNamespace(again));
}

let passed = 0;
let failed = 0;
function check(holds: boolean, claim: string, found: string): void {
  if (holds) passed++;
  else failed++;
  console.log(holds ? `ok  ${claim}` : `✗ ${claim}: ${found}`);
}

const began = performance.now();
function say(text: string): void {
  console.log(`${((performance.now() - began) / 1000).toFixed(0).padStart(5)} s  ${text}`);
}

/** The events in an order that is drawn again each time all have been. */
function* ordered(draw: Draw): Generator<SoakEvent> {
  for (;;) {
    const left = [...events];
    while (left.length > 0) yield* left.splice(draw.below(left.length), 1);
  }
}

async function begin(world: World): Promise<Stage> {
  await world.ready(world.startControl(), world.controlIp);
  await world.publish("mesh.yaml", meshOf(world));
  await world.publish("callers.yaml", callers("frontend", "reports"));
  world.startApplication();
  const { frontend, backend, reports, waypoint } = world.places;
  for (const member of [backend, waypoint, frontend, reports]) {
    const life = await world.startNode(member);
    await world.ready(life, member.ip);
  }
  const stage = {
    world,
    frontend: new Caller("frontend", () => world.call(frontend, directPort)),
    reports: new Caller("reports", () => world.call(reports, directPort)),
    throughWaypoint: new Caller("reports through the waypoint", () => world.call(reports, waypointPort)),
  };
  return stage;
}

async function soak(world: World, stage: Stage): Promise<number> {
  const { isSmoke, minutes, seed } = options;
  const net = network(whyNot);
  say(`seed ${seed}; ${net.how}`);
  const all = [stage.frontend, stage.reports, stage.throughWaypoint];
  for (const caller of all) {
    if (!(await caller.becomes("answered", hangMs))) throw new Error(`${caller.name} is not answered`);
    caller.start();
  }
  const sampling = setInterval(() => world.sample(), sampleMs);
  const end = performance.now() + minutes * 60_000;
  const draw = new Draw(seed);
  const order = ordered(draw);
  let happened = 0;
  try {
    while (isSmoke ? happened < events.length : performance.now() < end) {
      const event = order.next().value;
      const isRough = happened % 2 === 1;
      net.rough(isRough);
      const outcome = await event.run(stage, happened * 2);
      if (isRough) net.rough(false);
      happened++;
      say(`${event.name}${isRough && net.kind !== "none" ? " (packets lost)" : ""}: ${outcome}`);
      const failures = all.reduce((sum, caller) => sum + caller.failed, 0);
      if (failures > 0) say(`${failures} failed so far`);
    }
    // By the order of its events a smoke may have left a caller little time.
    const until = performance.now() + hangMs;
    while (all.some(({ judged }) => judged < bounds.judgedCalls) && performance.now() < until)
      await Bun.sleep(20);
  } finally {
    clearInterval(sampling);
    await Promise.all(all.map((caller) => caller.stop()));
  }
  return happened;
}

function judge(world: World, stage: Stage, happened: number): void {
  console.log("");
  for (const caller of [stage.frontend, stage.reports, stage.throughWaypoint]) {
    const { name, calls, judged, longestMs, failures } = caller;
    check(
      caller.failed === 0 && judged >= bounds.judgedCalls,
      `${name}: ${calls} calls, ${judged} of them at a time when it is known what must come of them, failures 0, the longest ${longestMs.toFixed(0)} ms`,
      `${caller.failed} failures: ${failures.slice(0, 5).join("; ")}`,
    );
  }
  let slope = "too short to be judged";
  let longestTurn = 0;
  for (const life of world.lives) {
    const { name, pid, samples, running } = life;
    const bugs = running.lines.filter((line) => /\bcode=bug\b|a bug of ours|AssertionError/.test(line));
    check(bugs.length === 0, `${name} (${pid}) says nothing of a bug`, bugs[0] ?? "");
    const turn = world.longestTurnMs(life);
    longestTurn = Math.max(longestTurn, turn ?? 0);
    if (turn !== null)
      check(
        turn <= bounds.turnMs,
        `${name} (${pid}): longest turn ${turn.toFixed(1)} ms`,
        `more than ${bounds.turnMs} ms`,
      );
    const [first] = samples;
    const last = samples.at(-1);
    if (first === undefined || last === undefined) continue;
    check(
      last.descriptors <= first.descriptors + bounds.descriptorsMore,
      `${name} (${pid}): ${first.descriptors} descriptors, ${Math.max(...samples.map(({ descriptors }) => descriptors))} at the most, ${last.descriptors} at the end`,
      `more than ${bounds.descriptorsMore} stay`,
    );
    const perMinute = slopePerMinute(samples);
    const memory = `${(first.rssBytes / 1e6).toFixed(0)} MB, ${(last.rssBytes / 1e6).toFixed(0)} MB at the end`;
    if (perMinute === null) {
      console.log(`    ${name} (${pid}): ${memory}; lived too short for a slope`);
      continue;
    }
    slope = `${(perMinute / 1e6).toFixed(2)} MB a minute (${name})`;
    check(
      perMinute <= bounds.growthPerMinuteBytes,
      `${name} (${pid}): ${memory}, ${(perMinute / 1e6).toFixed(2)} MB a minute`,
      `more than ${bounds.growthPerMinuteBytes / 1e6} MB`,
    );
  }
  check(happened >= events.length, `${happened} events`, `fewer than the ${events.length} kinds there are`);
  const failures = stage.frontend.failed + stage.reports.failed + stage.throughWaypoint.failed;
  console.log(
    `\nfailures ${failures}, memory slope ${slope}, longest turn ${longestTurn.toFixed(1)} ms, events ${happened}, seed ${options.seed}`,
  );
}

const binary = process.env.FAIRLEAD;
const world = await World.create(binary === undefined ? null : resolve(binary));
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.on(signal, () => void world.processes.stopAll().then(() => process.exit(130)));
try {
  const stage = await begin(world);
  const happened = await soak(world, stage);
  judge(world, stage, happened);
} catch (error) {
  check(false, "the mesh comes back to what it was", error instanceof Error ? error.message : String(error));
}
if (failed > 0) for (const line of world.processes.recent(4)) console.log(line.slice(0, 400));
await world.processes.stopAll();
console.log(formatTally({ passed, failed, skipped: whyNot === null ? 0 : 1 }));
process.exit(failed === 0 ? 0 : 1);
