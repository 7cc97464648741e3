/** `install`, `uninstall` and `completion`: their options and help. */
import { Argument, type Command } from "commander";
import type { CliBindings, ExitCode } from "../bindings.ts";
import { examples, overview } from "../help.ts";
import type { Style } from "../style.ts";
import { pagesOf } from "./command_tree.ts";
import { completionFor, type Shell } from "./completion.ts";
import { type InstallFlags, install, type UninstallFlags, uninstall } from "./install.ts";
import { manualOf } from "./man_page.ts";
import type { Documents } from "./plan.ts";

export interface InstallMaking {
  readonly bindings: CliBindings;
  readonly style: Style;
  readonly finish: (code: ExitCode) => void;
}

export function addInstall(program: Command, { bindings, style, finish }: InstallMaking): void {
  const documents = (): Documents => {
    const pages = pagesOf(program);
    const { version = "unknown" } = bindings.version;
    return {
      bash: completionFor("bash", pages),
      zsh: completionFor("zsh", pages),
      fish: completionFor("fish", pages),
      manual: manualOf(pages, overview, version, bindings.system.date()),
    };
  };
  const shared = (command: Command): Command =>
    command
      .option("--dry-run", "print every file and command, and do nothing")
      .option("--root <DIRECTORY>", "files below it alone, and no command: for a package or an image")
      .option("--user <NAME>", "the user that the program runs as; made if it is not there", "fairlead")
      .option("--prefix <DIRECTORY>", "where the program and its pages are", "/usr/local");
  shared(
    program
      .command("install")
      .summary("install this program on this host: user, service, completion, manual")
      .description(
        "Copies this binary, makes a user, a hardened systemd service, directories, shell completion and the manual page. With words behind --, it starts them now and with the host. Installing again brings it up to date, and leaves configuration as it is.",
      )
      .argument("[WORDS...]", "what the service runs: node or control and its options, behind --"),
  )
    .option("--binary <PATH>", "the binary to install, if it is not this one")
    .option("--no-start", "neither start it nor have it started with the host")
    .addHelpText("after", examples("install", style))
    .action(async (words: readonly string[], flags: InstallFlags) =>
      finish(await install(bindings, style, words, flags, documents)),
    );
  shared(
    program
      .command("uninstall")
      .summary("remove what install has put on this host, and leave nothing behind")
      .description(
        "Stops the service and removes it, capture rules, the resolver's set-up, the program, its pages, its user, its configuration and its state.",
      ),
  )
    .option("--keep-state", "leave configuration, keys and state, and the user that they are of")
    .option("--yes", "do not ask")
    .addHelpText("after", examples("uninstall", style))
    .action(async (flags: UninstallFlags) => finish(await uninstall(bindings, style, flags)));
  program
    .command("completion")
    .summary("print the completion of a shell")
    .description(
      "Prints a file of completions, for a host where fairlead was not installed by fairlead install.",
    )
    .addArgument(new Argument("<SHELL>", "the shell").choices(["bash", "zsh", "fish"]))
    .addHelpText("after", examples("completion", style))
    .action((shell: Shell) => {
      bindings.terminal.out(completionFor(shell, pagesOf(program)));
      finish(0);
    });
}
