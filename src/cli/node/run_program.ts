/** `fairlead run --as NS/NAME -- COMMAND…`: one program in the mesh. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { MeshError } from "../../base/errors.ts";
import { joinSettingNames, type SettingName } from "../../config/settings.ts";
import { Invalid, readWorkloadName } from "../../config/value.ts";
import type { CliBindings } from "../bindings.ts";
import { examples } from "../help.ts";
import { reportConfigErrors } from "../report.ts";
import { addSettingOptions, loadFromOptions } from "../setting_options.ts";
import type { Style } from "../style.ts";

/** What one program's node has a use for. */
const runSettings: readonly SettingName[] = [
  ...(["mesh", "nodeName", "network", "clusterId", "rootNamespace"] as const),
  ...joinSettingNames,
  ...([
    "trustDomain",
    "stateDirectory",
    "caCert",
    "caKey",
    "caChain",
    "caRoot",
    "crl",
    "svidLifetime",
  ] as const),
  ...([
    "cryptoProvider",
    "hbonePort",
    "captureMark",
    "captureBackend",
    "originalSource",
    "missingPolicy",
  ] as const),
  ...(["dnsUpstream", "dnsDomain"] as const),
  ...(["admin", "adminSocket", "metrics", "readiness", "logFormat", "logLevel", "drainDeadline"] as const),
];

/** As timeout(1) and docker(1) have it: the program's own codes stay the program's. */
const notStarted = 125;

interface RunFlags {
  readonly as: string;
  readonly user?: string;
  readonly inbound: boolean;
  readonly logLevel?: readonly string[];
}

export function addRun(
  program: Command,
  {
    bindings,
    style,
    finish,
  }: {
    readonly bindings: CliBindings;
    readonly style: Style;
    readonly finish: (code: number) => void;
  },
): void {
  const command = program
    .command("run")
    .summary("run one program in the mesh, in a network of its own")
    .description(
      "Runs one program whose only way out is the mesh (root). Its TCP and its names go to a node of its own, all else is refused; nothing else on this host changes, and nothing is left behind. Ends with the program's exit code, and with 125 when it could not be started.",
    )
    .addOption(
      new Option("--as <NS/NAME>", "the workload that it is, or a service with an endpoint on this host")
        .argParser(readName)
        .makeOptionMandatory(),
    )
    .option("--user <NAME|UID>", "the user that it runs as")
    .option("--no-inbound", "let no peer reach it")
    .argument("<COMMAND...>", "the program and its arguments, behind --");
  addSettingOptions(command, runSettings);
  command
    .addHelpText("after", examples("run", style))
    .action(async (words: readonly string[], flags: RunFlags & Readonly<Record<string, unknown>>) => {
      // The program's own output is what matters.
      const options = { ...flags, logLevel: flags.logLevel ?? ["error"] };
      const { config, errors } = await loadFromOptions(bindings, options);
      if (config === null) {
        reportConfigErrors(bindings.terminal, errors);
        return finish(notStarted);
      }
      const isGiven = (["admin", "adminSocket", "metrics", "readiness"] as const).filter(
        (name) => flags[name] !== undefined,
      );
      const request = {
        as: flags.as,
        command: words,
        // The ports of administration are this host's own node's unless they are asked for.
        config: {
          ...config,
          admin: isGiven.includes("admin") ? config.admin : null,
          adminSocket: isGiven.includes("adminSocket") ? config.adminSocket : null,
          metrics: isGiven.includes("metrics") ? config.metrics : null,
          readiness: isGiven.includes("readiness") ? config.readiness : null,
        },
        inbound: flags.inbound,
        user: flags.user ?? null,
      };
      try {
        finish(await bindings.runProgram(request));
      } catch (thrown) {
        if (!(thrown instanceof MeshError)) throw thrown;
        const remedy =
          thrown.code === "address_in_use" && flags.inbound
            ? "; with --no-inbound the program runs without being reached by peers"
            : "";
        bindings.terminal.error(
          `${style.red("fairlead run:")} ${thrown.message} (${thrown.code})${remedy}\n`,
        );
        finish(notStarted);
      }
    });
}

function readName(text: string): string {
  const name = readWorkloadName(text);
  if (name instanceof Invalid) throw new InvalidArgumentError(`"${text}" is ${name.reason}`);
  return name;
}
