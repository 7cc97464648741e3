/**
 * The processes of one service: a caller's node, the node of the application web, and its waypoint. `FAIRLEAD=dist/fairlead` takes the
 * binary.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { comesTrue } from "../peer/lab/eventually.ts";
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
  /** Whether the waypoint's turns are measured, which needs it as source. */
  readonly measuresTurns?: boolean;
}

export interface SmallStage {
  /** Where the application is to listen. */
  readonly application: { readonly address: string; readonly port: number };
  /** What a client calls. */
  readonly url: string;
  /** Of the waypoint. */
  readonly metricsUrl: string;
  readonly waypoint: Subprocess;
  /** What the waypoint has said so far. */
  log(): string;
  /** Of the waypoint, the longest turns of each second so far, milliseconds; empty where they are not measured. */
  turns(): readonly number[];
  /** Of the waypoint, the bytes that live once its garbage is collected; null where turns are not measured either. */
  liveHeapBytes(): Promise<number | null>;
  /** What the waypoint alone is told, besides the documents of all; nothing at first. */
  change(documents: string): void;
  stop(): Promise<void>;
}

/** Where a stage's application listens: known before the stage is there. */
export function applicationOf(number: number): SmallStage["application"] {
  return { address: `127.4.${number}.3`, port: 28_600 + number };
}

export async function openSmallStage(directory: string, options: SmallStageOptions): Promise<SmallStage> {
  const { number, flags, documents, files = {}, measuresTurns = false } = options;
  const base = `127.4.${number}`;
  const application = applicationOf(number);
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(directory, "files", "shop"), { recursive: true });
    writeFileSync(join(directory, "files", "shop", name), text);
  }
  writeFileSync(join(directory, "mesh.yaml"), mesh(base, application.port) + documents);
  const ownPath = join(directory, "waypoint.yaml");
  const change = (changed: string): void => {
    // Whole at once.
    writeFileSync(`${ownPath}.new`, changed);
    renameSync(`${ownPath}.new`, ownPath);
  };
  change("");
  const binary = process.env.FAIRLEAD ?? "";
  const program = binary === "" ? [process.execPath, join(repository, "src/main.ts")] : [resolve(binary)];
  const started: Subprocess[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((each) => each.stop()));
  };
  const node = async (name: string, ...more: readonly string[]): Promise<Subprocess> => {
    const isMeasured = measuresTurns && binary === "" && name === "waypoint";
    const [bun = "", ...rest] = program;
    const probes = ["conformance/soak/turn_probe.ts", "conformance/waypoint/heap_probe.ts"];
    const probe = isMeasured ? probes.flatMap((path) => ["--preload", join(repository, path)]) : [];
    const argv = [
      ...[bun, ...probe, ...rest, "up", "-f", join(directory, "mesh.yaml")],
      ...["--state-directory", join(directory, "state"), "--hbone-port", `${25_600 + number}`],
      ...["--admin", "off", "--admin-socket", "off", "--readiness", "off", "--workload", `shop/${name}`],
      ...more,
    ];
    const env = isMeasured ? { HOME: directory } : {};
    const child = Subprocess.start({ name, argv, logPath: join(directory, `${name}.log`), env });
    started.push(child);
    await child.waitForLine((line) => line.includes("new SVID"), 30_000);
    return child;
  };
  const metrics = `${base}.9:${28_700 + number}`;
  try {
    await node("web", "--metrics", "off");
    const own = ["-f", ownPath, "--waypoint", "shop/waypoint", "--metrics", metrics];
    const waypoint = await node("waypoint", ...own, "--waypoint-files", join(directory, "files"), ...flags);
    const client = `${base}.1:${28_800 + number}`;
    await node("caller", "--metrics", "off", "--map", `${client}=web.shop.mesh:80`);
    return {
      application,
      url: `http://${client}`,
      metricsUrl: `http://${metrics}/metrics`,
      waypoint,
      log: () => waypoint.log(),
      turns: () => {
        const path = join(directory, `turns-${waypoint.pid}`);
        const lines = existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
        return lines.map((line) => Number(line.split(" ")[1]));
      },
      liveHeapBytes: () =>
        measuresTurns && binary === "" ? liveHeapBytes(directory, waypoint.pid) : Promise.resolve(null),
      change,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Asks `heap_probe.ts`. */
async function liveHeapBytes(directory: string, pid: number): Promise<number> {
  const path = join(directory, `heap-${pid}`);
  rmSync(path, { force: true });
  process.kill(pid, "SIGUSR2");
  if (!(await comesTrue(() => existsSync(path)))) throw new Error("the waypoint does not tell its heap");
  return Number(readFileSync(path, "utf8"));
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
