/** `fairlead status`: of the control plane, or of the node of this host. */
import { type Command, Option } from "commander";
import type { CliBindings, ExitCode } from "./bindings.ts";
import { addClientOptions, hasControlPlane } from "./control/client.ts";
import { type ShowFlags, showStatus } from "./control/show.ts";
import { examples } from "./help.ts";
import { type AdminPlace, adminOption, targetOf, thisNode } from "./node/admin_place.ts";
import { nodeStatus } from "./node/status.ts";
import type { Style } from "./style.ts";

interface StatusFlags extends ShowFlags {
  readonly output: "table" | "json";
  readonly admin?: AdminPlace;
}

export function addStatus(
  program: Command,
  bindings: CliBindings,
  style: Style,
  finish: (code: ExitCode) => void,
): void {
  const command = program
    .command("status")
    .summary("show how the control plane is, and who you are to it; or how the node of this host is")
    .description(
      "Asks the control plane that is named, or the one of this host. Where there is neither, or with --admin, asks the node that runs here. Exit code 1: the node is not ready.",
    );
  addClientOptions(command)
    .addOption(
      new Option("-o, --output <FORMAT>", "the format of the answer")
        .choices(["table", "json"])
        .default("table"),
    )
    .addOption(adminOption().default(undefined))
    .addHelpText("after", examples("status", style))
    .action(async ({ admin, ...flags }: StatusFlags) => {
      if (admin === undefined && (await hasControlPlane(bindings, flags)))
        return finish(await showStatus(bindings, style, flags));
      const target = targetOf(bindings, admin ?? thisNode);
      return finish(await nodeStatus(bindings, style, target, flags.output));
    });
}
