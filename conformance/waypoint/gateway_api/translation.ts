/**
 * Envoy Gateway's own translation (`egctl x translate`), as one static configuration: what its Envoy would get by xDS, with listeners on
 * loopback.
 */
import { existsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Found } from "../../peer/lab/tools.ts";

type Json = { readonly [name: string]: unknown };

/** One Gateway: its documents, and where its listener is to be. */
export interface GatewayPlace {
  readonly name: string;
  readonly address: string;
  readonly port: number;
}

export interface Server {
  readonly address: string;
  readonly port: number;
}

export function findEgctl(): Found {
  const path = process.env.EGCTL;
  if (path === undefined || path === "") return { missing: "EGCTL is not set" };
  return existsSync(path) ? { path: resolve(path) } : { missing: `EGCTL=${path} does not exist` };
}

/**
 * Gateways of the namespace shop. @param servers where a Service's cluster IP really is: egctl gives no endpoints but those.
 *
 * @throws Error with what egctl says when it refuses a document, or leaves one out. */
export async function translate(
  egctl: string,
  directory: string,
  documents: string,
  gateways: readonly GatewayPlace[],
  servers: ReadonlyMap<string, Server>,
): Promise<Json> {
  const path = join(directory, "gateway_api.yaml");
  writeFileSync(path, documents);
  const child = Bun.spawn(
    [egctl, "x", "translate", "--from", "gateway-api", "--to", "xds", "-o", "json", "-f", path],
    { stdout: "pipe", stderr: "pipe" },
  );
  const [text, said] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if ((await child.exited) !== 0) throw new Error(`egctl: ${said.slice(-2_000)}`);
  writeFileSync(join(directory, "xds.json"), text);
  const { xds } = JSON.parse(text) as {
    readonly xds: Readonly<Record<string, { readonly configs: Json[] }>>;
  };
  const of = (name: string): readonly Json[] => {
    const found = xds[`shop/${name}`];
    if (found === undefined) throw new Error(`egctl gives nothing for the Gateway ${name}`);
    return found.configs;
  };
  const first = gateways[0] === undefined ? [] : of(gateways[0].name);
  const bootstrap = dumped(first, "BootstrapConfigDump", "")[0]?.bootstrap as Json;
  const all = gateways.map((place) => ({ place, configs: of(place.name) }));
  return {
    layered_runtime: bootstrap.layeredRuntime,
    static_resources: {
      listeners: all.flatMap(({ place, configs }) => listeners(place, configs)),
      clusters: all.flatMap(({ configs }) => clusters(configs, servers)),
    },
  };
}

/** What is in a dump of one kind (`envoy/admin/v3/config_dump.proto`). @param list its list; empty for the dump itself. */
function dumped(configs: readonly Json[], kind: string, list: string): readonly Json[] {
  const found = configs.filter((config) => config["@type"] === `type.googleapis.com/envoy.admin.v3.${kind}`);
  return list === "" ? found : found.flatMap((config) => (config[list] ?? []) as readonly Json[]);
}

function clusters(configs: readonly Json[], servers: ReadonlyMap<string, Server>): readonly Json[] {
  const endpoints = new Map(
    dumped(configs, "EndpointsConfigDump", "dynamicEndpointConfigs").map(({ endpointConfig }) => {
      const assignment = endpointConfig as Json;
      return [assignment.clusterName, assignment];
    }),
  );
  return dumped(configs, "ClustersConfigDump", "dynamicActiveClusters").flatMap((one) => {
    const { "@type": _, edsClusterConfig, ...cluster } = one.cluster as Json;
    if (edsClusterConfig === undefined)
      throw new Error(`the cluster ${cluster.name} is of a kind that is not expected`);
    const { serviceName } = edsClusterConfig as Json;
    const loadAssignment = withoutType(
      endpoints.get(serviceName ?? cluster.name) ?? { clusterName: cluster.name },
    );
    return [{ ...cluster, type: "STATIC", loadAssignment: onLoopback(loadAssignment, servers) }];
  });
}

/** Nothing is sent beyond loopback, whatever the translation says. */
function onLoopback(value: unknown, servers: ReadonlyMap<string, Server>): unknown {
  if (Array.isArray(value)) return value.map((item) => onLoopback(item, servers));
  if (typeof value !== "object" || value === null) return value;
  const { socketAddress, ...rest } = value as Json;
  const copy = Object.fromEntries(
    Object.entries(rest).map(([name, item]) => [name, onLoopback(item, servers)]),
  );
  if (socketAddress === undefined) return copy;
  const { address } = socketAddress as Json;
  const server = servers.get(String(address));
  if (server === undefined)
    throw new Error(`egctl gives the endpoint ${address}, which is no server of ours`);
  return { ...copy, socketAddress: { address: server.address, portValue: server.port } };
}

function listeners({ name, address, port }: GatewayPlace, configs: readonly Json[]): readonly Json[] {
  const routes = new Map(
    dumped(configs, "RoutesConfigDump", "dynamicRouteConfigs").map(({ routeConfig }) => {
      const config = routeConfig as Json;
      return [config.name, withoutType(config)];
    }),
  );
  // Beside one that says whether Envoy is ready.
  const found = dumped(configs, "ListenersConfigDump", "dynamicListeners")
    .map(({ activeState }) => withoutType((activeState as Json).listener as Json))
    .filter((listener) => String(listener.name).startsWith(`shop/${name}/`));
  if (found.length !== 1) throw new Error(`egctl gives ${found.length} listeners for the Gateway ${name}`);
  return found.map((listener) => ({
    ...(inlined(listener, routes) as Json),
    name,
    address: { socketAddress: { address, portValue: port } },
  }));
}

/** Routes by name become routes in place; lines of access are left out. */
function inlined(value: unknown, routes: ReadonlyMap<unknown, Json>): unknown {
  if (Array.isArray(value)) return value.map((item) => inlined(item, routes));
  if (typeof value !== "object" || value === null) return value;
  const { rds, accessLog: _, ...rest } = value as Json;
  const copy = Object.fromEntries(Object.entries(rest).map(([name, item]) => [name, inlined(item, routes)]));
  if (rds === undefined) return copy;
  const config = routes.get((rds as Json).routeConfigName);
  if (config === undefined) throw new Error(`egctl gives no routes ${(rds as Json).routeConfigName}`);
  return { ...copy, routeConfig: config };
}

function withoutType({ "@type": _, ...rest }: Json): Json {
  return rest;
}
