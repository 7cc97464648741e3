/**
 * `kill -9` at random moments of changes that are written in pieces: each is there as a whole or not at all, and none that was acknowledged is
 * lost. `STATE_KILLS` says how many times, five of them for one here.
 */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../../base/log.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { context } from "../../mesh/testing/convert_text.ts";
import { ControlState } from "../state/control_state.ts";
import { MeshDocuments } from "./mesh_documents.ts";
import { facts } from "./testing/control_plane.ts";

const kills = Math.ceil(Number(process.env.STATE_KILLS ?? 100) / 5);
const host = createBunHost();
const folder = mkdtempSync(join(tmpdir(), "large-kill-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** @returns the lines that the writer got out whole. */
async function runAndKill(round: number): Promise<string[]> {
  const writer = join(import.meta.dir, "testing", "large_writer.ts");
  const child = Bun.spawn([process.execPath, writer, folder, String(round)], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const decoder = new TextDecoder();
  let output = "";
  let timer: ReturnType<typeof setTimeout> | null = null;
  // A machine that is busy lets the writer finish no change in that time: every other one finishes its first.
  const least = round % 2 === 0 ? 2 : 1;
  for await (const bytes of child.stdout) {
    output += decoder.decode(bytes, { stream: true });
    if (output.split("\n").length <= least) continue;
    timer ??= setTimeout(() => child.kill("SIGKILL"), Math.random() * 1_500);
  }
  if (timer !== null) clearTimeout(timer);
  await child.exited;
  expect(await new Response(child.stderr).text()).toBe("");
  return output.split("\n").slice(1, -1);
}

/** Rows of the audit log by version. */
function auditedRows(state: ControlState): ReadonlyMap<number, number> {
  const rows = new Map<number, number>();
  for (let afterId = 0; ; ) {
    const page = state.audit.read({ limit: 1_000, afterId });
    for (const { detail } of page) {
      const version = Number(/^version (\d+):/.exec(detail)?.[1]);
      rows.set(version, (rows.get(version) ?? 0) + 1);
    }
    const last = page.at(-1);
    if (last === undefined) return rows;
    afterId = last.id;
  }
}

test(
  `a change of many documents is whole or nothing, killed ${kills} times`,
  async () => {
    let acknowledged = 0;
    for (let round = 0; round < kills; round++) {
      const said = await runAndKill(round);
      acknowledged += said.length;
      const state = await ControlState.open(host, folder, silentLogger);
      const store = new MeshStore();
      const options = { clock: host.clock, logger: silentLogger, state, store, context };
      const documents = await MeshDocuments.open({ ...options, facts: () => facts });
      for (const line of said) {
        const [version = "", mark, length] = line.split(" ");
        const set = await documents.at(Number(version));
        const found = new Set(set?.documents.map(({ text }) => /serviceAccount: (\S+)\}/.exec(text)?.[1]));
        expect([...found], line).toEqual([mark]);
        expect(set?.documents.length, line).toBe(Number(length));
      }
      const accounts = new Set([...store.workloads()].map(({ serviceAccount }) => serviceAccount));
      expect(accounts.size).toBeLessThanOrEqual(1);
      expect(state.documents.staging.current()).toBeNull();
      if (round % 5 === 4 || round === kills - 1) {
        const rows = auditedRows(state);
        for (const { version, changes } of documents.history(1_000))
          expect([version, rows.get(version)]).toEqual([version, changes]);
        expect([...rows.keys()].sort((a, b) => a - b).at(-1) ?? 0).toBe(documents.version);
        expect(state.check()).toEqual([]);
      }
      await documents.close();
      state.close();
    }
    expect(acknowledged).toBeGreaterThan(0);
  },
  // Only a hang reaches this: how long so many processes take is the machine's.
  300_000 + kills * 10_000,
);
