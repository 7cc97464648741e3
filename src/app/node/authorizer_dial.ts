/** The way to an external authorizer: through the mesh, as the waypoint, where it is a service of it; else by its name. */
import { MeshError } from "../../base/errors.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Network, Socket } from "../../host/host.ts";
import type { ExternalAuthorizer } from "../../mesh/documents/security.ts";
import { chooseEndpoint } from "../../mesh/route/balance.ts";
import type { EndpointDial } from "../../proxy/endpoint_dial.ts";
import type { NodeContext } from "../../proxy/node_context.ts";
import { dial as dialByName } from "../../transport/dial.ts";
import type { Downstream } from "../../waypoint/exchange.ts";

interface Ways {
  readonly context: NodeContext;
  readonly net: Network;
  readonly dial: EndpointDial;
}

/** @throws MeshError `no_healthy_upstream`, `name_not_found`, `connect_*`, and whatever a tunnel may end with. */
export async function dialAuthorizer(
  { service: name, port }: ExternalAuthorizer,
  { waypoint, source }: Downstream,
  { context, net, dial }: Ways,
): Promise<Socket> {
  const { store, random } = context;
  const slash = name.indexOf("/");
  const hostname = name.slice(slash + 1);
  const service =
    slash === -1
      ? store.serviceByExactHostname(hostname, waypoint.namespace)
      : store.serviceByKey(`${name.slice(0, slash)}/${hostname}`);
  if (service === null) return await dialByName(net, { host: hostname, port }, proxyLimits.connectTimeoutMs);
  const chosen = chooseEndpoint(store, waypoint, service, port, "standard", () => random.float());
  if (chosen === null)
    throw new MeshError(
      "no_healthy_upstream",
      "upstream",
      `no healthy endpoint for ${service.hostname}:${port}`,
    );
  return await dial.connect({
    ...{ source: waypoint, workload: chosen.workload, port: chosen.targetPort, service, client: source },
    throughWaypointOf: null,
  });
}
