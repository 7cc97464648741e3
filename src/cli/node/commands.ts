/** The commands that ask a running node to do or to show something. Only commands of a few lines do their work here. */
import { Argument, type Command, InvalidArgumentError, Option } from "commander";
import { MeshError } from "../../base/errors.ts";
import { upgradeLimits } from "../../base/limits/host.ts";
import { Invalid, readDuration, writeDuration } from "../../config/value.ts";
import type { AdminTarget, CliBindings, ExitCode } from "../bindings.ts";
import { type CheckFlags, check } from "../check/check.ts";
import { examples } from "../help.ts";
import type { Style } from "../style.ts";
import { type AdminPlace, adminOption, targetOf } from "./admin_place.ts";
import { type TapFlags, tap } from "./tap.ts";
import { readInterval, top } from "./top.ts";
import { type UpgradeFlags, upgrade } from "./upgrade.ts";

export function addNodeCommands(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  addCheck(program, bindings, style, finish);
  addTap(program, bindings, style, finish);
  addTop(program, bindings, style, finish);
  addUpgrade(program, bindings, style, finish);
  addDrain(program, bindings, style, finish);
  addLogLevel(program, bindings, style, finish);
}

function addCheck(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  program
    .command("check")
    .summary("find what is wrong with this host, its node and its policies")
    .description(
      "Each finding has a code (docs/check/), what it means, and a command that mends it or shows more. Exit code 0: no error. 1: at least one, or a warning with --strict.",
    )
    .option("--pre", "this host alone, before a node is installed")
    .option("--strict", "count warnings as errors")
    .option("--json", "print one JSON object in place of lines")
    .addOption(adminOption())
    .addHelpText("after", examples("check", style))
    .action(async ({ admin, ...flags }: CheckFlags & { readonly admin: AdminPlace }) =>
      finish(await check(bindings, style, flags, targetOf(bindings, admin))),
    );
}

function addTap(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  program
    .command("tap")
    .summary("show a running node's connections and requests as they come")
    .description(
      "Shows what the access log says, at every level, until it is stopped. Asks at the node's administration socket.",
    )
    .option("--from <PARTY>", "of this caller: NAMESPACE, NAMESPACE/WORKLOAD, an identity or an address")
    .option("--to <PARTY>", "to this destination, by the same names or a service's host name")
    .option("--failed", "what was refused or broke off")
    .option("--json", "print each record as one JSON object")
    .addOption(adminOption())
    .addHelpText("after", examples("tap", style))
    .action(async ({ admin, ...flags }: TapFlags & { readonly admin: AdminPlace }) =>
      finish(await tap(bindings, style, flags, targetOf(bindings, admin))),
    );
}

function addTop(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  program
    .command("top")
    .summary("show a running node's services live: connections, requests, bytes, failures")
    .description("Press ? for the keys. Where the output is no terminal, prints one table and ends.")
    .addOption(
      new Option("--every <TIME>", "how often the node is asked, 200ms to 60s")
        .argParser((text: string) => {
          const ms = readInterval(text);
          if (ms === null) throw new InvalidArgumentError(`"${text}" is not a time from 200ms to 60s`);
          return ms;
        })
        .default(2_000, "2s"),
    )
    .addOption(adminOption())
    .addHelpText("after", examples("top", style))
    .action(async ({ every, admin }: { readonly every: number; readonly admin: AdminPlace }) =>
      finish(await top(bindings, style, every, targetOf(bindings, admin))),
    );
}

function timeOption(
  flags: string,
  description: string,
  { mostMs, defaultMs }: { readonly mostMs: number; readonly defaultMs: number },
): Option {
  return new Option(flags, description)
    .argParser((text: string) => {
      const ms = readDuration(0, mostMs)(text);
      if (ms instanceof Invalid) throw new InvalidArgumentError(`"${text}" is ${ms.reason}`);
      return ms;
    })
    .default(defaultMs, writeDuration(defaultMs));
}

function addUpgrade(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  program
    .command("upgrade")
    .summary("replace a running node by another binary, or start it again, without cutting a connection")
    .description(
      "The node looks at the binary, starts it with its own listening sockets, and goes on if it does not become ready. Connections that are open live on in the old process until they end or the deadline comes. Without --to, the node's own binary is started again: with settings that were changed, say. Root and the node's own user may do this. Exit code 0: done. 1: refused or rolled back.",
    )
    .option("--to <FILE>", "the new binary; it takes the place of the node's own, which is kept as .previous")
    .option("--check", "only say whether the binary would do")
    .option("--keep-binary", "run --to from where it is, and leave the node's own binary as it is")
    .addOption(
      timeOption("--ready-within <TIME>", "how long the new process may take to become ready, at most 10m", {
        mostMs: upgradeLimits.maxReadyMs,
        defaultMs: upgradeLimits.readyMs,
      }),
    )
    .addOption(
      timeOption(
        "--drain-deadline <TIME>",
        "how long open connections may go on in the old process, at most 24h",
        {
          mostMs: upgradeLimits.maxDrainDeadlineMs,
          defaultMs: upgradeLimits.drainDeadlineMs,
        },
      ),
    )
    .option("--json", "print one JSON object in place of lines")
    .addOption(adminOption())
    .addHelpText("after", examples("upgrade", style))
    .action(async ({ admin, ...flags }: UpgradeFlags & { readonly admin: AdminPlace }) =>
      finish(await upgrade(bindings, style, flags, targetOf(bindings, admin))),
    );
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
      "Asks a running node at its administration socket. Root, the node's own user and its --admin-group may do this.",
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
      "Asks a running node at its administration socket. Root, the node's own user and its --admin-group may do this.",
    )
    .addArgument(
      new Argument("[LEVEL]", "the new level; without it, the level is shown").choices([
        "debug",
        "info",
        "warn",
        "error",
      ]),
    )
    .addOption(adminOption())
    .addHelpText("after", examples("log-level", style))
    .action(async (level: string | undefined, { admin }: { readonly admin: AdminPlace }) =>
      finish(await logLevel(bindings, targetOf(bindings, admin), level ?? null)),
    );
}

/** `fairlead drain`. */
async function drain(bindings: CliBindings, admin: AdminTarget): Promise<ExitCode> {
  await post(bindings, admin, "/quitquitquit");
  bindings.terminal.out("the node waits for open connections to finish, then stops\n");
  return 0;
}

/** `fairlead log-level`. @param level null shows it. */
async function logLevel(bindings: CliBindings, admin: AdminTarget, level: string | null): Promise<ExitCode> {
  const query = level === null ? "" : `?level=${encodeURIComponent(level)}`;
  bindings.terminal.out(await post(bindings, admin, `/logging${query}`));
  return 0;
}

async function post(bindings: CliBindings, admin: AdminTarget, path: string): Promise<string> {
  const { status, text } = await bindings.askAdmin(admin, "POST", path);
  if (status === 200) return text;
  throw new MeshError(status === 403 ? "permission_denied" : "io", "upstream", text.trim());
}
