/**
 * `kill -9` at random moments loses nothing that was acknowledged. `STATE_KILLS` says how many times of each kind.
 * Where a kill falls is the machine's to decide, so there is no seed.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stateLimits } from "../../base/limits/control.ts";
import { silentLogger } from "../../base/log.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { ControlState, type StateOptions } from "./control_state.ts";
import { inspectBackup } from "./restore.ts";
import { applicationId } from "./state_files.ts";
import { crashMigrations, crashRows, crashSteps } from "./testing/crash_migrations.ts";

const kills = Number(process.env.STATE_KILLS ?? 100);
/** Only a hang reaches this: how long so many processes take is the machine's. */
const limitMs = 60_000 + kills * 10_000;
const host = createBunHost();
const folder = mkdtempSync(join(tmpdir(), "kill-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs the writer for a while, kills it, and returns the lines it got out whole. */
async function runAndKill(
  directory: string,
  mode: string,
  round: number,
  afterFirstLineMs: number,
): Promise<string[]> {
  const writer = join(import.meta.dir, "testing", "crash_writer.ts");
  const child = Bun.spawn([process.execPath, writer, directory, mode, String(round)], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const reader = child.stdout.getReader();
  const decoder = new TextDecoder();
  let output = "";
  let timer: ReturnType<typeof setTimeout> | null = null;
  // A machine that is busy lets the writer do next to nothing in that time: every other one gets as far as a second line.
  const least = mode !== "migrate" && round % 2 === 0 ? 2 : 1;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    output += decoder.decode(value, { stream: true });
    if (output.split("\n").length <= least) continue;
    timer ??= setTimeout(() => child.kill("SIGKILL"), afterFirstLineMs);
  }
  if (timer !== null) clearTimeout(timer);
  await child.exited;
  const complaint = await new Response(child.stderr).text();
  expect(complaint).toBe("");
  return output.split("\n").slice(0, -1);
}

function open(directory: string, options: StateOptions = {}): Promise<ControlState> {
  return ControlState.open(host, directory, silentLogger, options);
}

/** Whether what the line acknowledges is there. */
function isThere(state: ControlState, line: string): boolean {
  const [kind = "", id = "", version = ""] = line.split(" ");
  switch (kind) {
    case "token":
      return state.tokens.get(id) !== null;
    case "certificate":
      return state.certificates.bySerial(id, "k") !== null;
    case "revocation":
      return state.revocations.isRevokedSerial(id);
    case "documents":
      return (
        isForgotten(state, Number(version)) ||
        state.documents.changesOf(Number(version)).some(({ name, text }) => name === id && text !== null)
      );
    case "open":
      return state.id === id;
    default:
      return kind === "backup";
  }
}

/** On purpose: only so many versions are kept. */
function isForgotten(state: ControlState, version: number): boolean {
  return version <= state.documents.version() - stateLimits.maxDocumentVersions;
}

describe("kill -9", () => {
  for (const mode of ["write", "backup"]) {
    test(
      `loses no acknowledged ${mode}, ${kills} times`,
      async () => {
        const directory = join(folder, mode);
        const acknowledged: string[] = [];
        for (let round = 0; round < kills; round++) {
          const said = await runAndKill(directory, mode, round, Math.random() * 60);
          acknowledged.push(...said);
          const state = await open(directory);
          // All of this round's, and some of every round's before.
          const looked = round % 20 === 19 || round === kills - 1 ? acknowledged : said;
          expect(looked.filter((line) => !isThere(state, line))).toEqual([]);
          expect(state.check()).toEqual([]);
          expect(state.audit.head().id).toBe(state.documents.version());
          state.close();
          if (mode === "backup") checkBackup(`${directory}/backup`, said);
        }
        expect(acknowledged.length).toBeGreaterThan(kills);
      },
      limitMs,
    );
  }

  test(
    `in the middle of migrations leaves a state that the next start takes on, ${kills} times`,
    async () => {
      let unfinished = 0;
      for (let round = 0; round < kills; round++) {
        const directory = join(folder, `migrate-${round}`);
        const said = await runAndKill(directory, "migrate", round, Math.random() * 40);
        const state = await open(directory, { migrations: crashMigrations });
        if (said.length === 1) unfinished++;
        else expect(said[1]).toBe(`migrated ${state.id}`);
        expect(state.schemaVersion).toBe(crashMigrations.length);
        expect(state.check()).toEqual([]);
        state.close();
        const database = host.databases.open(`${directory}/control.db`, { applicationId });
        expect(database.all("SELECT name FROM sqlite_schema WHERE name LIKE 'step_%'")).toEqual([
          { name: `step_${crashSteps - 1}` },
        ]);
        expect(database.get(`SELECT count(*) AS count FROM step_${crashSteps - 1}`)).toEqual({
          count: crashRows,
        });
        database.close();
        rmSync(directory, { recursive: true });
      }
      expect(unfinished).toBeGreaterThan(0);
    },
    limitMs,
  );
});

test("a second process is refused while the first one runs, and has it at once when that is killed", async () => {
  const directory = join(folder, "two");
  const writer = join(import.meta.dir, "testing", "crash_writer.ts");
  const child = Bun.spawn([process.execPath, writer, directory, "hold", "0"], { stdout: "pipe" });
  try {
    await child.stdout.getReader().read();
    expect(await rejectionOf(open(directory))).toMatchObject({ code: "database_locked" });
    expect(() => inspectBackup(host, `${directory}/control.db`)).toThrow("another process");
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
  const state = await open(directory);
  expect(state.check()).toEqual([]);
  state.close();
}, 300_000);

/** Whole, whenever its making was interrupted, once one was acknowledged. */
function checkBackup(path: string, said: readonly string[]): void {
  if (said.some((line) => line.startsWith("backup"))) expect(existsSync(path)).toBe(true);
  if (existsSync(path)) expect(inspectBackup(host, path).schemaVersion).toBeGreaterThan(0);
}
