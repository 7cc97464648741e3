/** The processes: a caller's node, a waypoint, two versions of an application on hosts of their own, and Envoy with the same routes. */

import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { convertDocuments } from "../../src/mesh/convert/convert_documents.ts";
import { parseDocuments } from "../../src/mesh/documents/parse.ts";
import { planTraffic } from "../../src/mesh/traffic/plan_traffic.ts";
import type { WeightedDestination } from "../../src/mesh/traffic/route_plan.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import { findEnvoy, repository } from "../peer/lab/tools.ts";
import { envoyConfig } from "./envoy_routes.ts";
import type { RouteCase } from "./route_cases.ts";

const addresses = {
  caller: "127.4.0.1",
  v1: "127.4.0.3",
  v2: "127.4.0.4",
  waypoint: "127.4.0.9",
  envoy: "127.4.0.20",
};
const hbonePort = 25_308;
const applicationPort = 28_380;
const firstPort = 28_400;

export interface RouteStage {
  /** Where our caller leads, and Envoy listens. */
  readonly ours: { readonly address: string; readonly port: (index: number) => number };
  readonly envoy: { readonly address: string; readonly port: (index: number) => number } | null;
  /** Why there is no Envoy. */
  readonly missing: string | null;
  stop(): Promise<void>;
}

export async function openRouteStage(directory: string, cases: readonly RouteCase[]): Promise<RouteStage> {
  mkdirSync(directory, { recursive: true });
  const text = documents(cases);
  writeFileSync(join(directory, "mesh.yaml"), text);
  const started: Subprocess[] = [];
  const servers = await Promise.all([echo("v1", addresses.v1), echo("v2", addresses.v2)]);
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((each) => each.stop()));
    for (const server of servers) server.close();
  };
  const start = async (name: string, argv: readonly string[], ready: string): Promise<void> => {
    const process = Subprocess.start({ name, argv, logPath: join(directory, `${name}.log`) });
    started.push(process);
    await process.waitForLine((line) => line.includes(ready));
  };
  const port = (index: number) => firstPort + index;
  try {
    const node = (name: string, ...more: readonly string[]) =>
      start(name, [...command(directory), "--workload", `shop/${name}`, ...more], "new SVID");
    await node("v1");
    await node("v2");
    await node("waypoint", "--waypoint", "shop/waypoint");
    const maps = cases.flatMap((_, index) => [
      "--map",
      `${addresses.caller}:${port(index)}=web${index}.shop.mesh:80`,
    ]);
    await node("caller", ...maps);
    const found = findEnvoy();
    const ours = { address: addresses.caller, port };
    if ("missing" in found) return { ours, envoy: null, missing: found.missing, stop };
    const configPath = join(directory, "envoy.json");
    writeFileSync(configPath, JSON.stringify(envoyOf(text, cases, port), null, 1));
    const flags = ["-c", configPath, "--concurrency", "1", "--disable-hot-restart"];
    const quiet = ["--log-level", "warning", "--component-log-level", "main:info"];
    await start("envoy", [found.path, ...flags, ...quiet], "starting main dispatch loop");
    return { ours, envoy: { address: addresses.envoy, port }, missing: null, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The same plan that the waypoint makes: what is compared is what becomes of it. */
function envoyOf(text: string, cases: readonly RouteCase[], port: (index: number) => number) {
  const { documents: parsed, errors } = parseDocuments([{ path: "mesh.yaml", text }]);
  const [first] = errors;
  if (first !== undefined) throw new Error(`${first.location.line}: ${first.message}`);
  const mesh = { trustDomain: "cluster.local", clusterId: "", rootNamespace: "istio-system", network: "" };
  const { services } = convertDocuments(parsed, mesh);
  const scope = {
    waypoint: { namespace: "shop", gateways: ["shop/waypoint"] },
    serves: () => true,
    rootNamespace: "istio-system",
  };
  const plan = planTraffic(parsed, services, scope, { warn: () => {} });
  const places = cases.flatMap((_, index) => {
    const one = plan.routes.get(`shop/web${index}.shop.mesh:80`);
    return one === undefined ? [] : [{ plan: one, port: port(index) }];
  });
  const clusterOf = ({ missing, service, subset }: WeightedDestination): string | null =>
    missing !== null ? null : (subset ?? (/^shop\/(v[12])\./.exec(service)?.[1] || "v1"));
  const clusters = {
    v1: { address: addresses.v1, port: applicationPort },
    v2: { address: addresses.v2, port: applicationPort },
  };
  return envoyConfig(places, addresses.envoy, clusters, clusterOf);
}

/** An application that says what it saw. */
function echo(version: string, address: string): Promise<Server> {
  const server = createServer((request, response) => {
    request.resume();
    const headers = request.rawHeaders.flatMap((name, i, all) =>
      i % 2 === 0 ? [[name.toLowerCase(), all[i + 1]]] : [],
    );
    response.setHeader("x-version", version);
    response.setHeader("x-secret", "s");
    response.end(JSON.stringify({ version, line: `${request.method} ${request.url}`, headers }));
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(applicationPort, address, () => resolve(server));
  });
}

function command(directory: string): readonly string[] {
  return [
    ...[process.execPath, join(repository, "src/main.ts"), "up", "-f", join(directory, "mesh.yaml")],
    ...["--state-directory", join(directory, "state"), "--hbone-port", `${hbonePort}`],
    ...["--admin", "off", "--admin-socket", "off", "--metrics", "off", "--readiness", "off"],
  ];
}

function documents(cases: readonly RouteCase[]): string {
  const workload = (name: string, address: string, labels: string) => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: shop, labels: {${labels}}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${address}, serviceAccount: ${name}}
---
`;
  const service = (
    name: string,
    host: string,
    vip: string,
    labels: string,
  ) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec:
  hosts: [${host}]
  addresses: [${vip}]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: ${applicationPort}}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {${labels}}}
---
`;
  const rule = (host: string, index: number) => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web${index}, namespace: shop}
spec: {host: ${host}, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
`;
  const ofCase = ({ documents: routes }: RouteCase, index: number): string => {
    const host = `web${index}.shop.mesh`;
    return (
      service(`web${index}`, host, `240.4.0.${index + 1}`, "app: web") +
      service(`v1-${index}`, `v1.${host}`, `240.4.1.${index + 1}`, "app: web, version: v1") +
      service(`v2-${index}`, `v2.${host}`, `240.4.2.${index + 1}`, "app: web, version: v2") +
      rule(host, index) +
      `${routes.replaceAll("HOST", host).replaceAll("NAME", `web${index}`)}---\n`
    );
  };
  return (
    workload("caller", addresses.caller, "app: caller") +
    workload("v1", addresses.v1, "app: web, version: v1") +
    workload("v2", addresses.v2, "app: web, version: v2") +
    workload("waypoint", addresses.waypoint, "app: waypoint, istio.io/waypoint-for: all") +
    cases.map(ofCase).join("")
  );
}
