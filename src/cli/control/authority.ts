/** `fairlead ca`: the roots for others, and the replacement of an authority step by step. */
import type { ControlClientFlags } from "../../config/control/client.ts";
import { type Json, list, number, text } from "../admin_json.ts";
import type { CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";
import { withControl } from "./client.ts";

export interface AuthorityFlags extends ControlClientFlags {
  readonly output?: "text" | "json";
  readonly abandon?: true;
}

export async function exportRoots(
  bindings: CliBindings,
  style: Style,
  flags: AuthorityFlags,
): Promise<ExitCode> {
  return withControl(bindings, style, flags, async (client) => {
    bindings.terminal.out(await client.getText("/v1/ca/roots"));
    return 0;
  });
}

export async function rotate(
  bindings: CliBindings,
  style: Style,
  word: "start" | "status" | "finish" | "abort",
  kind: "root" | "intermediate",
  flags: AuthorityFlags,
): Promise<ExitCode> {
  return withControl(bindings, style, flags, async (client) => {
    const path = "/v1/ca/rotation";
    const answer =
      word === "start"
        ? await client.post(path, { kind })
        : word === "status"
          ? await client.get(path)
          : word === "finish"
            ? await client.post(`${path}/finish${flags.abandon === true ? "?abandon=true" : ""}`)
            : await client.delete(path);
    if (flags.output === "json") bindings.terminal.out(`${JSON.stringify(answer, null, 2)}\n`);
    else bindings.terminal.out(describe(answer, style));
    return 0;
  });
}

export async function rootKey(
  bindings: CliBindings,
  style: Style,
  word: "status" | "export" | "import",
  flags: AuthorityFlags,
): Promise<ExitCode> {
  return withControl(bindings, style, flags, async (client) => {
    const path = "/v1/ca/root-key";
    const answer = word === "status" ? await client.get(path) : await client.post(`${path}/${word}`);
    if (flags.output === "json") bindings.terminal.out(`${JSON.stringify(answer, null, 2)}\n`);
    else bindings.terminal.out(`${whereIs(answer)}\n`);
    return 0;
  });
}

function whereIs(answer: Json): string {
  const path = text(answer, "rootKey", "path");
  switch (text(answer, "rootKey", "place")) {
    case "here":
      return "the root's key is sealed in the control plane's state; fairlead ca root-key export takes it out";
    case "file":
      return `the root's key is in ${path} on the control plane's host, and nowhere else: move it to where no host of the mesh reaches it`;
    case "away":
      return `the root's key is kept away; put it back as ${path} on the control plane's host when something has to be signed by it`;
    default:
      return "the root's key is not in the control plane's state: it is where the root is";
  }
}

/** Which step it is in, and what the next one waits for. */
function describe(answer: Json, style: Style): string {
  const phase = text(answer, "rotation", "phase");
  const lines = [`${style.bold(phase)}: ${meaning(phase)}`];
  const say = (what: string, value: string): void => {
    if (value !== "-") lines.push(`  ${style.dim(what.padEnd(9))} ${value}`);
  };
  say("active", text(answer, "rotation", "active"));
  say("next", text(answer, "rotation", "next"));
  say("retiring", text(answer, "rotation", "retiring"));
  const what = text(answer, "rotation", "waiting", "what");
  const names = list(answer, "rotation", "waiting", "names");
  const count = number(answer, "rotation", "waiting", "count");
  if (what === "finish") say("waiting", "for you to run: fairlead ca rotate finish");
  else if (what !== "-") {
    const lack = what === "root" ? "to get the new root" : "to get certificates of the new authority";
    const more = count > names.length ? ` and ${count - names.length} more` : "";
    say("waiting", `for ${count} ${lack}: ${names.map((name) => text(name)).join(", ")}${more}`);
  }
  say("problem", text(answer, "rotation", "problem"));
  return `${lines.join("\n")}\n`;
}

function meaning(phase: string): string {
  switch (phase) {
    case "preparing":
      return "the new authority is announced; it issues once every node has its root";
    case "reissuing":
      return "the new authority issues; the old one is still trusted";
    default:
      return "no rotation is under way";
  }
}
