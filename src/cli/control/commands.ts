/** The commands that have to do with a control plane. Only commands of a few lines do their work here. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { controlPlaneSettingNames } from "../../config/settings.ts";
import type { CliBindings, ExitCode } from "../bindings.ts";
import { examples } from "../help.ts";
import { reportConfigErrors } from "../report.ts";
import { addSettingOptions, loadControlPlaneFromOptions } from "../setting_options.ts";
import type { Style } from "../style.ts";
import { untilEnded } from "../until_ended.ts";
import { type AuditFlags, audit } from "./audit.ts";
import { type AuditVerifyFlags, verifyAudit } from "./audit_verify.ts";
import { type AuthorityFlags, exportRoots, rootKey, rotate } from "./authority.ts";
import { backup, type PruneFlags, prune, restore } from "./backup.ts";
import type { StartedControl } from "./bindings.ts";
import { apply, type ChangeFlags, deleteDocuments, diff, rollback } from "./change.ts";
import { addClientOptions } from "./client.ts";
import { createJoinToken, type JoinTokenFlags, revokeJoinToken } from "./join_token.ts";
import { type RevokeFlags, removeNode, revoke } from "./revoke.ts";
import { type ShowFlags, show } from "./show.ts";

/** What every command is made with. */
interface Making {
  readonly bindings: CliBindings;
  readonly style: Style;
  readonly finish: (code: ExitCode) => void;
}

export function addControlCommands(program: Command, making: Making): void {
  addControl(program, making);
  addJoinToken(program, making);
  addChanges(program, making);
  addRevoke(program, making);
  addAuthority(program, making);
  addShow(program, making);
  addState(program, making);
}

function client(parent: Command, name: string, summary: string): Command {
  return addClientOptions(parent.command(name).summary(summary).description(summary));
}

function output(...formats: readonly string[]): Option {
  return new Option("-o, --output <FORMAT>", "the format of the answer").choices(formats).default(formats[0]);
}

function addControl(program: Command, { bindings, style, finish }: Making): void {
  const summary = "run the control plane of a mesh: CA, documents and joining";
  const command = program.command("control").summary(summary).description(summary);
  addSettingOptions(command, controlPlaneSettingNames);
  command
    .addHelpText("after", examples("control", style))
    .action(async (options: Readonly<Record<string, unknown>>) =>
      finish(await runControl(bindings, style, options)),
    );
}

function addJoinToken(program: Command, { bindings, style, finish }: Making): void {
  const summary = "make, list and revoke the one-time tokens by which hosts join";
  const parent = program.command("join-token").summary(summary).description(summary);
  client(parent, "create", "make a join token, and print the command to run on the host")
    .option("--node <NAME>", "for a host of this name, which runs the workloads that documents place on it")
    .option("--workload <NS/NAME>", "for a host that runs this one workload")
    .option("--group <NS/NAME>", "for one more member of this WorkloadGroup")
    .option("--ttl <DURATION>", "how long the token is valid, 1m to 7d (default 1h)")
    .option("--replace", "the host may replace one that has joined under the same name")
    .addOption(output("text", "json"))
    .addHelpText("after", examples("join-token create", style))
    .action(async (flags: JoinTokenFlags) => finish(await createJoinToken(bindings, style, flags)));
  client(parent, "list", "show join tokens, without their secrets")
    .addOption(output("table", "json"))
    .action(async (flags: ShowFlags) => finish(await show(bindings, style, "tokens", flags)));
  client(parent, "revoke", "revoke a join token that was not used yet")
    .argument("<ID>")
    .action(async (id: string, flags: JoinTokenFlags) =>
      finish(await revokeJoinToken(bindings, style, id, flags)),
    );
}

function addChanges(program: Command, { bindings, style, finish }: Making): void {
  const changing = (command: Command): Command =>
    command
      .option("--dry-run", "show what would change, and change nothing")
      .option("--yes", "do not ask")
      .option("--force", "make the change even if nodes can then no longer reach the control plane")
      .addOption(output("text", "json"));
  changing(client(program, "apply", "make mesh documents what these files say: all of it, or nothing"))
    .requiredOption("-f, --file <PATH...>", "documents: a file, or a folder of files")
    .option(
      "--prune <NAMESPACE...>",
      "also remove the documents of these namespaces that the files do not have",
    )
    .addHelpText("after", examples("apply", style))
    .action(async (flags: ChangeFlags) => finish(await apply(bindings, style, flags)));
  changing(client(program, "delete", "remove mesh documents"))
    .argument("<KIND>", "the kind of the documents, such as AuthorizationPolicy")
    .argument("<[NAMESPACE/]NAME...>")
    .addHelpText("after", examples("delete", style))
    .action(async (kind: string, names: readonly string[], flags: ChangeFlags) => {
      const keys = names.map((name) => `${kind} ${name}`);
      finish(await deleteDocuments(bindings, style, keys, flags));
    });
  client(program, "diff", "compare files with the documents in force, or two versions")
    .argument(
      "[VERSION...]",
      "the version to compare from, and the one to compare to (default the last one)",
      parseVersions,
    )
    .option("-f, --file <PATH...>", "documents: a file, or a folder of files")
    .option(
      "--prune <NAMESPACE...>",
      "also count as removed the documents of these namespaces that the files do not have",
    )
    .addOption(output("text", "json"))
    .addHelpText("after", examples("diff", style))
    .action(async (versions: readonly string[] | undefined, flags: ChangeFlags) =>
      finish(await diff(bindings, style, versions ?? [], flags)),
    );
  changing(client(program, "rollback", "bring back the documents of an earlier version"))
    .argument("<VERSION>", "a number from fairlead history", parseVersion)
    .option("-n, --namespace <NAME...>", "bring back only these namespaces")
    .addHelpText("after", examples("rollback", style))
    .action(async (version: number, flags: ChangeFlags & { readonly namespace?: readonly string[] }) =>
      finish(await rollback(bindings, style, version, flags)),
    );
}

function parseVersion(text: string): number {
  if (!/^[0-9]{1,15}$/.test(text)) throw new InvalidArgumentError(`"${text}" is not a version`);
  return Number(text);
}

function parseVersions(text: string, before: readonly string[] = []): readonly string[] {
  if (before.length === 2) throw new InvalidArgumentError("at most two versions can be compared");
  return [...before, String(parseVersion(text))];
}

function addRevoke(program: Command, { bindings, style, finish }: Making): void {
  client(program, "revoke", "revoke a host, an identity, a certificate, an operator or a token")
    .argument("[SPIFFE-ID]", "revoke every certificate of this identity")
    .option("--node <NAME>", "revoke every certificate of this host and of its workloads")
    .option("--serial <HEX>", "revoke one certificate")
    .option("--operator <ISSUER#SUB>", "refuse every token of this operator")
    .option("--token-id <ISSUER#JTI>", "refuse one bearer token, of an operator or a workload")
    .option("--reason <WORDS>", "the reason, for the audit log")
    .option("--lift", "take a revocation back; certificates that were revoked stay revoked")
    .addOption(output("text", "json"))
    .addHelpText("after", examples("revoke", style))
    .action(async (identity: string | undefined, flags: RevokeFlags) =>
      finish(await revoke(bindings, style, identity, flags)),
    );
}

function addAuthority(program: Command, making: Making): void {
  const { bindings, style, finish } = making;
  const summary = "show or replace the mesh's certificate authority";
  const parent = program.command("ca").summary(summary).description(summary);
  client(parent, "show", "show the CA's roots and intermediates")
    .addOption(output("table", "json"))
    .action(async (flags: ShowFlags) => finish(await show(bindings, style, "authorities", flags)));
  client(parent, "export-root", "print the roots in PEM, for programs outside of the mesh").action(
    async (flags: AuthorityFlags) => finish(await exportRoots(bindings, style, flags)),
  );
  client(parent, "rotate", "replace a root or an intermediate while the mesh goes on")
    .argument("<start|status|finish|abort>", "the step of the replacement", parseStep)
    .addOption(
      new Option("--kind <KIND>", "what is replaced").choices(["root", "intermediate"]).default("root"),
    )
    .option("--abandon", "with finish: do not wait for the hosts that are missing; they have to join again")
    .addOption(output("text", "json"))
    .addHelpText("after", examples("ca rotate", style))
    .action(
      async (
        step: Parameters<typeof rotate>[2],
        flags: AuthorityFlags & { readonly kind: "root" | "intermediate" },
      ) => finish(await rotate(bindings, style, step, flags.kind, flags)),
    );
  addRootKey(parent, making);
}

function addRootKey(parent: Command, { bindings, style, finish }: Making): void {
  client(parent, "root-key", "show where the root's key is, or keep it away from the control plane")
    .argument(
      "<status|export|import>",
      "export: out of the state, into a file on its host; import: back into the state",
      parseCustody,
    )
    .addOption(output("text", "json"))
    .addHelpText("after", examples("ca root-key", style))
    .action(async (word: Parameters<typeof rootKey>[2], flags: AuthorityFlags) =>
      finish(await rootKey(bindings, style, word, flags)),
    );
}

function parseCustody(text: string): Parameters<typeof rootKey>[2] {
  if (text === "status" || text === "export" || text === "import") return text;
  throw new InvalidArgumentError(`"${text}" is none of status, export, import`);
}

function parseStep(text: string): Parameters<typeof rotate>[2] {
  if (text === "start" || text === "status" || text === "finish" || text === "abort") return text;
  throw new InvalidArgumentError(`"${text}" is none of start, status, finish, abort`);
}

function addShow(program: Command, { bindings, style, finish }: Making): void {
  const nodes = client(program, "nodes", "show the hosts that have joined, and which of them lag behind")
    .addOption(output("table", "json"))
    .action(async (flags: ShowFlags) => finish(await show(bindings, style, "nodes", flags)));
  client(nodes, "remove", "remove a host for good: its certificates are revoked, and its name is free")
    .argument("<NAME>")
    .action(async (name: string, flags: RevokeFlags) =>
      finish(await removeNode(bindings, style, name, flags)),
    );
  client(program, "history", "show the versions of the documents, newest first")
    .option("--limit <N>", "how many to show")
    .addOption(output("table", "json"))
    .addHelpText("after", examples("history", style))
    .action(async (flags: ShowFlags) => finish(await show(bindings, style, "history", flags)));
  const auditing = client(program, "audit", "show who did what, and what was refused")
    .option("-n, --namespace <NAME>", "only entries of this namespace")
    .option("--actor <NAME>", "only entries of this identity or issuer#subject")
    .option("--action <NAME>", "only this action, such as documents.apply or tokens.create")
    .option("--limit <N>", "how many to show (default 100)")
    .option("--follow", "then go on with new entries as they come")
    .option("--strangers", "show the refusals of unknown callers, which are kept apart")
    .addOption(output("table", "json"))
    .addHelpText("after", examples("audit", style))
    .action(async (flags: AuditFlags) => finish(await audit(bindings, style, flags)));
  addAuditVerify(auditing, { bindings, style, finish });
}

function addAuditVerify(parent: Command, { bindings, style, finish }: Making): void {
  client(parent, "verify", "check the whole audit log against its signed heads")
    .option("--head <NUMBER:HASH...>", "heads that you kept elsewhere, as the control plane's log has them")
    .option("--archive", "check every segment of the control plane's archive, too")
    .option(
      "--heads <PATH...>",
      "files of heads: control-audit-heads.json of hosts, audit-heads.json of a control plane",
    )
    .option("--independent", "read every row and compute the chain here, without trusting the control plane")
    .addOption(output("text", "json"))
    .addHelpText("after", examples("audit verify", style))
    // What `audit` has as well is taken for its own wherever it is written.
    .action(async (_flags: AuditVerifyFlags, command: Command) =>
      finish(await verifyAudit(bindings, style, command.optsWithGlobals<AuditVerifyFlags>())),
    );
}

function addState(program: Command, { bindings, style, finish }: Making): void {
  client(program, "backup", "copy the whole state of a running control plane into a file")
    .argument("<PATH>")
    .addHelpText("after", examples("backup", style))
    .action(async (path: string, flags: ShowFlags) => finish(await backup(bindings, style, path, flags)));
  client(program, "prune", "make room in the state: remove old audit rows and old versions of the documents")
    .requiredOption("--audit-rows <N>", "how many rows of the audit log to keep", parseVersion)
    .requiredOption("--versions <N>", "how many versions of the documents to keep", parseVersion)
    .option("--force", "also remove audit rows that a receiver (file, syslog, OTLP) does not have yet")
    .addHelpText("after", examples("prune", style))
    .action(async (flags: PruneFlags) => finish(await prune(bindings, style, flags)));
  const summary = "restore a back-up on a host where no control plane runs";
  program
    .command("restore")
    .summary(summary)
    .description(summary)
    .argument("<PATH>", "a file that fairlead backup has written")
    .requiredOption("--state-directory <PATH>", "the state directory of the control plane")
    .option("--overwrite", "replace a state that is already there")
    .addHelpText("after", examples("restore", style))
    .action(async (path: string, options: { readonly stateDirectory: string; readonly overwrite?: true }) =>
      finish(await restore(bindings, path, options)),
    );
}

/** `fairlead control`: start, say what to do next, and stop in order. */
async function runControl(
  bindings: CliBindings,
  style: Style,
  options: Readonly<Record<string, unknown>>,
): Promise<ExitCode> {
  const { config, errors } = await loadControlPlaneFromOptions(bindings, options);
  if (config === null) return reportConfigErrors(bindings.terminal, errors);
  const started = await bindings.control.start(config);
  if (bindings.terminal.isTerminal) bindings.terminal.error(describeStarted(started, style));
  await untilEnded(bindings, started);
  return 0;
}

function describeStarted({ address, url, administratorPath }: StartedControl, style: Style): string {
  const lines = [style.bold("the control plane is up")];
  const say = (what: string, value: string): number => lines.push(`  ${style.dim(what.padEnd(14))} ${value}`);
  say("listening", `${address}; nodes reach it as ${url}`);
  say("administrator", administratorPath);
  say("a host joins", "fairlead join-token create --node NAME");
  say("documents", "fairlead apply -f mesh/");
  return `${lines.join("\n")}\n`;
}
