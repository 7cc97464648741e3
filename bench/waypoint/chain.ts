/** A caller's node, a waypoint and the application's node as processes on loopback; the waypoint is what is measured. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestAuthority } from "../../conformance/peer/lab/authority.ts";
import { Subprocess } from "../../conformance/peer/lab/subprocess.ts";
import { emptyMiddleware, middleware, policies, routes } from "../micro/waypoint_documents.ts";
import { envoyWaypoint } from "./envoy.ts";
import { authentication, type BenchToken } from "./token.ts";

export interface Chain {
  /** The waypoint's process. */
  readonly waypoint: Subprocess;
  /** Where the caller's node leads to each service. */
  readonly http1: string;
  readonly http2: string;
  /** Serves `/64k` over HTTP/1.1; the one for HTTP/2 does so, too. */
  readonly large: string;
  /** gRPC's own interoperability server, where the chain has one. */
  readonly grpc: string;
  stop(): Promise<void>;
}

const addresses = { caller: "127.3.0.1", application: "127.3.0.3", waypoint: "127.3.0.9" };
const hbonePort = 25_208;
const services = [
  { name: "one", vip: "240.3.0.1", protocol: "HTTP", port: 28_380, caller: 28_390 },
  { name: "two", vip: "240.3.0.2", protocol: "HTTP2", port: 28_381, caller: 28_391 },
  { name: "three", vip: "240.3.0.3", protocol: "HTTP", port: 28_382, caller: 28_392 },
  { name: "four", vip: "240.3.0.4", protocol: "GRPC", port: 28_383, caller: 28_393 },
];

/** What each service has; nothing of it by default. */
export interface Shape {
  /** So many routes, and as many policies. */
  readonly rules: number;
  /** Of Fairlead alone. */
  readonly middlewares: number;
  /** An end user's token that each request has to have, whatever the rules; null: none. */
  readonly token: BenchToken | null;
}

export const plain: Shape = { rules: 0, middlewares: 0, token: null };

/** Who is the waypoint. */
export type WaypointSubject =
  | { readonly name: string; readonly fairlead: string }
  | { readonly name: string; readonly envoy: string };

/** @param program Fairlead, for the nodes on both sides. @param loadPath `bench/load`, whose server is the application of HTTP/1.1. */
export async function openChain(
  directory: string,
  program: string,
  subject: WaypointSubject,
  loadPath: string,
  shape: Shape = plain,
  grpcPath: string | null = null,
): Promise<Chain> {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "64k"), new Uint8Array(65_536).fill(0x61));
  writeFileSync(join(directory, "empty.ts"), emptyMiddleware);
  const authority = TestAuthority.create(directory, "bench");
  writeFileSync(join(directory, "mesh.yaml"), documents(shape));
  writeFileSync(join(directory, "nginx.conf"), nginx(directory));
  const started: Subprocess[] = [];
  const start = async (
    name: string,
    argv: readonly string[],
    isReady: ((line: string) => boolean) | null,
  ): Promise<Subprocess> => {
    const process = Subprocess.start({ name, argv, logPath: join(directory, `${name}.log`) });
    started.push(process);
    if (isReady !== null) await process.waitForLine(isReady, 20_000);
    return process;
  };
  const node = (name: string, ...more: readonly string[]) =>
    start(
      name,
      [program, "up", ...common(directory, authority), "--workload", `shop/${name}`, ...more],
      (line) => line.includes("new SVID"),
    );
  /** Envoy writes no access log here, and neither does it. */
  const ownWaypoint = async (path: string): Promise<Subprocess> => {
    const argv = ["--workload", "shop/waypoint", "--waypoint", "shop/waypoint", "--log-level", "warn"];
    if (shape.middlewares > 0) argv.push("--waypoint-middleware", directory);
    const process = await start("waypoint", [path, "up", ...common(directory, authority), ...argv], null);
    await Bun.sleep(2_500);
    return process;
  };
  try {
    await start(
      "http1",
      [loadPath, "serve-http", "-listen", `${addresses.application}:${services[0]?.port}`],
      (line) => line === "ready",
    );
    await start(
      "nginx",
      ["sh", "-c", `echo ready; exec nginx -e ${directory}/nginx.error -c ${directory}/nginx.conf`],
      (line) => line === "ready",
    );
    if (grpcPath !== null)
      await start(
        "grpc",
        [grpcPath, "serve", `${addresses.application}:${services[3]?.port}`],
        (line) => line === "ready",
      );
    await node("application");
    const waypoint =
      "fairlead" in subject
        ? await ownWaypoint(subject.fairlead)
        : await start("waypoint", envoyCommand(subject.envoy, directory, authority, shape), (line) =>
            line.includes("starting main dispatch loop"),
          );
    await node(
      "caller",
      ...services.flatMap(({ name, caller }) => ["--map", `${addresses.caller}:${caller}=${name}.shop:80`]),
    );
    await Bun.sleep(500);
    return {
      waypoint,
      http1: `${addresses.caller}:${services[0]?.caller}`,
      http2: `${addresses.caller}:${services[1]?.caller}`,
      large: `${addresses.caller}:${services[2]?.caller}`,
      grpc: `${addresses.caller}:${services[3]?.caller}`,
      stop: async () => {
        await Promise.all(started.map((each) => each.stop()));
      },
    };
  } catch (error) {
    await Promise.all(started.map((each) => each.stop()));
    throw error;
  }
}

function envoyCommand(
  path: string,
  directory: string,
  authority: TestAuthority,
  { rules, token }: Shape,
): readonly string[] {
  const config = envoyWaypoint({
    authority,
    leaf: authority.issueFor("spiffe://cluster.local/ns/shop/sa/waypoint", "envoy_waypoint"),
    listen: addresses.waypoint,
    hbonePort,
    application: addresses.application,
    rules,
    token,
    services: services.map(({ vip, port, protocol }) => ({
      called: `${vip}:80`,
      port,
      protocol: protocol === "HTTP" ? "http1" : "http2",
    })),
  });
  writeFileSync(join(directory, "envoy.json"), JSON.stringify(config, null, 1));
  return [
    path,
    ...["-c", join(directory, "envoy.json"), "--concurrency", "1", "--disable-hot-restart"],
    ...["--log-level", "warning", "--component-log-level", "main:info"],
  ];
}

function common(directory: string, authority: TestAuthority): readonly string[] {
  return [
    ...["-f", join(directory, "mesh.yaml"), "--hbone-port", `${hbonePort}`],
    ...["--ca-cert", authority.certPath, "--ca-key", authority.keyPath, "--ca-root", authority.certPath],
    ...["--admin", "off", "--admin-socket", "off", "--metrics", "off", "--readiness", "off"],
  ];
}

function nginx(directory: string): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${directory}/${name};`,
  );
  // Its worker reads a file of ours, whoever we are.
  const user = process.getuid?.() === 0 ? "user root; " : "";
  return `${user}daemon off; worker_processes 1; pid ${directory}/nginx.pid; error_log ${directory}/nginx.error;
events { worker_connections 10000; }
http {
  ${temporary.join(" ")}
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; http2_max_concurrent_streams 1000;
  server {
    listen ${addresses.application}:${services[1]?.port} http2; listen ${addresses.application}:${services[2]?.port};
    location / { return 200 "hello, world"; }
    location = /64k { root ${directory}; }
  }
}
`;
}

function documents({ rules, middlewares, token }: Shape): string {
  const workload = (name: keyof typeof addresses, labels: string) => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: shop, labels: {app: ${name}${labels}}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${addresses[name]}, serviceAccount: ${name}}
---
`;
  const entries = services.map(
    ({ name, vip, protocol, port }) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec:
  hosts: [${name}.shop]
  addresses: [${vip}]
  ports: [{number: 80, name: port, protocol: ${protocol}, targetPort: ${port}}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: application}}
---
`,
  );
  const ofServices = services.flatMap(({ name }) => [
    ...(rules === 0 ? [] : [routes(rules, name), policies(rules, name)]),
    middleware(middlewares, name),
    ...(token === null ? [] : [authentication(token, name)]),
  ]);
  return `${workload("caller", "")}${workload("application", "")}${workload("waypoint", ", istio.io/waypoint-for: all")}${entries.join("")}${ofServices.join("")}`;
}
