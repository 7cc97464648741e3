/** What the attacks meet: a caller's node, a waypoint and the applications' node, as real processes, and applications of several makes. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Subprocess } from "../peer/lab/subprocess.ts";
import { buildGo, repository } from "../peer/lab/tools.ts";
import { nginxBackend } from "./nginx.ts";

export interface Backend {
  readonly name: string;
  /** Null when it can run here. */
  readonly missing: string | null;
  /** Of the service's port. */
  readonly protocol: "HTTP" | "HTTP2";
  /** `trafficPolicy` of a server outside the mesh; left out for an application of it. */
  readonly outside?: () => string;
  /** The waypoint's folder of files that documents name; one for all. */
  readonly files?: () => string;
  readonly command: (address: string, port: number, directory: string) => readonly string[];
  /** What it has seen since the last time; asked around the mesh. */
  readonly log: (address: string, port: number, directory: string) => Promise<readonly string[]>;
}

const addresses = {
  caller: "127.2.0.1",
  application: "127.2.0.3",
  outside: "127.2.0.4",
  waypoint: "127.2.0.9",
};
const hbonePort = 25108;

async function askedLog(address: string, port: number): Promise<readonly string[]> {
  const text = await (await fetch(`http://${address}:${port}/__log__`)).text();
  return text === "" ? [] : text.split("\n");
}

const folder = join(import.meta.dir, "backends");

export function nodeBackend(): Backend {
  const node = Bun.which("node");
  return {
    name: "Node",
    missing: node === null ? "node" : null,
    command: (address, port) => [node ?? "", join(folder, "node_backend.cjs"), `${port}`, address],
    protocol: "HTTP",
    log: askedLog,
  };
}

export function backends(): readonly Backend[] {
  const go = buildGo("conformance/http/backends/go", "fairlead-http-backend");
  const python = Bun.which("python3");
  return [
    nodeBackend(),
    {
      name: "Go",
      missing: "missing" in go ? go.missing : null,
      command: (address, port) => ["path" in go ? go.path : "", `${port}`, address],
      protocol: "HTTP",
      log: askedLog,
    },
    {
      name: "Python",
      missing: python === null ? "python3" : null,
      command: (address, port) => [python ?? "", join(folder, "python_backend.py"), `${port}`, address],
      protocol: "HTTP",
      log: askedLog,
    },
    nginxBackend(),
  ];
}

export interface Stage {
  /** Where the caller's node leads to the backend. */
  readonly target: (index: number) => { readonly hostname: string; readonly port: number };
  /** The application, around the mesh. */
  readonly direct: (index: number) => { readonly hostname: string; readonly port: number };
  readonly log: (index: number) => Promise<readonly string[]>;
  stop(): Promise<void>;
}

/** Others' cases, or a case of its own server. */
export interface Suite {
  readonly name: string;
  readonly missing: string | null;
  /** How many are skipped where it is missing. */
  readonly cases: number;
  readonly backend: Backend;
  /** @param index of the backend. @returns each case that failed; `passed` is how many did not. */
  run(
    stage: Stage,
    index: number,
    directory: string,
  ): Promise<{ readonly passed: number; readonly skipped?: number; readonly failures: readonly string[] }>;
}

export async function openStage(directory: string, made: readonly Backend[]): Promise<Stage> {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "mesh.yaml"), documents(made));
  const started: Subprocess[] = [];
  const start = async (
    name: string,
    argv: readonly string[],
    isReady: (line: string) => boolean,
  ): Promise<void> => {
    const process = Subprocess.start({ name, argv, logPath: join(directory, `${name}.log`) });
    started.push(process);
    await process.waitForLine(isReady);
  };
  try {
    for (const [index, backend] of made.entries())
      await start(
        backend.name,
        backend.command(addressOf(backend), applicationPort(index), directory),
        (line) => line === "ready",
      );
    const node = (name: string, ...more: readonly string[]) =>
      start(
        name,
        [
          process.execPath,
          join(repository, "src/main.ts"),
          "up",
          ...common(directory),
          "--workload",
          `shop/${name}`,
          ...more,
        ],
        (line) => line.includes("new SVID"),
      );
    await node("application");
    const files = made.find((backend) => backend.files !== undefined)?.files?.();
    await node(
      "waypoint",
      "--waypoint",
      "shop/waypoint",
      ...(files === undefined ? [] : ["--waypoint-files", files]),
    );
    await node(
      "caller",
      ...made.flatMap((_, index) => [
        "--map",
        `${addresses.caller}:${callerPort(index)}=web${index}.shop:80`,
      ]),
    );
  } catch (error) {
    await Promise.all(started.map((each) => each.stop()));
    throw error;
  }
  return {
    target: (index) => ({ hostname: addresses.caller, port: callerPort(index) }),
    direct: (index) => ({ hostname: addresses.application, port: applicationPort(index) }),
    log: async (index) =>
      (await made[index]?.log(addresses.application, applicationPort(index), directory)) ?? [],
    stop: async () => {
      await Promise.all(started.map((each) => each.stop()));
    },
  };
}

function addressOf(backend: Backend): string {
  return backend.outside === undefined ? addresses.application : addresses.outside;
}

function applicationPort(index: number): number {
  return 28_180 + index;
}

function callerPort(index: number): number {
  return 28_280 + index;
}

function common(directory: string): readonly string[] {
  return [
    ...[
      "-f",
      join(directory, "mesh.yaml"),
      "--state-directory",
      join(directory, "state"),
      "--hbone-port",
      `${hbonePort}`,
    ],
    ...["--admin", "off", "--admin-socket", "off", "--metrics", "off", "--readiness", "off"],
  ];
}

function documents(made: readonly Backend[]): string {
  const workload = (name: string, address: string, labels: string) => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: shop, labels: {app: ${name}${labels}}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${address}, serviceAccount: ${name}}
---
`;
  const service = ({ protocol, outside }: Backend, index: number) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web${index}, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec:
  hosts: [web${index}.shop]
  addresses: [240.2.0.${index + 1}]
  ports: [{number: 80, name: port, protocol: ${protocol}, targetPort: ${applicationPort(index)}}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: ${outside === undefined ? "application" : "outside"}}}
---
${
  outside === undefined
    ? ""
    : `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web${index}, namespace: shop}
spec:
  host: web${index}.shop
  trafficPolicy: ${outside()}
---
`
}`;
  const outsider = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: outside, namespace: shop, labels: {app: outside}}
spec: {address: ${addresses.outside}}
---
`;
  return (
    outsider +
    workload("caller", addresses.caller, "") +
    workload("application", addresses.application, "") +
    workload("waypoint", addresses.waypoint, ", istio.io/waypoint-for: all") +
    made.map(service).join("")
  );
}
