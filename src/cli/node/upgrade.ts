/** `fairlead upgrade`: a running node's place given to another binary, or to its own started again, without a connection cut. */
import { MeshError } from "../../base/errors.ts";
import { member, text } from "../admin_json.ts";
import type { AdminTarget, CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";

export interface UpgradeFlags {
  /** A binary; absent: the node's own, as it is on the disk now. */
  readonly to?: string;
  readonly check?: boolean;
  /** The installed binary stays what it is. */
  readonly keepBinary?: boolean;
  /** Milliseconds. */
  readonly readyWithin: number;
  readonly drainDeadline: number;
  readonly json?: boolean;
}

/** @throws MeshError as `CliBindings.askAdmin`. */
export async function upgrade(
  bindings: CliBindings,
  style: Style,
  flags: UpgradeFlags,
  target: AdminTarget,
): Promise<ExitCode> {
  const { terminal } = bindings;
  const node: unknown = JSON.parse(await ask(bindings, target, "GET", "/upgrade"));
  const step = member(node, "step");
  if (typeof step === "string") throw new MeshError("limit_reached", "upstream", `${step}; wait for its end`);
  const executable = member(node, "executable");
  const installed = typeof executable === "string" ? executable : null;
  const program = flags.to === undefined ? null : await wholePath(bindings, flags.to);
  const place = program === null || installed === null || flags.keepBinary === true ? null : installed;
  if (program !== null && program === installed)
    return refuse(bindings, `--to ${program} is the node's own binary; leave --to out to start it again`);
  const staged = program !== null && place !== null ? await stage(bindings, program, place) : program;
  if (flags.json !== true) terminal.out(`${text(node, "version")} runs as process ${text(node, "pid")}\n`);
  let outcome: unknown = null;
  try {
    const query = new URLSearchParams({
      ready: String(flags.readyWithin),
      deadline: String(flags.drainDeadline),
    });
    if (staged !== null) query.set("program", staged);
    if (flags.check === true) query.set("check", "1");
    const answer = await ask(bindings, target, "POST", `/upgrade?${query}`);
    outcome = JSON.parse(answer.trim().split("\n").at(-1) ?? "");
  } finally {
    if (place !== null) await settle(bindings, place, member(outcome, "result") === "done");
  }
  if (flags.json === true) terminal.out(`${JSON.stringify(outcome)}\n`);
  else say(bindings, style, outcome, place);
  const result = member(outcome, "result");
  return result === "done" || result === "checked" ? 0 : 1;
}

function say({ terminal }: CliBindings, style: Style, outcome: unknown, place: string | null): void {
  const of = (name: string): string => text(outcome, name);
  switch (member(outcome, "result")) {
    case "done":
      terminal.out(
        `${style.green("done")}: ${of("to")} runs as process ${of("pid")}; the old process ends when its connections have\n`,
      );
      if (place !== null) terminal.out(`${place} is the new binary; ${place}.previous is the old one\n`);
      return;
    case "checked":
      terminal.out(`${style.green("good")}: ${of("to")} runs here and takes the settings of this node\n`);
      return;
    case "rolled back":
      terminal.error(
        `${style.red("rolled back")}: ${of("reason")}\n${of("from")} goes on; nothing was cut\n`,
      );
      return;
    default:
      terminal.error(`${style.red("refused")}: ${of("reason")}\nnothing was changed\n`);
  }
}

/** The node may not see where the file is (a home directory), and it has to be there at the next start: so it is copied first. */
async function stage(bindings: CliBindings, program: string, place: string): Promise<string> {
  const staged = `${place}.new`;
  await must(bindings, ["rm", "-f", "--", staged], place);
  await must(bindings, ["cp", "--", program, staged], place);
  // For the node's own user, too. What is no program stays none: that is the node's to say.
  const isProgram = (await bindings.system.run(["test", "-x", program])).exitCode === 0;
  if (isProgram) await must(bindings, ["chmod", "0755", staged], place);
  return staged;
}

/** @param isDone the node has taken it: it is what the next start runs. */
async function settle(bindings: CliBindings, place: string, isDone: boolean): Promise<void> {
  if (!isDone) {
    await bindings.system.run(["rm", "-f", "--", `${place}.new`]).catch(() => null);
    return;
  }
  await must(bindings, ["ln", "-f", "--", place, `${place}.previous`], place);
  await must(bindings, ["mv", "-f", "--", `${place}.new`, place], place);
}

async function must({ system }: CliBindings, argv: readonly string[], place: string): Promise<void> {
  const { exitCode, output } = await system.run(argv);
  if (exitCode !== 0)
    throw new MeshError(
      "permission_denied",
      "local",
      `${argv.join(" ")}: ${output.trim()}. Run this as who may write beside ${place}, or give --keep-binary`,
    );
}

/** The node has another working directory. @throws MeshError `io` when there is no such file. */
async function wholePath({ system }: CliBindings, path: string): Promise<string> {
  const { exitCode, output } = await system.run(["readlink", "-e", "--", path]);
  if (exitCode === 0) return output.trim();
  throw new MeshError("io", "local", `--to ${path}: there is no such file`);
}

async function ask(
  bindings: CliBindings,
  target: AdminTarget,
  method: "GET" | "POST",
  path: string,
): Promise<string> {
  // By the socket alone: at the port the answer is that it is not for the port.
  const answer = await bindings.askAdmin({ ...target, address: null }, method, path);
  if (answer.status === 200) return answer.text;
  if (answer.status === 404)
    throw new MeshError(
      "unsupported",
      "upstream",
      "this node is of a version that cannot be replaced while it runs",
    );
  const code = answer.status === 403 ? "permission_denied" : answer.status === 409 ? "limit_reached" : "io";
  throw new MeshError(code, "upstream", answer.text.trim());
}

function refuse({ terminal }: CliBindings, message: string): ExitCode {
  terminal.error(`fairlead: ${message}\n`);
  return 2;
}
