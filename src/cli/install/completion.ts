/** Shell completion: one file a shell, which asks nothing of the program, so a key press costs nothing. */
import type { CommandPage, OptionLine } from "./command_tree.ts";

export type Shell = "bash" | "zsh" | "fish";

export function completionFor(shell: Shell, pages: readonly CommandPage[]): string {
  switch (shell) {
    case "bash":
      return bash(pages);
    case "zsh":
      // zsh runs bash's functions.
      return `#compdef fairlead\nautoload -U +X bashcompinit && bashcompinit\n${bash(pages)}\n`;
    case "fish":
      return fish(pages);
  }
}

function bash(pages: readonly CommandPage[]): string {
  const cases = pages.map(({ path, options, children, words }) => {
    const offered = [
      ...children,
      ...words,
      ...options.flatMap(({ short, long }) => (short === null ? [long] : [long, short])),
    ];
    return `    '${path.join(" ")}') words='${offered.join(" ")}' ;;`;
  });
  const paths = pages.map(({ path }) => path.join(" ")).filter((path) => path !== "");
  const choices = uniqueChoices(pages).map(([flag, values]) => `    ${flag}) words='${values.join(" ")}' ;;`);
  return `# Completion of fairlead for bash; made by \`fairlead completion bash\`.
_fairlead() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path='' word words=''
  COMPREPLY=()
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "\${path:+$path }$word" in
      ${paths.map((path) => `'${path}'`).join("|")}) path="\${path:+$path }$word" ;;
    esac
  done
  case "$previous" in
${choices.join("\n")}
  esac
  if [ -z "$words" ] && [ "\${current#-}" = "$current" ]; then
    case "$previous" in
      ${valueFlags(pages).join("|")}) compopt -o default 2>/dev/null; return ;;
    esac
  fi
  [ -n "$words" ] || case "$path" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [ \${#COMPREPLY[@]} -gt 0 ] || compopt -o default 2>/dev/null
}
complete -F _fairlead fairlead
`;
}

function fish(pages: readonly CommandPage[]): string {
  const lines = ["# Completion of fairlead for fish; made by `fairlead completion fish`."];
  lines.push("complete -c fairlead -n __fish_use_subcommand -f");
  for (const { path, options, children, words } of pages) {
    const seen = path.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
    const isHere = seen === "" ? "__fish_use_subcommand" : seen;
    for (const child of children) {
      const summary = pages.find((page) => page.path.join(" ") === [...path, child].join(" "))?.summary ?? "";
      lines.push(`complete -c fairlead -n '${isHere}' -a ${child} -d ${single(summary)}`);
    }
    for (const word of words) lines.push(`complete -c fairlead -n '${isHere}' -a ${word}`);
    for (const option of options) lines.push(`complete -c fairlead -n '${isHere}' ${fishOption(option)}`);
  }
  return `${lines.join("\n")}\n`;
}

function fishOption({ short, long, takesValue, choices, description }: OptionLine): string {
  const parts = [
    ...(short === null ? [] : [`-s ${short.slice(1)}`]),
    `-l ${long.slice(2)}`,
    ...(takesValue ? ["-r"] : []),
    ...(choices.length > 0 ? [`-f -a '${choices.join(" ")}'`] : []),
    `-d ${single(description.split("\n")[0] ?? "")}`,
  ];
  return parts.join(" ");
}

function uniqueChoices(pages: readonly CommandPage[]): readonly (readonly [string, readonly string[]])[] {
  const found = new Map<string, Set<string>>();
  for (const { options } of pages)
    for (const { long, choices } of options) {
      if (choices.length === 0) continue;
      const values = found.get(long) ?? new Set<string>();
      found.set(long, values);
      for (const choice of choices) values.add(choice);
    }
  return [...found].map(([flag, values]) => [flag, [...values]] as const);
}

function valueFlags(pages: readonly CommandPage[]): readonly string[] {
  const flags = pages.flatMap(({ options }) =>
    options.filter(({ takesValue }) => takesValue).map(({ long }) => long),
  );
  return [...new Set(flags)].sort();
}

function single(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
