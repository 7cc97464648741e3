/**
 * `npm run conformance -- http`: requests that two parsers could read differently, through a waypoint to applications of several makes;
 * suites of others; Wycheproof's vectors of JOSE. `--only PART` runs attacks and suites whose name contains this.
 */
import { cleanUpOnExit, scratchDirectory } from "../peer/lab/cleanup.ts";
import { comesTrue, hangMs } from "../peer/lab/eventually.ts";
import { joseCases, joseFaults, joseGroups } from "../spec/wycheproof_jose.ts";
import { type Attack, attacks } from "./attacks.ts";
import { type Backend, backends, openStage, type Stage } from "./stage.ts";
import { suites } from "./suites.ts";

/** @returns the exit code. */
export async function httpConformance(argv: readonly string[]): Promise<number> {
  cleanUpOnExit();
  const all = backends();
  const made = all.filter(({ missing }) => missing === null);
  for (const { name, missing } of all)
    if (missing !== null) console.log(`skipped ${name}: ${missing} is not here`);
  const wanted = argv[0] === "--only" ? argv[1] : argv[0];
  const isWanted = (name: string): boolean => wanted === undefined || name.includes(wanted);
  const chosen = attacks.filter(({ name }) => isWanted(name));
  let skipped = 0;
  const others = suites().filter(({ name, missing, cases }) => {
    if (!isWanted(name)) return false;
    if (missing !== null) console.log(`skipped ${name}: ${missing} is not here`);
    if (missing !== null) skipped += cases;
    return missing === null;
  });
  const directory = scratchDirectory("http");
  const stage = await openStage(directory, [...made, ...others.map(({ backend }) => backend)]);
  let passed = 0;
  let failed = 0;
  if (isWanted(jose)) {
    const outcome = await tryJose();
    passed += outcome.passed;
    failed += outcome.failures.length;
    console.log(`${outcome.failures.length === 0 ? "ok  " : "FAIL"} ${jose}: ${outcome.passed} cases`);
    for (const failure of outcome.failures) console.log(`FAIL ${jose}: ${failure}`);
  }
  try {
    for (const [index, backend] of made.entries()) {
      await stage.log(index);
      for (const attack of chosen) {
        let fault = await tryAttack(stage, index, backend, attack);
        // What an application was told late of the request before, which was cut off, is no fault of this one: it does not come again.
        for (let more = 0; more < 2 && fault?.startsWith("the application saw") === true; more++) {
          await Bun.sleep(500);
          await stage.log(index);
          fault = await tryAttack(stage, index, backend, attack);
        }
        if (fault === null) passed++;
        else failed++;
        console.log(
          `${fault === null ? "ok  " : "FAIL"} ${backend.name}: ${attack.name}${fault === null ? "" : `: ${fault}`}`,
        );
      }
    }
    for (const [index, suite] of others.entries()) {
      const outcome = await suite.run(stage, made.length + index, directory);
      passed += outcome.passed;
      skipped += outcome.skipped ?? 0;
      failed += outcome.failures.length;
      console.log(
        `${outcome.failures.length === 0 ? "ok  " : "FAIL"} ${suite.name}: ${outcome.passed} cases`,
      );
      for (const failure of outcome.failures) console.log(`FAIL ${suite.name}: ${failure}`);
    }
  } finally {
    await stage.stop();
  }
  skipped += (all.length - made.length) * chosen.length;
  console.log(`${passed} passed, ${failed} failed${skipped === 0 ? "" : `, ${skipped} skipped`}`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

const jose = "Wycheproof's JOSE";

/** No process: the vectors are no tokens of anybody's, so the verifying path is asked by itself. */
async function tryJose(): Promise<{ readonly passed: number; readonly failures: readonly string[] }> {
  let passed = 0;
  const failures: string[] = [];
  for (const group of joseGroups()) {
    const faults = await joseFaults(group);
    passed += group.tests.length - faults.length;
    failures.push(...faults.map((fault) => `${group.name}: ${fault}`));
  }
  if (passed + failures.length !== joseCases)
    failures.push(`${passed + failures.length} cases where there are ${joseCases}`);
  return { passed, failures };
}

/** @returns what is wrong; null for nothing. */
async function tryAttack(
  stage: Stage,
  index: number,
  backend: Backend,
  attack: Attack,
): Promise<string | null> {
  const answer =
    attack.sees === "refused"
      ? await exchange(stage.target(index), attack.bytes, 1, refusalMs)
      : await exchange(stage.target(index), attack.bytes, attack.sees.length, hangMs);
  const statuses = [...answer.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => match[1] ?? "");
  const seen = (
    await settled(() => stage.log(index), attack.sees === "refused" ? 0 : attack.sees.length)
  ).map((line) => (backend.name === "nginx" ? line.replace(/ \d+$/, "") : line));
  if (attack.sees === "refused") {
    // A request that is cut off may be seen to have begun, as long as it is not taken for whole.
    const whole = seen.filter(
      (line) => !line.startsWith("refused") && !(backend.name === "nginx" && line.startsWith("POST /a")),
    );
    if (whole.length > 0) return `the application saw ${whole.join(", ")}`;
    if (statuses.length > 1) return `answers ${statuses.join(", ")}`;
    return statuses.length === 0 || /^4\d\d$|^50[15]$/.test(statuses[0] ?? "")
      ? null
      : `answer ${statuses[0]}`;
  }
  const expected = attack.sees.map((line) => (backend.name === "nginx" ? line.replace(/ \d+$/, "") : line));
  if (seen.join("\n") !== expected.join("\n"))
    return `the application saw ${seen.join(", ")}; answers ${statuses.join(", ")}`;
  return statuses.join() === expected.map(() => "200").join() ? null : `answers ${statuses.join(", ")}`;
}

/** What is refused may get no answer: only that it is not taken is asked for. */
const refusalMs = 3_000;

/** Sends all of it, and reads until the connection ends, or so many answers are whole and nothing more comes. */
async function exchange(
  target: { hostname: string; port: number },
  bytes: string,
  answers: number,
  limitMs: number,
): Promise<string> {
  let text = "";
  const { promise, resolve } = Promise.withResolvers<void>();
  const limit = setTimeout(resolve, limitMs);
  let quiet: Timer | undefined;
  let pending: Uint8Array = Uint8Array.from(bytes, (character) => character.charCodeAt(0));
  const write = (socket: Bun.Socket): void => {
    pending = pending.subarray(socket.write(pending));
  };
  const socket = await Bun.connect({
    ...target,
    socket: {
      open: write,
      drain: write,
      data: (_socket, piece) => {
        text += new TextDecoder().decode(piece);
        clearTimeout(quiet);
        if (text.split("HTTP/1.1 ").length > answers) quiet = setTimeout(resolve, 30);
      },
      end: () => resolve(),
      close: () => resolve(),
      error: () => resolve(),
    },
  });
  await promise;
  clearTimeout(limit);
  clearTimeout(quiet);
  socket.terminate();
  return text;
}

/** Every answer is there by then: what the application has seen is on its way at the most. */
const settledMs = 10_000;

/** What is late is seen all the same: a request that was cut off is told to the application last. */
async function settled(read: () => Promise<readonly string[]>, wanted: number): Promise<readonly string[]> {
  const lines: string[] = [];
  await comesTrue(async () => {
    lines.push(...(await read()));
    return lines.length >= wanted;
  }, settledMs);
  await Bun.sleep(5);
  lines.push(...(await read()));
  return lines;
}
