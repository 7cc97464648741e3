/** Every command, for whoever calls one, or asks what there is. Only commands of a few lines do their work here. */
import { type Command, Option } from "commander";
import { namesControlPlane } from "../config/control/client.ts";
import type { CliBindings, ExitCode } from "./bindings.ts";
import { addClientOptions } from "./control/client.ts";
import { addControlCommands } from "./control/commands.ts";
import { controlResources } from "./control/resources.ts";
import { type ShowFlags, show } from "./control/show.ts";
import { addExplain, addPolicy } from "./explain/commands.ts";
import { examples } from "./help.ts";
import { addInstall } from "./install/commands.ts";
import { type AdminPlace, adminOption, targetOf } from "./node/admin_place.ts";
import { confirmCapture, readGuardDuration, removeCaptureRules, showCapture } from "./node/capture.ts";
import { addNodeCommands } from "./node/commands.ts";
import { get } from "./node/get.ts";
import { resources } from "./node/resources.ts";
import { addRun } from "./node/run_program.ts";
import { addNodeCommand } from "./node_command.ts";
import { reportConfigErrors } from "./report.ts";
import { addSchema } from "./schema.ts";
import { addSettingOptions, loadFromOptions } from "./setting_options.ts";
import { addStatus } from "./status.ts";
import type { Style } from "./style.ts";
import { versionLine } from "./version_line.ts";

/** @param finish takes also the exit code of another program. */
export function addAllCommands(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: number) => void,
): void {
  addNodeCommand(program, "up", bindings, style, finish);
  addNodeCommand(program, "node", bindings, style, finish);
  addRun(program, { bindings, style, finish });
  addValidate(program, bindings, style, finish);
  addGet(program, bindings, style, finish);
  addExplain<AdminPlace>(program, {
    bindings,
    style,
    finish,
    adminOption,
    targetOf: (place) => targetOf(bindings, place),
  });
  addPolicy(program, { bindings, style, finish });
  addNodeCommands(program, bindings, style, finish);
  addStatus(program, bindings, style, finish);
  addCapture(program, bindings, style, finish);
  addNames(program, bindings, style, finish);
  addInstall(program, { bindings, style, finish });
  addControlCommands(program, { bindings, style, finish });
  addSchema(program, bindings, style, finish);
  addVersion(program, bindings);
}

function addValidate(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  const command = program
    .command("validate")
    .summary("check mesh documents without running anything")
    .description(
      "Reads and converts mesh documents as a node would. Exit code 0: all are valid. 1: some are not.",
    )
    .argument("<PATH...>", "a file, or a folder of files")
    .option("--json", "print one JSON object in place of lines");
  addSettingOptions(command, ["trustDomain", "clusterId", "network", "rootNamespace"]);
  command
    .addHelpText("after", examples("validate", style))
    .action(async (paths: readonly string[], options: Readonly<Record<string, unknown>>) => {
      const { config, errors } = await loadFromOptions(bindings, { ...options, file: paths });
      finish(
        config === null
          ? reportConfigErrors(bindings.terminal, errors)
          : await (await import("./validate.ts")).validate(bindings, style, config, options.json === true),
      );
    });
}

function addGet(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  const describe = (entries: Readonly<Record<string, { readonly description: string }>>): string =>
    Object.entries(entries)
      .map(([name, { description }]) => `  ${name.padEnd(17)}${description}`)
      .join("\n");
  const command = program
    .command("get")
    .summary("show what a running node or the control plane knows")
    .description(
      `Asks a running node of this host. With --control, asks the control plane.\n\nResources of a node:\n${describe(resources)}\n\nResources of the control plane (a kind, such as AuthorizationPolicy, shows its documents):\n${describe(controlResources)}`,
    )
    .argument("<RESOURCE>", "one of the resources above")
    .addOption(
      new Option("-o, --output <FORMAT>", "the format of the answer")
        .choices(["table", "json", "yaml"])
        .default("table"),
    )
    .option("-n, --namespace <NAME>", "show only this namespace")
    .addOption(adminOption());
  addClientOptions(command)
    .addHelpText("after", examples("get", style))
    .action(async (resource: string, options: ShowFlags & { readonly admin: AdminPlace }) => {
      const asksNode = command.getOptionValueSource("admin") === "cli";
      finish(await getFrom(bindings, style, resource, options, asksNode));
    });
}

function addCapture(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  const command = program
    .command("capture")
    .summary("show, keep or remove the rules that capture this host's TCP")
    .description(
      "Shows, keeps or removes the rules that `--capture` installs (root). The rules stay when a node is killed, so that no traffic goes around the mesh.",
    );
  command
    .command("status")
    .summary("show whether rules are loaded, by which program, and what gets in their way")
    .description(
      "Exit code 0: there are no rules, or they work. 1: they are incomplete, were left behind, or cannot be read.",
    )
    .option("--json", "print one JSON object in place of lines")
    .action(async ({ json }: { readonly json?: boolean }) =>
      finish(await showCapture(bindings, style, json === true)),
    );
  command
    .command("confirm")
    .summary("keep rules that are on trial (--confirm)")
    .description(
      "Asks a running node at its administration socket. Run it from a new session, by the way that you reach this host: without it, the node takes its rules back.",
    )
    .addOption(adminOption())
    .action(async ({ admin }: { readonly admin: AdminPlace }) =>
      finish(await confirmCapture(bindings, targetOf(bindings, admin))),
    );
  command
    .command("guard", { hidden: true })
    .description("What a node on trial starts beside itself.")
    .argument("<DURATION>", "when capture is taken back", readGuardDuration)
    .action(async (afterMs: number) => {
      await bindings.capture.guard(afterMs);
      finish(0);
    });
  command
    .command("remove")
    .summary("remove the rules that a killed node left behind")
    .description("Removes what any earlier run installed, by nftables or iptables.")
    .option("--force", "remove them even while a node is running here")
    .action(async ({ force }: { readonly force?: boolean }) =>
      finish(await removeCaptureRules(bindings, force === true)),
    );
  command.addHelpText("after", examples("capture", style));
}

function addNames(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  const command = program
    .command("names")
    .summary("show or undo what leads this host's programs to names of the mesh")
    .description(
      "Shows or undoes what `--dns-setup` sets up (root). A node that stops undoes it; after one that was killed it stays, and names are not resolved.",
    );
  command
    .command("status")
    .summary("show whether this host's resolver leads to a node")
    .description("Prints off, resolved (systemd-resolved) or resolv-conf (/etc/resolv.conf).")
    .action(async () => {
      bindings.terminal.out(`${await bindings.names.isSet()}\n`);
      finish(0);
    });
  command
    .command("remove")
    .summary("put back the resolver that was there before")
    .description("Undoes what any earlier run has set up. A running node sets it up again.")
    .action(async () => {
      const found = await bindings.names.remove();
      bindings.terminal.out(
        found
          ? "this host resolves names as it did before\n"
          : "nothing of this host's resolver was set up\n",
      );
      finish(0);
    });
  command.addHelpText("after", examples("names", style));
}

/** A name that both have is asked of the control plane when there is talk of one, and not of a node. */
async function getFrom(
  bindings: CliBindings,
  style: Style,
  resource: string,
  options: ShowFlags & { readonly admin: AdminPlace },
  asksNode: boolean,
): Promise<ExitCode> {
  const { output = "table", namespace = null, admin } = options;
  const isNodes = resource in resources;
  const isControls = resource in controlResources || /^[A-Z]/.test(resource);
  const named =
    options.control !== undefined || (isControls && namesControlPlane(options, bindings.environment));
  if (!asksNode && (named || (isControls && !isNodes))) return show(bindings, style, resource, options);
  if (output === "yaml") {
    bindings.terminal.error(
      "a node answers as a table or as JSON; for documents as YAML, ask the control plane (--control)\n",
    );
    return 2;
  }
  return get(bindings, style, { resource, output, namespace, admin: targetOf(bindings, admin) });
}

function addVersion(program: Command, bindings: CliBindings): void {
  program
    .command("version")
    .summary("show the version")
    .description("Shows the version of the program and of the runtime inside it.")
    .option("--json", "print one JSON object")
    .action((options: { readonly json?: boolean }) => {
      bindings.terminal.out(
        options.json === true
          ? `${JSON.stringify({ name: "fairlead", ...bindings.version })}\n`
          : `${versionLine(bindings)}\n`,
      );
    });
}
