/** `fairlead schema`: JSON Schemas of documents, for editors. */
import type { Command } from "commander";
import { nearestWord } from "../mesh/documents/nearest.ts";
import type { CliBindings, ExitCode } from "./bindings.ts";
import { examples } from "./help.ts";
import type { Style } from "./style.ts";

export function addSchema(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  program
    .command("schema")
    .summary("print the JSON Schema of documents, for editors")
    .description(
      "Prints the JSON Schema (draft 7) of one kind of document, or one of all kinds that goes by the document's own kind.",
    )
    .argument("[KIND]", "such as AuthorizationPolicy; all when left out")
    .addHelpText("after", examples("schema", style))
    .action(async (kind: string | undefined) => finish(await schema(bindings, kind ?? null)));
}

/** @param kind null for all. */
export async function schema(
  { schemas: load, terminal }: Pick<CliBindings, "schemas" | "terminal">,
  kind: string | null,
): Promise<ExitCode> {
  const schemas = await load();
  const kinds = Object.keys(schemas.definitions);
  const known = kinds.find((name) => name.toLowerCase() === kind?.toLowerCase());
  if (kind !== null && known === undefined) {
    const meant = nearestWord(kind, kinds);
    const hint = meant === null ? `the kinds are ${kinds.join(", ")}` : `did you mean ${meant}?`;
    terminal.error(`there is no kind ${JSON.stringify(kind)}; ${hint}\n`);
    return 2;
  }
  const whole = known === undefined ? schemas : { $schema: schemas.$schema, ...schemas.definitions[known] };
  terminal.out(`${JSON.stringify(whole, null, 2)}\n`);
  return 0;
}
