/** A running `fairlead control` under what no caller should send it or ask of it, and what no operator should do to its state. */
import { createPublicKey } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { base64url } from "../../src/pki/testing/token_issuer.ts";
import { hangMs } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import type { Tally } from "../peer/tally.ts";
import { findPythonWithGrpc } from "./certificates.ts";
import { ControlProcess, fairleadArgv } from "./control_process.ts";
import { freePort } from "./free_port.ts";

const prefix = "bad input";

export async function badInputSuite(tally: Tally, directory: string): Promise<void> {
  const own = join(directory, "bad_input");
  mkdirSync(own, { recursive: true });
  const control = await ControlProcess.start({
    directory: join(own, "control"),
    ip: "127.0.0.1",
    port: freePort(),
  });
  try {
    await strangers(tally, control, own);
    await lockOuts(tally, control, own);
    await damagedState(tally, control);
  } finally {
    await control.stop();
  }
}

/** Tokens, certificate requests, floods: by a client that shares nothing with ours. */
async function strangers(tally: Tally, control: ControlProcess, directory: string): Promise<void> {
  const python = findPythonWithGrpc();
  if ("missing" in python) return tally.skip(`${prefix} by python`, python.missing);
  const facts = join(directory, "facts.json");
  writeFileSync(facts, JSON.stringify(await factsOf(control)));
  const client = Subprocess.start({
    name: "bad input",
    argv: [python.path, join(import.meta.dir, "python/bad_input.py"), facts],
    logPath: join(directory, "python.log"),
  });
  const code = await client.exited;
  const outcomes = client
    .lines()
    .filter((line) => line.startsWith("{"))
    .map((line): { case: string; ok: boolean; detail: string } => JSON.parse(line));
  for (const outcome of outcomes)
    tally.check(`${prefix}: ${outcome.case}`, outcome.ok ? null : outcome.detail);
  if (code !== 0 || outcomes.length === 0) tally.fail(prefix, `exit ${code}\n${client.log()}`);
  // Who is not known is in a log of its own.
  const known = await control.must("audit", "--output", "json");
  const strangers = await control.must("audit", "--strangers", "--limit", "1000", "--output", "json");
  tally.check(`${prefix}: the audit log says why, and holds no secret`, judgeAudit(known + strangers));
}

function judgeAudit(text: string): string | null {
  for (const word of [
    "token_algorithm",
    "token_expired",
    "token_audience",
    "token_key_unknown",
    "token_used",
  ])
    if (!text.includes(word)) return `nothing says ${word}`;
  const secret = /fjt_[0-9a-f]{16}_|eyJ[A-Za-z0-9_-]{20}/.exec(text);
  return secret === null ? null : `it holds ${secret[0].slice(0, 8)}…`;
}

async function factsOf(control: ControlProcess): Promise<Record<string, unknown>> {
  const seconds = Math.floor(Date.now() / 1000);
  const token = (claims: Readonly<Record<string, unknown>>) => control.token("shop:cart", claims);
  const joins: string[] = [];
  for (let index = 0; index < 2; index++) {
    const words = await control.joinWords("--node", "edge-1");
    joins.push(words[words.indexOf("--join-token") + 1] ?? "");
  }
  return {
    target: control.url.slice("https://".length),
    roots: await control.must("ca", "export-root"),
    publicKey: publishedKey(control),
    joins,
    tokens: {
      good: await token({}),
      expired: await token({ exp: seconds - 3600 }),
      "not valid yet": await token({ nbf: seconds + 3600 }),
      "for another audience": await token({ aud: ["somebody-else"] }),
      "of another issuer": await token({ iss: "https://evil.example" }),
      "of an unknown kid": renamed(await token({})),
      "of a node": await control.token("fairlead-nodes:edge-1"),
      "of the control plane": await control.token("istio-system:fairlead-control"),
      "of the first administrator": await control.token("istio-system:fairlead-admin"),
      "of a look-alike": await control.token("shop:cart%2f..%2fadmin"),
      "of a path": await control.token("shop/sa/admin:cart"),
    },
  };
}

/** The same token under a key that the issuer does not have. */
function renamed(token: string): string {
  const [, claims, signature] = token.split(".");
  return `${base64url({ alg: "RS256", kid: "unknown" })}.${claims}.${signature}`;
}

/** What anybody can read of the issuer's key, in every form that could be taken for a secret. */
function publishedKey(control: ControlProcess): {
  readonly pem: string;
  readonly jwk: string;
  readonly der: string;
} {
  const set: { keys: { kty: string; n: string; e: string }[] } = JSON.parse(
    readFileSync(join(control.directory, "keys.json"), "utf8"),
  );
  const [jwk] = set.keys;
  if (jwk === undefined) throw new Error("the issuer publishes no key");
  const key = createPublicKey({ key: jwk, format: "jwk" });
  return {
    pem: key.export({ type: "spki", format: "pem" }).toString(),
    der: key.export({ type: "spki", format: "der" }).toString("base64"),
    jwk: JSON.stringify(jwk),
  };
}

/** What an operator could do to the control plane by its own documents. */
async function lockOuts(tally: Tally, control: ControlProcess, directory: string): Promise<void> {
  const service = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: trap, namespace: shop}
spec:
  hosts: [trap.example]
  addresses: [127.0.0.1]
  ports: [{number: 15012, name: tcp, protocol: TCP}]
  resolution: STATIC
`;
  const impostor = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: impostor, namespace: istio-system}
spec: {address: 192.0.2.7, serviceAccount: fairlead-control}
`;
  const apply = async (text: string, ...flags: string[]) => {
    const path = join(directory, "lock_out.yaml");
    writeFileSync(path, text);
    return control.command("apply", "--yes", ...flags, "-f", path);
  };
  const trap = await apply(service);
  tally.check(
    `${prefix}: a service that takes the control plane's address is refused`,
    trap.code !== 0 && /could no longer reach/.test(trap.err)
      ? null
      : `exit ${trap.code}: ${trap.out}${trap.err}`,
  );
  const forced = await apply(impostor, "--force");
  tally.check(
    `${prefix}: no node gets the control plane's identity, not with --force either`,
    forced.code !== 0 ? null : forced.out,
  );
  tally.check(
    `${prefix}: nothing of either is in force`,
    (await control.must("get", "documents", "--output", "json")).includes("trap")
      ? "the service is there"
      : null,
  );
}

/** What happens to files, and who comes second. */
async function damagedState(tally: Tally, control: ControlProcess): Promise<void> {
  const state = join(control.directory, "state");
  const database = join(state, "control.db");
  const second = await startAgain(state);
  tally.check(
    `${prefix}: a second control plane on the same state is refused`,
    refusedWith(second, /another process/),
  );
  // By which it is seen afterwards that the state is the same.
  const token = await control.must("join-token", "create", "--node", "edge-7");
  const id = /fjt_([0-9a-f]+)_/.exec(token)?.[1] ?? "no token was made";
  await control.kill();
  // Killed, so that the last writes are in the log beside it.
  const log = `${database}-wal`;
  const [kept, keptLog] = [readFileSync(database), readFileSync(log)];
  const damaged = Buffer.concat([kept.subarray(0, 100), Buffer.alloc(kept.length - 100, 0x5a)]);
  const cases: readonly (readonly [string, () => void, RegExp])[] = [
    ["damaged", () => writeFileSync(database, damaged), /damaged/],
    ["cut short", () => writeFileSync(database, kept.subarray(0, Math.floor(kept.length / 2))), /damaged/],
    ["empty", () => writeFileSync(database, ""), /restore a back-up/],
    ["gone", () => rmSync(database), /restore a back-up/],
  ];
  for (const [name, spoil, words] of cases) {
    rmSync(log, { force: true });
    spoil();
    const outcome = await startAgain(state);
    tally.check(
      `${prefix}: a database that is ${name} is refused, not started over`,
      refusedWith(outcome, words),
    );
  }
  writeFileSync(database, kept);
  writeFileSync(log, keptLog);
  const keyFile = join(state, "key-encryption.key");
  renameSync(keyFile, `${keyFile}.away`);
  const keyless = await startAgain(state);
  tally.check(
    `${prefix}: without the key-encryption key there is no new one`,
    refusedWith(keyless, /key-encryption/),
  );
  renameSync(`${keyFile}.away`, keyFile);
  await control.start();
  tally.check(
    `${prefix}: with its files back everything is there`,
    (await control.must("join-token", "list", "--output", "json")).includes(id)
      ? null
      : "the token that was made before is gone",
  );
}

interface Ended {
  readonly code: number | null;
  readonly text: string;
}

/** Another process on the same state, at a port of its own. @returns how it ended; null when it did not. */
async function startAgain(state: string): Promise<Ended> {
  const argv = ["control", "--control-listen", `127.0.0.1:${freePort()}`, "--serving-name", "127.0.0.1"];
  const rest = ["--state-directory", state, "--metrics", "off", "--readiness", "off"];
  const child = Bun.spawn([...fairleadArgv(), ...argv, ...rest], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: hangMs,
  });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  await child.exited;
  return { code: child.signalCode === null ? child.exitCode : null, text: `${out}${err}` };
}

function refusedWith({ code, text }: Ended, words: RegExp): string | null {
  if (code === null) return `it went on running\n${text.slice(-500)}`;
  if (code === 0) return `it ended as if all were well\n${text.slice(-500)}`;
  return words.test(text) ? null : `it does not say ${words}: ${text.slice(-500)}`;
}
