/** The commands that have to do with a control plane. No command does its work here. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { controlPlaneSettingNames } from "../../config/settings.ts";
import type { CliBindings, ExitCode } from "../bindings.ts";
import { examples } from "../help.ts";
import { addSettingOptions } from "../setting_options.ts";
import type { Style } from "../style.ts";
import { type AuditFlags, type AuditVerifyFlags, audit, verifyAudit } from "./audit.ts";
import { type AuthorityFlags, exportRoots, rotate } from "./authority.ts";
import { backup, type PruneFlags, prune, restore } from "./backup.ts";
import { apply, type ChangeFlags, deleteDocuments, diff, rollback } from "./change.ts";
import { addClientOptions } from "./client.ts";
import { createJoinToken, type JoinTokenFlags, revokeJoinToken } from "./join_token.ts";
import { type RevokeFlags, removeNode, revoke } from "./revoke.ts";
import { runControl } from "./run.ts";
import { type ShowFlags, show, showStatus } from "./show.ts";

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
  return new Option("-o, --output <FORMAT>", "how it is written").choices(formats).default(formats[0]);
}

function addControl(program: Command, { bindings, style, finish }: Making): void {
  const summary = "run the control plane of a mesh: its CA, its documents, who may join";
  const command = program.command("control").summary(summary).description(summary);
  addSettingOptions(command, controlPlaneSettingNames);
  command
    .addHelpText("after", examples("control", style))
    .action(async (options: Readonly<Record<string, unknown>>) =>
      finish(await runControl(bindings, style, options)),
    );
}

function addJoinToken(program: Command, { bindings, style, finish }: Making): void {
  const summary = "one-time tokens by which hosts join";
  const parent = program.command("join-token").summary(summary).description(summary);
  client(parent, "create", "make one, and print the command for the host")
    .option("--node <NAME>", "for a host of this name, which runs what documents say of it")
    .option("--workload <NS/NAME>", "for a host that runs this one workload")
    .option("--group <NS/NAME>", "for one more member of this WorkloadGroup")
    .option("--ttl <DURATION>", "how long it is good (default 1h)")
    .option("--replace", "it may take the place of a host that has joined under the same name")
    .addOption(output("text", "json"))
    .addHelpText("after", examples("join-token create", style))
    .action(async (flags: JoinTokenFlags) => finish(await createJoinToken(bindings, style, flags)));
  client(parent, "list", "show them, without their secrets")
    .addOption(output("table", "json"))
    .action(async (flags: ShowFlags) => finish(await show(bindings, style, "tokens", flags)));
  client(parent, "revoke", "take one back that has not been used")
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
      .option("--force", "go on where the control plane could not be reached any more")
      .addOption(output("text", "json"));
  changing(client(program, "apply", "change mesh documents: all of it, or nothing"))
    .requiredOption("-f, --file <PATH...>", "documents: files, and folders of them")
    .option("--prune <NAMESPACE...>", "remove what these namespaces have and the files do not")
    .addHelpText("after", examples("apply", style))
    .action(async (flags: ChangeFlags) => finish(await apply(bindings, style, flags)));
  changing(client(program, "delete", "remove mesh documents"))
    .argument("<KIND>", "of the documents, such as AuthorizationPolicy")
    .argument("<[NAMESPACE/]NAME...>")
    .addHelpText("after", examples("delete", style))
    .action(async (kind: string, names: readonly string[], flags: ChangeFlags) => {
      const keys = names.map((name) => `${kind} ${name}`);
      finish(await deleteDocuments(bindings, style, keys, flags));
    });
  client(program, "diff", "compare files with what is in force, or two versions")
    .argument("[VERSION...]", "from, and to (default the last one)", parseVersions)
    .option("-f, --file <PATH...>", "documents: files, and folders of them")
    .option("--prune <NAMESPACE...>", "count as removed what these namespaces have and the files do not")
    .addOption(output("text", "json"))
    .addHelpText("after", examples("diff", style))
    .action(async (versions: readonly string[] | undefined, flags: ChangeFlags) =>
      finish(await diff(bindings, style, versions ?? [], flags)),
    );
  changing(client(program, "rollback", "make the documents what they were in an earlier version"))
    .argument("<VERSION>", "as fairlead history shows it", parseVersion)
    .option("-n, --namespace <NAME...>", "those of these namespaces alone")
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
  if (before.length === 2) throw new InvalidArgumentError("two versions are compared, not more");
  return [...before, String(parseVersion(text))];
}

function addRevoke(program: Command, { bindings, style, finish }: Making): void {
  client(
    program,
    "revoke",
    "take the mesh's trust from a host, an identity, a certificate, an operator or a token",
  )
    .argument("[SPIFFE-ID]", "every certificate of this identity")
    .option("--node <NAME>", "every certificate of this host, its own and those of its workloads")
    .option("--serial <HEX>", "one certificate")
    .option("--operator <ISSUER#SUB>", "every token of this operator")
    .option("--token-id <ISSUER#JTI>", "one bearer token, of an operator or a workload")
    .option("--reason <WORDS>", "for the audit log")
    .option("--lift", "take a revocation back; certificates that were revoked stay so")
    .addOption(output("text", "json"))
    .addHelpText("after", examples("revoke", style))
    .action(async (identity: string | undefined, flags: RevokeFlags) =>
      finish(await revoke(bindings, style, identity, flags)),
    );
}

function addAuthority(program: Command, { bindings, style, finish }: Making): void {
  const summary = "the mesh's certificate authority";
  const parent = program.command("ca").summary(summary).description(summary);
  client(parent, "show", "its roots and intermediates")
    .addOption(output("table", "json"))
    .action(async (flags: ShowFlags) => finish(await show(bindings, style, "authorities", flags)));
  client(parent, "export-root", "the roots in PEM, for who is outside of the mesh").action(
    async (flags: AuthorityFlags) => finish(await exportRoots(bindings, style, flags)),
  );
  client(parent, "rotate", "replace a root or an intermediate, while the mesh goes on")
    .argument("<start|status|finish|abort>", "the step", parseStep)
    .addOption(
      new Option("--kind <KIND>", "what is replaced").choices(["root", "intermediate"]).default("root"),
    )
    .option("--abandon", "with finish: go on without those that it waits for; they join again")
    .addOption(output("text", "json"))
    .addHelpText("after", examples("ca rotate", style))
    .action(
      async (
        step: Parameters<typeof rotate>[2],
        flags: AuthorityFlags & { readonly kind: "root" | "intermediate" },
      ) => finish(await rotate(bindings, style, step, flags.kind, flags)),
    );
}

function parseStep(text: string): Parameters<typeof rotate>[2] {
  if (text === "start" || text === "status" || text === "finish" || text === "abort") return text;
  throw new InvalidArgumentError(`"${text}" is none of start, status, finish, abort`);
}

function addShow(program: Command, { bindings, style, finish }: Making): void {
  client(program, "status", "how the control plane is, and who it takes you for")
    .addOption(output("table", "json"))
    .action(async (flags: ShowFlags) => finish(await showStatus(bindings, style, flags)));
  const nodes = client(program, "nodes", "hosts that have joined, and how far each has followed")
    .addOption(output("table", "json"))
    .action(async (flags: ShowFlags) => finish(await show(bindings, style, "nodes", flags)));
  client(nodes, "remove", "forget a host for good: its certificates are revoked, and its name is free")
    .argument("<NAME>")
    .action(async (name: string, flags: RevokeFlags) =>
      finish(await removeNode(bindings, style, name, flags)),
    );
  client(program, "history", "versions of the documents, the newest first")
    .option("--limit <N>", "how many")
    .addOption(output("table", "json"))
    .addHelpText("after", examples("history", style))
    .action(async (flags: ShowFlags) => finish(await show(bindings, style, "history", flags)));
  const auditing = client(program, "audit", "who did what, and what was refused")
    .option("-n, --namespace <NAME>", "of this namespace")
    .option("--actor <NAME>", "by this identity or issuer#subject")
    .option("--action <NAME>", "such as documents.apply or tokens.create")
    .option("--limit <N>", "how many (default 100)")
    .option("--follow", "go on with what comes")
    .option("--strangers", "refusals of callers that are not known, which are kept apart")
    .addOption(output("table", "json"))
    .addHelpText("after", examples("audit", style))
    .action(async (flags: AuditFlags) => finish(await audit(bindings, style, flags)));
  addAuditVerify(auditing, { bindings, style, finish });
}

function addAuditVerify(parent: Command, { bindings, style, finish }: Making): void {
  client(parent, "verify", "read the whole audit log, and compare it with its signed heads")
    .option("--head <NUMBER:HASH...>", "heads that were kept elsewhere, as the log has them")
    .addOption(output("text", "json"))
    .addHelpText("after", examples("audit verify", style))
    .action(async (flags: AuditVerifyFlags) => finish(await verifyAudit(bindings, style, flags)));
}

function addState(program: Command, { bindings, style, finish }: Making): void {
  client(program, "backup", "copy all state of a running control plane into a file")
    .argument("<PATH>")
    .addHelpText("after", examples("backup", style))
    .action(async (path: string, flags: ShowFlags) => finish(await backup(bindings, style, path, flags)));
  client(program, "prune", "make room in the state: forget old audit rows and old versions of the documents")
    .requiredOption("--audit-rows <N>", "rows of the audit log that are left", parseVersion)
    .requiredOption("--versions <N>", "versions that can still be gone back to", parseVersion)
    .addHelpText("after", examples("prune", style))
    .action(async (flags: PruneFlags) => finish(await prune(bindings, style, flags)));
  const summary = "put a back-up in the place of a state that no control plane runs on";
  program
    .command("restore")
    .summary(summary)
    .description(summary)
    .argument("<PATH>", "what fairlead backup has written")
    .requiredOption("--state-directory <PATH>", "the control plane's")
    .option("--overwrite", "also where there is a state")
    .addHelpText("after", examples("restore", style))
    .action(async (path: string, options: { readonly stateDirectory: string; readonly overwrite?: true }) =>
      finish(await restore(bindings, path, options)),
    );
}
