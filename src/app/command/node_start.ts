/** `fairlead up` and `fairlead node`: a node, and its administration. */
import type { ControlStatus } from "../../agent/join/control_status.ts";
import type { StartedNode } from "../../cli/bindings.ts";
import type { Config } from "../../config/node/config.ts";
import type { ServeHttp } from "../../host/bun/serve_http.ts";
import type { Host } from "../../host/host.ts";
import { serveAdministration } from "../node/administration.ts";
import { prepareNode } from "../node/node.ts";
import { openLog, serveProgram } from "../served.ts";

/** A node with its administration ports. */
export async function startServedNode(
  host: Host,
  serveHttp: ServeHttp,
  config: Config,
): Promise<StartedNode> {
  const logger = openLog(host, config.log);
  const node = await prepareNode(host, config, logger);
  // With documents it listens now or never; a control plane may be away for long, and administration says so meanwhile.
  if (config.control === null) await node.listening;
  const served = await serveProgram({
    host,
    logger,
    serveHttp,
    program: { ...node, isIdle: () => node.context.connections.size === 0 && node.pending().length === 0 },
    unit: "connection",
    open: (ports, drain) => serveAdministration(host, node, config, logger, ports, drain),
    started: node.listening,
  });
  return {
    ...served,
    createdAuthority: node.createdAuthority,
    trustDomain: node.trustDomain,
    control: describeControl(node.control()),
    localWorkloads: node.context.locals.all.map(({ namespace, name, addresses }) => ({
      name: `${namespace}/${name}`,
      addresses: addresses.map((ip) => ip.text),
    })),
  };
}

function describeControl(status: ControlStatus | null): StartedNode["control"] {
  if (status === null) return null;
  return { server: status.server, identity: status.node?.identity ?? null };
}
