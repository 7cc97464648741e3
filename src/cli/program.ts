/** The command line: commands, options and the help that teaches them. */
import { Command, CommanderError } from "commander";
import { MeshError } from "../base/errors.ts";
import type { CliBindings } from "./bindings.ts";
import { overview } from "./help.ts";
import { addNodeCommand } from "./node_command.ts";
import { colored, plain, type Style } from "./style.ts";
import { versionLine } from "./version_line.ts";

/** Runs one command to its end. Never throws for a wrong call or a fault; our own bugs do come out. */
export async function runCli(bindings: CliBindings): Promise<number> {
  const { terminal } = bindings;
  const style = terminal.isTerminal ? colored : plain;
  const outcome: { code: number } = { code: 0 };
  const finish = (code: number): void => {
    outcome.code = code;
  };
  const program = emptyProgram(bindings, style);
  const [command] = bindings.arguments;
  // A node runs for long, and would hold what it was never called for: 500 options, and the code of 60 commands.
  if (command === "up" || command === "node") addNodeCommand(program, command, bindings, style, finish);
  else (await import("./all_commands.ts")).addAllCommands(program, bindings, style, finish);
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

/** Without a command yet. */
function emptyProgram(bindings: CliBindings, style: Style): Command {
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
    .showHelpAfterError("(--help shows all commands and options)")
    .description(overview)
    .version(versionLine(bindings), "-V, --version", "show the version")
    .helpCommand(false)
    .action(() => program.help());
  return program;
}
