/**
 * Writes to the disk as the program does, and says each thing once it is acknowledged. Arguments: what to write, and a folder that is there;
 * with `--asynchronous` its database does not flush.
 */
import { Database as Sqlite } from "bun:sqlite";
import { writeSync } from "node:fs";
import { silentLogger } from "../../src/base/log.ts";
import { ControlState } from "../../src/control/state/control_state.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { largeText } from "./promises.ts";

const [what = "", folder = "", ...flags] = process.argv.slice(2);
const host = createBunHost();
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function say(line: string): void {
  writeSync(1, `${line}\n`);
}

async function writeFiles(): Promise<void> {
  const { files } = host;
  await files.makeDirectory(`${folder}/made/deep`, 0o700);
  say("folder");
  for (const version of ["1", "2"]) {
    await files.writeAtomic(`${folder}/made/deep/atomic`, bytes(largeText(version)), 0o600);
    say(`atomic ${version}`);
  }
  for (const version of ["1", "2"]) {
    await files.writeStream(`${folder}/made/stream`, pieces(version), 0o600);
    say(`stream ${version}`);
  }
  for (const line of ["1", "2", "3"]) {
    await files.appendLines(`${folder}/made/lines`, bytes(`{"line":${line}}\n`), 0o600);
    say(`line ${line}`);
  }
}

async function* pieces(version: string): AsyncGenerator<Uint8Array> {
  const text = largeText(version);
  yield bytes(text.slice(0, 1000));
  yield bytes(text.slice(1000));
}

async function writeState(): Promise<void> {
  const directory = `${folder}/state`;
  let count = 0;
  for (let round = 1; round <= 2; round++) {
    const state = await ControlState.open(host, directory, silentLogger);
    say(`open ${state.id}`);
    for (let more = 0; more < 4; more++) {
      const value = `${++count}`;
      const reason = count % 3 === 0 ? largeText(value) : value;
      state.transaction(() => {
        state.settings.set(`setting-${value}`, value);
        state.revocations.add({ kind: "serial", value, reason, byWhom: "w", atMs: count });
        state.audit.append({
          atMs: count,
          actor: "w",
          action: "x",
          target: value,
          outcome: "ok",
          detail: "",
          before: null,
          after: null,
        });
      });
      say(`revocation ${value}`);
    }
    state.backup(`${directory}/backup`, { replace: true });
    say(`backup ${count}`);
    state.close();
    say(`closed ${count}`);
  }
}

if (flags.includes("--asynchronous")) {
  // Whoever sets it to FULL gets OFF.
  const run = Sqlite.prototype.run;
  Sqlite.prototype.run = function (
    sql: string,
    ...values: Parameters<typeof run> extends [string, ...infer Rest] ? Rest : never
  ) {
    return run.call(this, sql.replace("synchronous = FULL", "synchronous = OFF"), ...values);
  };
}
await (what === "files" ? writeFiles() : writeState());
