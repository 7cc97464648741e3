/** `fairlead up` and `fairlead node`: start, say what is there, and stop in order. */
import { formatSocketAddress } from "../../base/ip.ts";
import type { Config } from "../../config/node/config.ts";
import { formatDuration } from "../age.ts";
import type { CliBindings, ExitCode, StartedNode } from "../bindings.ts";
import { reportConfigErrors } from "../report.ts";
import { loadFromOptions } from "../setting_options.ts";
import type { Style } from "../style.ts";
import { untilEnded } from "../until_ended.ts";

export async function runNode(
  bindings: CliBindings,
  style: Style,
  role: "up" | "node",
  options: Readonly<Record<string, unknown>>,
): Promise<ExitCode> {
  const { config, errors } = await loadFromOptions(role === "up" ? alone(bindings) : bindings, options);
  if (config === null) return reportConfigErrors(bindings.terminal, errors);
  if (role === "up" && config.control !== null) {
    bindings.terminal.error(
      "fairlead up runs a mesh of its own. To join a mesh, run fairlead node --control …\n",
    );
    return 2;
  }
  if (role === "node" && config.ca.kind === "local" && options.stateDirectory === undefined) {
    bindings.terminal.error(
      "fairlead node joins a mesh. Give --control https://HOST:15012, or --ca-cert, --ca-key and --ca-root\n" +
        "(or --state-directory, for a CA of its own, as fairlead up has one)\n",
    );
    return 2;
  }
  if (options.check === true) {
    bindings.terminal.out("the settings are good\n");
    return 0;
  }
  const node = await bindings.startNode(config);
  if (bindings.terminal.isTerminal) bindings.terminal.error(describeNode(config, node, style));
  await untilEnded(bindings, node);
  return 0;
}

/** ztunnel's environment names may be there for others; a mesh of its own asks no control plane. */
function alone(bindings: CliBindings): CliBindings {
  const { XDS_ADDRESS: _xds, CA_ADDRESS: _ca, ...environment } = bindings.environment;
  return { ...bindings, environment };
}

function describeNode(config: Config, node: StartedNode, style: Style): string {
  const lines = [style.bold("fairlead is up")];
  const say = (what: string, value: string): number => lines.push(`  ${style.dim(what.padEnd(14))} ${value}`);
  say("identity", describeCa(config, node));
  for (const workload of node.localWorkloads)
    say("workload", `${workload.name} ${style.dim(workload.addresses.join(", "))}`);
  if (node.control !== null) say("mesh", `from ${node.control.server}`);
  else if (node.localWorkloads.length === 0)
    say("workload", style.yellow("none: no document has an address or the node name of this host"));
  for (const entry of config.socks5) say("SOCKS5", formatSocketAddress(entry.listen));
  for (const entry of config.httpConnect) say("HTTP CONNECT", formatSocketAddress(entry.listen));
  for (const entry of config.localPorts)
    say("local port", `${formatSocketAddress(entry.listen)} → ${entry.target.host}:${entry.target.port}`);
  if (config.admin !== null) say("admin", `http://${formatSocketAddress(config.admin)}`);
  say(
    "drain",
    `Ctrl-C lets open connections finish for ${formatDuration(config.drainDeadlineMs)}; twice cuts them`,
  );
  return `${lines.join("\n")}\n`;
}

function describeCa(config: Config, node: StartedNode): string {
  const { ca } = config;
  switch (ca.kind) {
    case "files":
      return `signed by ${ca.certificatePath}`;
    case "local": {
      const what = node.createdAuthority ? "new local CA in" : "local CA in";
      return `${what} ${ca.stateDirectory}, trust domain ${config.trustDomain}`;
    }
    case "control":
      return node.control?.identity ?? `signed by the control plane, trust domain ${node.trustDomain}`;
  }
}
