/** `explain` and `policy`: their options and help. */
import { type Command, InvalidArgumentError, type Option } from "commander";
import type { AdminTarget, CliBindings, ExitCode } from "../bindings.ts";
import { addClientOptions } from "../control/client.ts";
import { examples } from "../help.ts";
import { addSettingOptions } from "../setting_options.ts";
import type { Style } from "../style.ts";
import type { ExplainFlags } from "./explain.ts";

const meshOptions = [
  "mesh",
  "trustDomain",
  "clusterId",
  "network",
  "rootNamespace",
  "missingPolicy",
  "l7",
] as const;

export interface ExplainMaking<Place> {
  readonly bindings: CliBindings;
  readonly style: Style;
  readonly finish: (code: ExitCode) => void;
  readonly adminOption: () => Option;
  readonly targetOf: (place: Place) => AdminTarget;
}

export function addExplain<Place>(program: Command, making: ExplainMaking<Place>): void {
  const { bindings, style, finish } = making;
  const command = program
    .command("explain")
    .summary("say why a connection is allowed or denied, and what would have to change")
    .description(
      "Asks a running node of this host; with --control the control plane; with --file it reads documents, and nothing runs.\nExit code 0: allowed. 1: denied, or not everywhere, or it depends on the request. 2: it is not clear what is asked.",
    )
    .option(
      "--from <CALLER>",
      'NAMESPACE/WORKLOAD, NAMESPACE/SERVICE-ACCOUNT, a SPIFFE ID, an address, or "outside"',
    )
    .option("--to <DESTINATION>", "NAMESPACE/WORKLOAD, NAMESPACE/SERVICE, a host name, or an address")
    .option("--port <PORT>", "the port that is called, where there are several", parseNumber(65_535))
    .option(
      "--connection <ID>",
      "a connection of this node that has ended, by the id of its access line",
      parseNumber(Number.MAX_SAFE_INTEGER),
    )
    .option("--json", "print one JSON object in place of lines")
    .addOption(making.adminOption());
  addSettingOptions(command, meshOptions);
  addClientOptions(command)
    .addHelpText("after", examples("explain", style))
    .action(async (options: ExplainFlags & { readonly admin: Place } & Readonly<Record<string, unknown>>) => {
      const { explainCall } = await import("./explain.ts");
      finish(await explainCall(bindings, style, options, making.targetOf(options.admin)));
    });
}

export function addPolicy(
  program: Command,
  { bindings, style, finish }: Pick<ExplainMaking<never>, "bindings" | "style" | "finish">,
): void {
  const parent = program
    .command("policy")
    .summary("test policies before they are in force")
    .description("Tests policies before they are in force.");
  const command = parent
    .command("test")
    .summary("run the PolicyTest documents of these files")
    .description(
      "Runs the PolicyTest documents of files against the mesh that these files come to. Exit code 0: all pass. 1: some do not.",
    )
    .argument("<PATH...>", "a file, or a folder of files")
    .option("--json", "print one JSON object in place of lines");
  addSettingOptions(command, ["trustDomain", "clusterId", "network", "rootNamespace", "missingPolicy"]);
  command
    .addHelpText("after", examples("policy test", style))
    .action(async (paths: readonly string[], options: Readonly<Record<string, unknown>>) => {
      const { testPolicies } = await import("./test_policies.ts");
      finish(await testPolicies(bindings, style, { ...options, file: paths }));
    });
}

function parseNumber(most: number): (text: string) => number {
  return (text) => {
    const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= 1 && value <= most))
      throw new InvalidArgumentError(`"${text}" is not a number from 1 to ${most}`);
    return value;
  };
}
