/** Commands of the pages for users, as they stand there. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const repository = join(import.meta.dir, "..", "..");

export const pages: readonly string[] = [
  "README.md",
  ...readdirSync(join(repository, "docs"))
    .filter((name) => name.endsWith(".md"))
    .sort()
    .map((name) => `docs/${name}`),
];

export interface PageCommand {
  readonly page: string;
  readonly lineNumber: number;
  /** Without its comment; lines that end with a backslash are joined. */
  readonly text: string;
}

const programs =
  /^(?:fairlead|dist\/fairlead|npm|curl|python3|openssl|mkdir|mv|cp|export|nft|iptables|tc|ip|systemctl|docker|node|deno)\b/;

export function pageText(page: string): string {
  return readFileSync(join(repository, page), "utf8");
}

/** Of fenced blocks in no other language than a shell's. What a command prints is in blocks as well, and begins with no program's name. */
export function commandsOf(page: string, text: string): readonly PageCommand[] {
  const found: PageCommand[] = [];
  for (const block of text.matchAll(/^( *)```(\w*)\n([\s\S]*?)^\1```$/gm)) {
    if (!["", "sh", "bash"].includes(block[2] ?? "")) continue;
    let lineNumber = text.slice(0, block.index).split("\n").length;
    let held = "";
    for (const line of (block[3] ?? "").split("\n")) {
      lineNumber++;
      const joined = held + line.trim();
      held = joined.endsWith("\\") ? `${joined.slice(0, -1).trim()} ` : "";
      if (held === "" && programs.test(joined))
        found.push({ page, lineNumber, text: joined.replace(/\s+#.*$/, "") });
    }
  }
  return found;
}

/** `fairlead …` in the running text: the words behind it, up to the end of the code. */
export function spokenCommands(text: string): readonly string[] {
  const prose = text.replace(/^( *)```[\s\S]*?^\1```$/gm, "");
  return [...prose.matchAll(/`(fairlead [a-z][^`]*)`/g)].map(([, command = ""]) => command);
}
