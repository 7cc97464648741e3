/**
 * The processes of sidecar mode: one control plane, a client and a server that have the application inside their tunnels, an ambient host
 * that calls, an ambient one that serves, and a waypoint.
 */
import { mkdirSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { ControlProcess, fairleadArgv } from "../../control/control_process.ts";
import { hangMs } from "../../peer/lab/eventually.ts";
import { Subprocess } from "../../peer/lab/subprocess.ts";
import { findPython, repository } from "../../peer/lab/tools.ts";

export const addresses = {
  control: "127.5.0.100",
  client: "127.5.0.1",
  ambient: "127.5.0.2",
  inside: "127.5.0.3",
  plain: "127.5.0.4",
  waypoint: "127.5.0.9",
} as const;
export const ports = { web: 25_581, grpc: 25_582, shelf: 25_583 } as const;
const hbonePort = 25_508;
const applicationPort = 28_581;
const grpcPort = 28_582;

export type HostName = "client" | "ambient" | "inside" | "plain" | "waypoint";

export interface SidecarStage {
  readonly control: ControlProcess;
  readonly python: string;
  /** Lines of requests in a host's log, parsed. */
  requests(name: HostName): readonly Readonly<Record<string, unknown>>[];
  stop(): Promise<void>;
}

/** @returns why it cannot be tried. */
export async function openSidecarStage(
  directory: string,
): Promise<SidecarStage | { readonly missing: string }> {
  const python = findPython("grpc");
  if ("missing" in python) return python;
  mkdirSync(directory, { recursive: true });
  const started: Subprocess[] = [];
  const servers: Server[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((each) => each.stop()));
    for (const server of servers) server.close();
    await control.stop();
  };
  const control = await ControlProcess.start({
    directory: join(directory, "control"),
    ip: addresses.control,
    port: 25_512,
  });
  const hosts = new Map<HostName, Subprocess>();
  try {
    await control.apply(mesh());
    servers.push(await echo("inside", addresses.inside), await echo("plain", addresses.plain));
    const grpc = Subprocess.start({
      name: "grpcio",
      argv: [
        ...[python.path, join(repository, "conformance/waypoint/sidecar/grpc_ends.py")],
        ...["serve", `${addresses.inside}:${grpcPort}`],
      ],
      logPath: join(directory, "grpcio.log"),
    });
    started.push(grpc);
    await grpc.waitForLine((line) => line === "serving", hangMs);
    const start = async (name: HostName, ...flags: readonly string[]): Promise<void> => {
      const words = await control.joinWords("--workload", `shop/${name}`);
      const process = Subprocess.start({
        name,
        argv: [
          ...[...fairleadArgv(), ...words, "--state-directory", join(directory, name)],
          ...["--join-address", addresses[name], "--hbone-port", `${hbonePort}`, "--log-format", "json"],
          ...["--admin", "off", "--admin-socket", "off", "--metrics", "off"],
          ...["--readiness", `${addresses[name]}:25521`, ...flags],
        ],
        logPath: join(directory, `${name}.log`),
      });
      started.push(process);
      hosts.set(name, process);
      await ready(process, `http://${addresses[name]}:25521/healthz/ready`);
    };
    const maps = (name: HostName) =>
      Object.entries(ports).flatMap(([service, port]) => [
        "--map",
        `${addresses[name]}:${port}=${service}.shop.mesh:80`,
      ]);
    await Promise.all([
      start("inside", "--l7", "shop/inside"),
      start("plain"),
      start("waypoint", "--waypoint", "shop/waypoint"),
      start("client", "--l7", "shop/client", ...maps("client")),
      start("ambient", ...maps("ambient")),
    ]);
    const requests = (name: HostName) =>
      (hosts.get(name)?.lines() ?? []).flatMap((line) =>
        line.includes('"request complete"') ? [JSON.parse(line)] : [],
      );
    return { control, python: python.path, requests, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function ready(process: Subprocess, url: string): Promise<void> {
  const deadline = performance.now() + hangMs;
  for (;;) {
    const answer = await fetch(url).catch(() => null);
    if (answer?.ok === true) return;
    if (!process.running || performance.now() > deadline)
      throw new Error(`${process.name} did not become ready:\n${process.log().slice(-3000)}`);
    await Bun.sleep(50);
  }
}

/** An application that says what it saw; of `/flaky` every other request fails. */
function echo(name: string, address: string): Promise<Server> {
  let flaky = 0;
  const server = createServer((request, response) => {
    request.resume();
    response.setHeader("x-host", name);
    if (request.url === "/flaky" && ++flaky % 2 === 1) response.statusCode = 503;
    response.end(
      JSON.stringify({ host: name, line: `${request.method} ${request.url}`, headers: request.headers }),
    );
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(applicationPort, address, () => resolve(server));
  });
}

function mesh(): string {
  const workload = (name: HostName, labels: string) => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: shop, labels: {${labels}}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${addresses[name]}, serviceAccount: ${name}}
---
`;
  const service = (
    name: keyof typeof ports,
    vip: string,
    port: string,
    selector: string,
    labels = "",
  ) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop, labels: {${labels}}}
spec:
  hosts: [${name}.shop.mesh]
  addresses: [${vip}]
  ports: [{number: 80, name: port, ${port}}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {${selector}}}
---
`;
  return (
    workload("client", "app: client") +
    workload("ambient", "app: ambient") +
    workload("inside", "app: web, version: v1, grpc: 'yes'") +
    workload("plain", "app: web, version: v2") +
    workload("waypoint", "app: waypoint, istio.io/waypoint-for: all") +
    service("web", "240.5.0.1", `protocol: HTTP, targetPort: ${applicationPort}`, "app: web") +
    service("grpc", "240.5.0.2", `protocol: GRPC, targetPort: ${grpcPort}`, "grpc: 'yes'") +
    service(
      "shelf",
      "240.5.0.3",
      `protocol: HTTP, targetPort: ${applicationPort}`,
      "app: web, version: v2",
      "istio.io/use-waypoint: waypoint",
    ) +
    `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web.shop.mesh, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop.mesh]
  http:
  - match: [{headers: {x-tester: {exact: "yes"}}}]
    route: [{destination: {host: web.shop.mesh, subset: v2}}]
  - route: [{destination: {host: web.shop.mesh, subset: v1}}]
    retries: {attempts: 2, retryOn: 5xx}
---
`
  );
}
