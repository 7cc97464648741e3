/** The command line as data, for what is generated of it: completion and the manual. */
import type { Command } from "commander";

export interface CommandPage {
  /** `["ca", "rotate"]`; empty for the program itself. */
  readonly path: readonly string[];
  readonly summary: string;
  readonly description: string;
  /** `<PATH...>` */
  readonly usage: string;
  readonly options: readonly OptionLine[];
  readonly children: readonly string[];
  /** Words that an argument may be. */
  readonly words: readonly string[];
}

export interface OptionLine {
  readonly flags: string;
  readonly short: string | null;
  readonly long: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
  readonly description: string;
}

export function pagesOf(program: Command): readonly CommandPage[] {
  return visit(program, []);
}

function visit(command: Command, path: readonly string[]): readonly CommandPage[] {
  const help = command.createHelp();
  const children = help.visibleCommands(command).filter((child) => child.name() !== "help");
  const page: CommandPage = {
    path,
    summary: command.summary(),
    description: command.description(),
    usage: command.registeredArguments.map((argument) => help.argumentTerm(argument)).join(" "),
    options: help
      .visibleOptions(command)
      .filter(({ long }) => typeof long === "string")
      .map((option) => ({
        flags: option.flags,
        short: option.short ?? null,
        long: option.long ?? "",
        takesValue: option.required || option.optional,
        choices: option.argChoices ?? [],
        description: option.description,
      })),
    children: children.map((child) => child.name()),
    words: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
  };
  return [page, ...children.flatMap((child) => visit(child, [...path, child.name()]))];
}
