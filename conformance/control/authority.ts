/**
 * The CA of a real `fairlead control`, by its command line: an intermediate that issues, the root's key kept away, and a start while the
 * OpenBao that has the CA's key is away.
 */
import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { comesTrue } from "../peer/lab/eventually.ts";
import type { Tally } from "../peer/tally.ts";
import { BaoServer, findBao, run } from "./bao_server.ts";
import { type CommandResult, ControlProcess } from "./control_process.ts";
import { freePort } from "./free_port.ts";

export async function authoritySuite(tally: Tally, directory: string): Promise<void> {
  await keptAway(tally, join(directory, "ca"));
  const found = findBao();
  if ("missing" in found) tally.skip("CA: a start while OpenBao is away", found.missing);
  else if (Bun.which("openssl") === null) tally.skip("CA: a start while OpenBao is away", "no openssl");
  else await vaultAway(tally, join(directory, "ca-vault"), found.path);
}

async function keptAway(tally: Tally, directory: string): Promise<void> {
  const check = (name: string, problem: string | null): void => tally.check(`CA: ${name}`, problem);
  const control = await ControlProcess.start({ directory, ip: "127.0.0.1", port: freePort() });
  try {
    const key = join(directory, "state/root-key.pem");
    const database = join(directory, "state/control.db");
    const shown = await control.must("ca", "show");
    check(
      "an intermediate issues, and the root signs intermediates",
      /root +signs intermediates/.test(shown) && /intermediate +issues/.test(shown) ? null : shown,
    );
    const exported = await control.must("ca", "root-key", "export");
    const mode = (statSync(key).mode & 0o777).toString(8);
    check(
      "the root's key is exported to a file that its user alone may read, and said where",
      exported.includes(key) && mode === "600" ? null : `${mode}: ${exported}`,
    );
    check(
      "a key that is in a file is one for OpenSSL",
      opensslReads(key, await control.must("ca", "export-root")),
    );
    const away = join(directory, "away.pem");
    renameSync(key, away);
    await control.kill();
    await control.start();
    const status = await control.must("status");
    check("without it all goes on, a restart too", (await comesTrue(() => isReady(control))) ? null : status);
    check("where it is is said", contains(await control.command("ca", "root-key", "status"), /kept away/));
    const refused = await control.command("ca", "rotate", "start", "--kind", "intermediate");
    check(
      "an intermediate is not made without it, and the file is asked for by name",
      refused.code !== 0 ? contains(refused, /root-key\.pem/) : "it was made",
    );
    renameSync(away, key);
    const made = async (): Promise<boolean> =>
      (await control.command("ca", "rotate", "start", "--kind", "intermediate")).code === 0;
    check("with the file back it is made", (await comesTrue(made)) ? null : await control.must("ca", "show"));
    const isOver = async (): Promise<boolean> =>
      (await control.must("ca", "rotate", "status")).startsWith("idle") && (await isReady(control));
    await control.command("ca", "rotate", "finish", "--abandon");
    check(
      "and the old one is revoked",
      (await comesTrue(isOver))
        ? contains(await control.command("get", "revocations"), /superseded/)
        : await control.must("ca", "rotate", "status"),
    );
    check(
      "which is in the audit log, though it came by itself",
      contains(await control.command("audit", "--action", "authority.revoked"), /fairlead.*serial/),
    );
    await control.must("ca", "root-key", "import");
    const here = contains(
      await control.command("ca", "root-key", "status"),
      /sealed in the control plane's state/,
    );
    check("taken back, the file is gone", existsSync(key) ? "the file is there" : here);
    check(
      "the database never holds it in plain",
      readFileSync(database).includes("PRIVATE KEY") ? "it does" : null,
    );
  } finally {
    await control.stop();
  }
}

async function vaultAway(tally: Tally, directory: string, bao: string): Promise<void> {
  const check = (name: string, problem: string | null): void =>
    tally.check(`CA: OpenBao away: ${name}`, problem);
  run("mkdir", "-p", directory);
  const server = new BaoServer(bao, directory, freePort(), freePort());
  await server.start();
  await server.ask("POST", "sys/mounts/transit", { type: "transit" });
  const root = join(directory, "vault-root.pem");
  const token = join(directory, "vault-token");
  writeFileSync(root, server.rootPem);
  writeFileSync(token, server.rootToken);
  const flags = [
    "--ca",
    "vault-transit",
    "--vault",
    server.url,
    "--vault-root",
    root,
    "--vault-token-file",
    token,
  ];
  const control = await ControlProcess.start({
    directory: join(directory, "control"),
    ip: "127.0.0.1",
    port: freePort(),
    flags,
  });
  try {
    check(
      "before, it is ready",
      (await comesTrue(() => isReady(control))) ? null : await control.must("status"),
    );
    await control.kill();
    await server.kill();
    await control.start();
    check("it starts", (await isReady(control)) ? "Vault is not away" : null);
    check("status says what it waits for", contains(await control.command("status"), /Vault at https:/));
    check(
      "a join line is made",
      contains(await control.command("join-token", "create", "--node", "n"), /sha256:/),
    );
    const revoked = await control.command("revoke", "--node", "n", "--reason", "test");
    check("a revocation is taken", revoked.code === 0 ? null : revoked.err);
    await server.start();
    check(
      "it comes back by itself",
      (await comesTrue(() => isReady(control))) ? null : await control.must("status"),
    );
  } finally {
    await control.stop();
    await server.kill();
  }
}

async function isReady(control: ControlProcess): Promise<boolean> {
  const status: { pending?: readonly string[] } = JSON.parse(
    await control.must("status", "--output", "json"),
  );
  return status.pending?.length === 0;
}

function contains({ out, err }: CommandResult, words: RegExp): string | null {
  return words.test(`${out}${err}`) ? null : `${out}${err}`;
}

function opensslReads(key: string, rootPem: string): string | null {
  if (Bun.which("openssl") === null) return null;
  const of = (...argv: readonly string[]): string => run("openssl", ...argv);
  const root = `${key}.root`;
  writeFileSync(root, rootPem);
  return of("pkey", "-in", key, "-pubout") === of("x509", "-in", root, "-noout", "-pubkey")
    ? null
    : "another key";
}
