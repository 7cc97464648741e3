/**
 * The processes: two applications of each protocol, our caller's node with a waypoint before them, and an Envoy with what Envoy Gateway makes
 * of the same routes.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { hangMs } from "../../peer/lab/eventually.ts";
import { Subprocess } from "../../peer/lab/subprocess.ts";
import { repository } from "../../peer/lab/tools.ts";
import { type Server as RealServer, translate } from "./translation.ts";

const addresses = {
  caller: "127.4.40.1",
  one: "127.4.40.3",
  two: "127.4.40.4",
  waypoint: "127.4.40.9",
  envoy: "127.4.40.20",
} as const;
const hbonePort = 25_640;
const ports = { http: 28_640, grpc: 28_641 } as const;
const firstPort = 28_900;

export interface PlacedCase {
  readonly protocol: "http" | "grpc";
  readonly documents: string;
}

export interface GatewayStage {
  readonly ours: string;
  readonly envoy: string;
  /** Of a case, at both. */
  port(index: number): number;
  /** Request lines that the application v2 has seen with the header x-a, with its value. */
  readonly seenByTwo: string[];
  stop(): Promise<void>;
}

/** @param tools paths of egctl, Envoy and a Python with grpcio. */
export async function openGatewayStage(
  directory: string,
  cases: readonly PlacedCase[],
  tools: { readonly egctl: string; readonly envoy: string; readonly python: string },
): Promise<GatewayStage> {
  mkdirSync(directory, { recursive: true });
  const started: Subprocess[] = [];
  const servers: Server[] = [];
  const seenByTwo: string[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((each) => each.stop()));
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  };
  const start = async (name: string, argv: readonly string[], ready: string): Promise<void> => {
    const process = Subprocess.start({ name, argv, logPath: join(directory, `${name}.log`) });
    started.push(process);
    await process.waitForLine((line) => line.includes(ready), hangMs);
  };
  const port = (index: number) => firstPort + index;
  try {
    servers.push(
      await application("v1", addresses.one, []),
      await application("v2", addresses.two, seenByTwo),
    );
    const ends = [tools.python, join(repository, "conformance/waypoint/gateway_api/grpc_ends.py"), "serve"];
    await start("g1", [...ends, "g1", `${addresses.one}:${ports.grpc}`], "serving");
    await start("g2", [...ends, "g2", `${addresses.two}:${ports.grpc}`], "serving");
    const gateways = cases.map((_, index) => ({
      ...{ name: `case-${index}`, address: addresses.envoy, port: port(index) },
    }));
    const real = new Map(Object.values(clusterIps));
    const config = await translate(tools.egctl, directory, forGateways(cases), gateways, real);
    const configPath = join(directory, "envoy.json");
    writeFileSync(configPath, JSON.stringify(config, null, 1));
    const flags = ["-c", configPath, "--concurrency", "1", "--disable-hot-restart"];
    const quiet = ["--log-level", "warning", "--component-log-level", "main:info"];
    await start("envoy", [tools.envoy, ...flags, ...quiet], "starting main dispatch loop");
    const meshPath = join(directory, "mesh.yaml");
    writeFileSync(meshPath, forMesh(cases));
    const node = (name: string, ...more: readonly string[]) =>
      start(
        name,
        [
          ...[process.execPath, join(repository, "src/main.ts"), "up", "-f", meshPath],
          ...["--state-directory", join(directory, "state"), "--hbone-port", `${hbonePort}`],
          ...["--admin", "off", "--admin-socket", "off", "--metrics", "off", "--readiness", "off"],
          ...["--workload", `shop/${name}`, ...more],
        ],
        "new SVID",
      );
    await node("one");
    await node("two");
    await node("waypoint", "--waypoint", "shop/waypoint");
    const maps = cases.flatMap((_, index) => [
      "--map",
      `${addresses.caller}:${port(index)}=case${index}.shop.mesh:80`,
    ]);
    await node("caller", ...maps);
    return { ours: addresses.caller, envoy: addresses.envoy, port, seenByTwo, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Says what it saw; a path that begins with /slow is never answered. */
function application(version: string, address: string, seen: string[]): Promise<Server> {
  const server = createServer((request, response) => {
    request.resume();
    const line = `${request.method} ${request.url}`;
    const mark = request.headers["x-a"];
    if (mark !== undefined) seen.push(`${line} ${mark}`);
    if (request.url?.startsWith("/slow")) return;
    const headers = request.rawHeaders.flatMap((name, i, all) =>
      i % 2 === 0 ? [[name.toLowerCase(), all[i + 1]]] : [],
    );
    response.setHeader("x-version", version);
    response.setHeader("x-secret", "s");
    response.end(JSON.stringify({ version, line, headers }));
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(ports.http, address, () => resolve(server));
  });
}

function placed({ documents }: PlacedCase, index: number, parent: string): string {
  return `${documents.replaceAll("NAME", `case${index}`).replaceAll("PARENT", parent)}---\n`;
}

function forMesh(cases: readonly PlacedCase[]): string {
  const workload = (name: string, address: string, labels: string) => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: shop, labels: {${labels}}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${address}, serviceAccount: ${name}}
---
`;
  const service = (
    ...[name, vip, protocol, labels]: readonly [string, string, "http" | "grpc", string]
  ) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec:
  hosts: [${name}.shop.mesh]
  addresses: [${vip}]
  ports: [{number: 80, name: ${protocol}, protocol: ${protocol.toUpperCase()}, targetPort: ${ports[protocol]}}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {${labels}}}
---
`;
  return [
    workload("caller", addresses.caller, "app: caller"),
    workload("one", addresses.one, "app: web, version: one"),
    workload("two", addresses.two, "app: web, version: two"),
    workload("waypoint", addresses.waypoint, "app: waypoint, istio.io/waypoint-for: all"),
    service("v1", "240.4.41.1", "http", "version: one"),
    service("v2", "240.4.41.2", "http", "version: two"),
    service("g1", "240.4.41.3", "grpc", "version: one"),
    service("g2", "240.4.41.4", "grpc", "version: two"),
    ...cases.map(
      (one, index) =>
        service(`case${index}`, `240.4.40.${index + 1}`, one.protocol, "app: web") +
        placed(one, index, `{group: "", kind: Service, name: case${index}}`),
    ),
  ].join("");
}

/** By cluster IP, an address of documentation (RFC 5737). */
const clusterIps: Readonly<Record<string, readonly [string, RealServer]>> = {
  v1: ["192.0.2.1", { address: addresses.one, port: ports.http }],
  v2: ["192.0.2.2", { address: addresses.two, port: ports.http }],
  g1: ["192.0.2.3", { address: addresses.one, port: ports.grpc }],
  g2: ["192.0.2.4", { address: addresses.two, port: ports.grpc }],
};

function forGateways(cases: readonly PlacedCase[]): string {
  const services = Object.entries(clusterIps).map(
    ([name, [ip]]) => `apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: shop}
spec: {clusterIP: ${ip}, ports: [{name: main, port: 80, protocol: TCP}]}
---
`,
  );
  const gateways = cases.map(
    (one, index) => `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: case-${index}, namespace: shop}
spec: {gatewayClassName: eg, listeners: [{name: web, protocol: HTTP, port: 80}]}
---
${placed(one, index, `{name: case-${index}}`)}`,
  );
  return `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
${services.join("")}${gateways.join("")}`;
}
