/**
 * A process that writes until it is killed. It says what it has written once that is acknowledged, one line each, and nothing it
 * says may be lost. Arguments: directory, what to do, number of the round.
 */
import { writeSync } from "node:fs";
import { silentLogger } from "../../../base/log.ts";
import { createBunHost } from "../../../host/bun/host.ts";
import { ControlState } from "../control_state.ts";
import { crashMigrations } from "./crash_migrations.ts";

const [directory = "", mode = "", round = ""] = process.argv.slice(2);
const host = createBunHost();
let count = 0;

function say(line: string): void {
  writeSync(1, `${line}\n`);
}

/** Some of it fits into one page, some needs many: the log is folded into the file again and again. */
function textFor(id: string): string {
  return id.repeat(1 + Math.floor(Math.random() ** 4 * 4000));
}

/** @returns what is acknowledged by it. */
function writeOne(state: ControlState): string {
  const id = `${round}-${count++}`;
  const atMs = host.clock.wallMs();
  const secretHash = new Uint8Array(32).fill(count);
  switch (count % 4) {
    case 0:
      state.tokens.create({
        id,
        secretHash,
        binding: { kind: "node", node: id },
        expiresAtMs: atMs + 1,
        createdBy: "w",
        byNamespace: "",
        replace: false,
      });
      return `token ${id}`;
    case 1:
      state.certificates.record({
        serial: id,
        identity: id,
        issuerKey: "k",
        notBeforeMs: 0,
        notAfterMs: 1,
        requestedBy: "w",
        issuedAtMs: atMs,
      });
      return `certificate ${id}`;
    case 2:
      state.settings.set(`s${count % 50}`, id);
      state.revocations.add({ kind: "serial", value: id, reason: textFor(id), byWhom: "w", atMs });
      return `revocation ${id}`;
    default: {
      const change = {
        key: `K ns/${count % 30}`,
        namespace: "ns",
        kind: "K",
        name: id,
        text: textFor(id),
        source: "f",
        line: 1,
        createdMs: atMs,
      };
      const version = state.transaction(() => {
        const made = state.documents.apply([change], { atMs, actor: id, action: "apply", detail: "" });
        const row = {
          atMs,
          actor: "w",
          action: "x",
          target: id,
          outcome: "ok",
          detail: "",
          before: null,
        } as const;
        state.audit.append({ ...row, after: `${made}` });
        return made;
      });
      return `documents ${id} ${version}`;
    }
  }
}

if (mode === "migrate") {
  say("starting");
  const state = await ControlState.open(host, directory, silentLogger, { migrations: crashMigrations });
  say(`migrated ${state.id}`);
} else if (mode === "hold") {
  const state = await ControlState.open(host, directory, silentLogger);
  say(`open ${state.id}`);
  // Nothing refers to it from here on, and it is held all the same.
  for (;;) await Bun.sleep(100).then(() => Bun.gc(true));
} else {
  for (;;) {
    const state = await ControlState.open(host, directory, silentLogger);
    say(`open ${state.id}`);
    for (let writes = 0; writes < 200; writes++) {
      say(writeOne(state));
      if (mode === "backup" && writes % 3 === 0) {
        state.backup(`${directory}/backup`, { replace: true });
        say(`backup ${count}`);
      }
    }
    state.close();
  }
}
