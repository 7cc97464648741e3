/** The command line: commands, options and the help that teaches them. No command does its work here. */
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { MeshError } from "../base/errors.ts";
import type { SocketAddress } from "../base/ip.ts";
import { ports } from "../base/limits/ports.ts";
import { namesControlPlane } from "../config/control/client.ts";
import { adminSocketPaths } from "../config/node/admin_socket.ts";
import { joinSettingNames, nodeSettingNames } from "../config/settings.ts";
import { Invalid, readAddress } from "../config/value.ts";
import type { AdminTarget, CliBindings, ExitCode } from "./bindings.ts";
import { addClientOptions } from "./control/client.ts";
import { addControlCommands } from "./control/commands.ts";
import { controlResources } from "./control/resources.ts";
import { type ShowFlags, show } from "./control/show.ts";
import { examples, overview } from "./help.ts";
import { removeCaptureRules, showCapture } from "./node/capture.ts";
import { get } from "./node/get.ts";
import { drain, logLevel } from "./node/operate.ts";
import { resources } from "./node/resources.ts";
import { runNode } from "./node/run.ts";
import { reportConfigErrors } from "./report.ts";
import { addSettingOptions, loadFromOptions } from "./setting_options.ts";
import { colored, plain, type Style } from "./style.ts";
import { validate } from "./validate.ts";

/** Runs one command to its end. Never throws for a wrong call or a fault; our own bugs do come out. */
export async function runCli(bindings: CliBindings): Promise<ExitCode> {
  const { terminal } = bindings;
  const style = terminal.isTerminal ? colored : plain;
  const outcome: { code: ExitCode } = { code: 0 };
  const program = buildProgram(bindings, style, (code) => {
    outcome.code = code;
  });
  try {
    await program.parseAsync([...bindings.arguments], { from: "user" });
    return outcome.code;
  } catch (thrown) {
    // Commander has said it already: help and --version are no failure, the rest is a wrong call.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
    if (!(thrown instanceof MeshError)) throw thrown;
    terminal.error(`${style.red("fairlead:")} ${thrown.message} (${thrown.code})\n`);
    return 1;
  }
}

function buildProgram(bindings: CliBindings, style: Style, finish: (code: ExitCode) => void): Command {
  const { terminal } = bindings;
  const program = new Command("fairlead");
  // Inherited by the commands made below.
  program
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.error(text),
      outputError: (text, write) => write(style.red(text)),
      getOutHasColors: () => terminal.isTerminal,
      getErrHasColors: () => terminal.isTerminal,
    })
    .configureHelp({ showGlobalOptions: false, styleTitle: style.bold, helpWidth: 110 })
    .showHelpAfterError("(--help shows what there is)")
    .description(overview)
    .version(versionLine(bindings), "-V, --version", "show the version")
    .helpCommand(false)
    .action(() => program.help());
  addNodeCommand(program, "up", bindings, style, finish);
  addNodeCommand(program, "node", bindings, style, finish);
  addValidate(program, bindings, style, finish);
  addGet(program, bindings, style, finish);
  addDrain(program, bindings, style, finish);
  addLogLevel(program, bindings, style, finish);
  addCapture(program, bindings, style, finish);
  addControlCommands(program, { bindings, style, finish });
  addVersion(program, bindings);
  return program;
}

const nodeSummary = {
  up: "run a mesh on this host: everything it needs, with a CA of its own",
  node: "run this host's node tunnel in a mesh: a control plane's, or one whose CA is given as files",
} as const;

function addNodeCommand(
  program: Command,
  role: keyof typeof nodeSummary,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  const command = program.command(role).summary(nodeSummary[role]).description(nodeSummary[role]);
  // A mesh of its own has no use for them; who gives one all the same is told what to run.
  addSettingOptions(command, nodeSettingNames, role === "up" ? joinSettingNames : []);
  command
    .addHelpText("after", examples(role, style))
    .action(async (options: Readonly<Record<string, unknown>>) =>
      finish(await runNode(bindings, style, role, options)),
    );
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
      "Reads and converts mesh documents as a node would. Exit code 0: all are good, 1: some are not.",
    )
    .argument("<PATH...>", "files, and folders of them")
    .option("--json", "one JSON object instead of lines");
  addSettingOptions(command, ["trustDomain", "clusterId", "network", "rootNamespace"]);
  command
    .addHelpText("after", examples("validate", style))
    .action(async (paths: readonly string[], options: Readonly<Record<string, unknown>>) => {
      const { config, errors } = await loadFromOptions(bindings, { ...options, file: paths });
      finish(
        config === null
          ? reportConfigErrors(bindings.terminal, errors)
          : await validate(bindings, style, config, options.json === true),
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
      `Asks the administration port of a running node, or with --control the control plane.\n\nResources of a node:\n${describe(resources)}\n\nResources of the control plane, and any kind of document:\n${describe(controlResources)}`,
    )
    .argument("<RESOURCE>", "one of those above")
    .addOption(
      new Option("-o, --output <FORMAT>", "how it is written")
        .choices(["table", "json", "yaml"])
        .default("table"),
    )
    .option("-n, --namespace <NAME>", "only those of this namespace")
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
    .summary("show or remove the rules that capture this host's TCP")
    .description(
      "The rules that `--capture redirect` installs (root). They stay when a node is killed, so that no traffic leaves the mesh unseen.",
    );
  command
    .command("status")
    .summary("show whether rules are loaded, by which program, and what gets in their way")
    .description(
      "Exit code 0: there are none, or they work. 1: they are incomplete or were left behind, or cannot be read.",
    )
    .option("--json", "one JSON object instead of lines")
    .action(async ({ json }: { readonly json?: boolean }) =>
      finish(await showCapture(bindings, style, json === true)),
    );
  command
    .command("remove")
    .summary("remove rules that a killed node has left")
    .description("Removes what any earlier run installed, by nftables or iptables.")
    .option("--force", "also while a node is running here")
    .action(async ({ force }: { readonly force?: boolean }) =>
      finish(await removeCaptureRules(bindings, force === true)),
    );
  command.addHelpText("after", examples("capture", style));
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
      "a node shows tables and JSON; documents as YAML are the control plane's (--control)\n",
    );
    return 2;
  }
  return get(bindings, style, { resource, output, namespace, admin: targetOf(bindings, admin) });
}

const defaultAdmin = `127.0.0.1:${ports.admin}`;

/** The port, or the socket itself. */
type AdminPlace = SocketAddress | { readonly socket: string };

function adminOption(): Option {
  return new Option(
    "--admin <IP:PORT|unix:PATH>",
    "which node of this host: its administration port, or its socket",
  )
    .argParser(parseAdmin)
    .default(parseAdmin(defaultAdmin), defaultAdmin);
}

function targetOf(bindings: CliBindings, place: AdminPlace): AdminTarget {
  if ("socket" in place) return { sockets: [place.socket], address: null };
  return { sockets: adminSocketPaths(bindings.environment, place), address: place };
}

function addDrain(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  program
    .command("drain")
    .summary("let a running node's connections finish, then stop it")
    .description(
      "Asks a running node by its administration socket. For root, the node's own user and its --admin-group.",
    )
    .addOption(adminOption())
    .addHelpText("after", examples("drain", style))
    .action(async ({ admin }: { readonly admin: AdminPlace }) =>
      finish(await drain(bindings, targetOf(bindings, admin))),
    );
}

function addLogLevel(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  program
    .command("log-level")
    .summary("show or change a running node's log level")
    .description(
      "Asks a running node by its administration socket. For root, the node's own user and its --admin-group.",
    )
    .addArgument(new Argument("[LEVEL]", "shown without it").choices(["debug", "info", "warn", "error"]))
    .addOption(adminOption())
    .addHelpText("after", examples("log-level", style))
    .action(async (level: string | undefined, { admin }: { readonly admin: AdminPlace }) =>
      finish(await logLevel(bindings, targetOf(bindings, admin), level ?? null)),
    );
}

function parseAdmin(text: string): AdminPlace {
  if (text.startsWith("unix:") && text.length > "unix:".length) return { socket: text.slice("unix:".length) };
  const address = readAddress(text);
  if (address instanceof Invalid) throw new InvalidArgumentError(`"${text}" is ${address.reason}`);
  return address;
}

function addVersion(program: Command, bindings: CliBindings): void {
  program
    .command("version")
    .summary("show the version")
    .description("Shows the version of the program and of the runtime inside it.")
    .option("--json", "one JSON object")
    .action((options: { readonly json?: boolean }) => {
      bindings.terminal.out(
        options.json === true
          ? `${JSON.stringify({ name: "fairlead", ...bindings.version })}\n`
          : `${versionLine(bindings)}\n`,
      );
    });
}

function versionLine(bindings: CliBindings): string {
  const { version = "unknown", ...rest } = bindings.version;
  const details = Object.entries(rest).map(([name, value]) => `${name} ${value}`);
  return `fairlead ${version} (${details.join(", ")})`;
}
