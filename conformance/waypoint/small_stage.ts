/**
 * The processes of one service: a caller's node, the node of the application web, and its waypoint. `FAIRLEAD=dist/fairlead` takes the
 * binary.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Subprocess } from "../peer/lab/subprocess.ts";
import { repository } from "../peer/lab/tools.ts";

export interface SmallStageOptions {
  /** The third byte of its addresses, and the last two digits of its ports: stages of one machine must differ. */
  readonly number: number;
  /** Of the waypoint. */
  readonly flags: readonly string[];
  /** Beside workloads and the service `web.shop.mesh`; in any namespace. */
  readonly documents: string;
  /** Where the waypoint's `--waypoint-files` are, by namespace and name. */
  readonly files?: Readonly<Record<string, string>>;
}

export interface SmallStage {
  /** Where the application is to listen. */
  readonly application: { readonly address: string; readonly port: number };
  /** What a client calls. */
  readonly url: string;
  /** Of the waypoint. */
  readonly metricsUrl: string;
  /** What the waypoint has said so far. */
  log(): string;
  stop(): Promise<void>;
}

/** Where a stage's application listens: known before the stage is there. */
export function applicationOf(number: number): SmallStage["application"] {
  return { address: `127.4.${number}.3`, port: 28_600 + number };
}

export async function openSmallStage(directory: string, options: SmallStageOptions): Promise<SmallStage> {
  const { number, flags, documents, files = {} } = options;
  const base = `127.4.${number}`;
  const application = applicationOf(number);
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(directory, "files", "shop"), { recursive: true });
    writeFileSync(join(directory, "files", "shop", name), text);
  }
  writeFileSync(join(directory, "mesh.yaml"), mesh(base, application.port) + documents);
  const binary = process.env.FAIRLEAD ?? "";
  const program = binary === "" ? [process.execPath, join(repository, "src/main.ts")] : [resolve(binary)];
  const started: Subprocess[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((each) => each.stop()));
  };
  const node = async (name: string, ...more: readonly string[]): Promise<Subprocess> => {
    const argv = [
      ...[...program, "up", "-f", join(directory, "mesh.yaml")],
      ...["--state-directory", join(directory, "state"), "--hbone-port", `${25_600 + number}`],
      ...["--admin", "off", "--admin-socket", "off", "--readiness", "off", "--workload", `shop/${name}`],
      ...more,
    ];
    const child = Subprocess.start({ name, argv, logPath: join(directory, `${name}.log`) });
    started.push(child);
    await child.waitForLine((line) => line.includes("new SVID"), 30_000);
    return child;
  };
  const metrics = `${base}.9:${28_700 + number}`;
  try {
    await node("web", "--metrics", "off");
    const own = ["--waypoint", "shop/waypoint", "--metrics", metrics];
    const waypoint = await node("waypoint", ...own, "--waypoint-files", join(directory, "files"), ...flags);
    const client = `${base}.1:${28_800 + number}`;
    await node("caller", "--metrics", "off", "--map", `${client}=web.shop.mesh:80`);
    return {
      application,
      url: `http://${client}`,
      metricsUrl: `http://${metrics}/metrics`,
      log: () => waypoint.log(),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function mesh(base: string, applicationPort: number): string {
  const workload = (name: string, address: string, labels: string) => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: shop, labels: {${labels}}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${address}, serviceAccount: ${name}}
---
`;
  return `${workload("caller", `${base}.1`, "app: caller")}${workload("web", `${base}.3`, "app: web")}${workload(
    "waypoint",
    `${base}.9`,
    "app: waypoint, istio.io/waypoint-for: all",
  )}apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec:
  hosts: [web.shop.mesh]
  addresses: [240.4.9.1]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: ${applicationPort}}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: web}}
---
`;
}
