/** What was said to be written, looked for on a disk after a power cut. */
import { existsSync, readFileSync } from "node:fs";
import { asMeshError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/log.ts";
import { ControlState } from "../../src/control/state/control_state.ts";
import { inspectBackup } from "../../src/control/state/restore.ts";
import { createBunHost } from "../../src/host/bun/host.ts";

const host = createBunHost();

/** Some sectors, and nothing of another version in them. */
export function largeText(version: string): string {
  return `${version};`.repeat(4_000);
}

/** @returns what does not hold. */
export type Judge = (folder: string, said: readonly string[]) => Promise<readonly string[]>;

export const judgeFiles: Judge = async (folder, said) => {
  const found: string[] = [];
  for (const [name, path] of [
    ["atomic", "made/deep/atomic"],
    ["stream", "made/stream"],
  ] as const) {
    const text = textOf(`${folder}/${path}`);
    const promised = lastOf(said, name);
    const whole = ["1", "2"].find((version) => text === largeText(version)) ?? null;
    if (text !== null && whole === null) found.push(`${path} is torn`);
    else if (Number(whole ?? 0) < promised) found.push(`${path} is not what was acknowledged`);
  }
  const lines = textOf(`${folder}/made/lines`) ?? "";
  for (let line = 1; line <= lastOf(said, "line"); line++)
    if (!lines.includes(`{"line":${line}}\n`)) found.push(`line ${line} is lost`);
  if (said.includes("folder") && !existsSync(`${folder}/made/deep`)) found.push("the folder is lost");
  return found;
};

export const judgeState: Judge = async (folder, said) => {
  const directory = `${folder}/state`;
  const found: string[] = [];
  let state: ControlState;
  try {
    state = await ControlState.open(host, directory, silentLogger);
  } catch (error) {
    return [`the state does not open: ${asMeshError(error, "io", "local").message}`];
  }
  try {
    const id = said.findLast((line) => line.startsWith("open "))?.slice("open ".length);
    if (id !== undefined && state.id !== id) found.push("the state is another one");
    found.push(...state.check().map((line) => `the state is damaged: ${line}`));
    const promised = lastOf(said, "revocation");
    for (let value = 1; value <= promised; value++) {
      const isThere =
        state.revocations.isRevokedSerial(`${value}`) && state.settings.get(`setting-${value}`) !== null;
      if (!isThere) found.push(`revocation ${value} is lost`);
    }
    if (state.audit.head().id < promised) found.push("rows of the audit log are lost");
  } finally {
    state.close();
  }
  const backedUp = lastOf(said, "backup");
  const backup = `${directory}/backup`;
  if (backedUp > 0 || existsSync(backup)) {
    try {
      if (inspectBackup(host, backup).auditHead.id < backedUp) found.push("the back-up is an earlier one");
    } catch (error) {
      found.push(`the back-up is no good: ${asMeshError(error, "io", "local").message}`);
    }
  }
  return found;
};

function textOf(path: string): string | null {
  return existsSync(path) ? readFileSync(path, "utf8") : null;
}

/** The highest number that was said after the word; 0 for none. */
function lastOf(said: readonly string[], word: string): number {
  const line = said.findLast((one) => one.startsWith(`${word} `));
  return line === undefined ? 0 : Number(line.slice(word.length + 1));
}
