/** Two hosts with a node each, by the binary that people are given, installed in a place of its own; applications, and the load between them. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { service, workload } from "../namespaces/documents.ts";
import type { Host } from "../namespaces/hosts.ts";
import { cart, db, dbService, Lab } from "../namespaces/lab.ts";
import type { NodeProcess } from "../namespaces/node_process.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import { repository } from "../peer/lab/tools.ts";
import { NotifySocket } from "./notify_socket.ts";
import type { LoadOptions, LoadReport } from "./report.ts";

const web = { ip: "10.78.0.2", port: 15480, service: "10.99.0.22" } as const;
const waypointIp = "10.78.0.22";

const documents = [
  workload("cart", cart.ip),
  workload("db", db.ip),
  workload("web", web.ip),
  workload("waypoint", waypointIp),
  service("db", dbService.ip, dbService.port, dbService.targetPort),
  service("web", web.service, 80, web.port)
    .replace("namespace: shop}", "namespace: shop, labels: {istio.io/use-waypoint: waypoint}}")
    .replace("name: tcp, protocol: TCP", "name: http, protocol: HTTP"),
  "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: waypoint, namespace: shop}\nspec: {gatewayClassName: istio-waypoint, addresses: [{type: IPAddress, value: 10.78.0.22}], listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\n---\n",
].join("");

export interface Outcome {
  readonly result?: string;
  readonly reason?: string | null;
  readonly pid?: number | null;
  readonly code: number;
  readonly out: string;
}

export class Stage {
  readonly lab: Lab;
  readonly binary: string;
  readonly notify: NotifySocket | null;
  readonly client: NodeProcess;
  readonly server: NodeProcess;
  readonly #load: Subprocess;

  private constructor(
    parts: Pick<Stage, "lab" | "binary" | "notify" | "client" | "server">,
    load: Subprocess,
  ) {
    this.lab = parts.lab;
    this.binary = parts.binary;
    this.notify = parts.notify;
    this.client = parts.client;
    this.server = parts.server;
    this.#load = load;
  }

  static async open(binary: string): Promise<Stage> {
    const lab = new Lab("upgrade", documents);
    const notify = await NotifySocket.open(lab.directory);
    const start = (host: Host, words: readonly string[], env: Readonly<Record<string, string>> = {}) => {
      const program = join(lab.directory, host.name, "fairlead");
      mkdirSync(join(lab.directory, host.name));
      place(binary, program);
      return lab.node(host, ["--capture", "redirect", "--drain-deadline", "10m", ...words], {
        program: [program],
        env,
      });
    };
    const { client: callers, server: servers } = lab.hosts;
    const server = start(
      servers,
      ["--waypoint", "shop/waypoint"],
      notify === null ? {} : { NOTIFY_SOCKET: notify.path },
    );
    const client = start(callers, ["--dns", "127.0.0.1:15053", "--dns-setup", "off"]);
    const served = run(lab, servers, "served", [
      db.ip,
      String(dbService.targetPort),
      web.ip,
      String(web.port),
    ]);
    await Promise.all([client.ready(), server.ready(), said(served, "listens")]);
    const options: LoadOptions = {
      from: cart.ip,
      echo: { ip: dbService.ip, port: dbService.port },
      web: { ip: web.service, port: 80 },
      webHost: "web.shop.mesh",
      names: { ip: "127.0.0.1", port: 15_053, name: "db.shop.mesh" },
    };
    const load = run(lab, callers, "load", [JSON.stringify(options)]);
    await said(load, "runs");
    return new Stage({ lab, binary, notify, client, server }, load);
  }

  /** The file that a node is started from. */
  installed(node: NodeProcess): string {
    return join(this.lab.directory, node.host.name, "fairlead");
  }

  /** `fairlead upgrade` on the host of a node. */
  async upgrade(node: NodeProcess, ...words: readonly string[]): Promise<Outcome> {
    const argv = node.host.command([this.installed(node), "upgrade", "--json", ...words]);
    const child = Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const [stdout, stderr] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    const code = await child.exited;
    const line = stdout.split("\n").find((one) => one.startsWith("{"));
    return { ...(line === undefined ? {} : (JSON.parse(line) as object)), code, out: stdout + stderr };
  }

  /** A program that passes for ours until it is to run as a node. */
  impostor(name: string, ending: string, mode = 0o755): string {
    const path = join(this.lab.directory, name);
    writeFileSync(
      path,
      `#!/bin/sh\nfor word in "$@"; do\n  case "$word" in version|--check) exec ${this.binary} "$@" ;; esac\ndone\n${ending}\n`,
    );
    chmodSync(path, mode);
    return path;
  }

  /** A program that has another one, which dies at once, take its path while it is looked at. */
  swapped(node: NodeProcess): string {
    const other = this.impostor("other", "exit 3");
    const path = join(this.lab.directory, "swapped");
    const swap = `case "$*" in *--check) mv -f ${other} ${path} ;; esac`;
    writeFileSync(path, `#!/bin/sh\n${swap}\nexec ${this.installed(node)} "$@"\n`);
    chmodSync(path, 0o755);
    return path;
  }

  /** Who the node of a host is now, by its administration. */
  pid(node: NodeProcess): number {
    const argv = node.host.command(["curl", "-s", "-m", "60", "--http2-prior-knowledge", "--unix-socket"]);
    const socket = join(tmpdir(), `${node.host.namespace}-runtime`, "fairlead", "admin-15000.sock");
    const { stdout } = Bun.spawnSync([...argv, socket, "http://localhost/upgrade"]);
    return (JSON.parse(stdout.toString()) as { pid: number }).pid;
  }

  /** Processes of a host that run as a node. */
  nodesOn(node: NodeProcess): readonly number[] {
    const listed = Bun.spawnSync(["ip", "netns", "pids", node.host.namespace]).stdout.toString();
    return listed
      .trim()
      .split("\n")
      .map(Number)
      .filter((pid) => pid > 0 && (exeOf(pid) ?? "").includes(`/${node.host.name}/fairlead`));
  }

  /** The one on that host with this command line. */
  processOf(node: NodeProcess, command: string): Promise<number> {
    return eventually(command, () => {
      const listed = Bun.spawnSync(["ip", "netns", "pids", node.host.namespace]).stdout.toString();
      const found = listed
        .trim()
        .split("\n")
        .find((pid) => commandOf(pid) === command);
      return found === undefined ? null : Number(found);
    });
  }

  /** The load comes to its end, and tells. */
  async report(): Promise<LoadReport> {
    this.#load.writeLine("end");
    const line = await this.#load.waitForLine((one) => one.startsWith("{"));
    return JSON.parse(line) as LoadReport;
  }

  async close(): Promise<void> {
    for (const node of [this.client, this.server])
      for (const pid of this.nodesOn(node)) process.kill(pid, "SIGKILL");
    await this.notify?.stop();
    await this.#load.stop();
    await this.lab.close();
  }
}

function run(lab: Lab, host: Host, name: string, args: readonly string[]): Subprocess {
  const program = join(import.meta.dir, `${name}.ts`);
  const argv = host.command([process.execPath, program, ...args]);
  return Subprocess.start({ name, argv, logPath: join(lab.directory, `${name}.log`) });
}

function said(child: Subprocess, word: string): Promise<unknown> {
  return eventually(
    `${child.name} to say ${word}`,
    () => child.lines().includes(word),
    () => child.log(),
  );
}

/** One file for all of them where that is possible: it is large. */
function place(binary: string, path: string): void {
  try {
    linkSync(binary, path);
  } catch {
    copyFileSync(binary, path);
  }
}

function exeOf(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return null;
  }
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
  } catch {
    return "";
  }
}

/** The one that `FAIRLEAD` names, or that a build has left; else it is built. */
export function findBinary(): string {
  const named = process.env.FAIRLEAD;
  if (named !== undefined) return named.startsWith("/") ? named : join(repository, named);
  const built = join(repository, "dist/fairlead");
  if (existsSync(built)) return built;
  const { exitCode, stderr } = Bun.spawnSync(["npm", "run", "-s", "build"], { cwd: repository });
  if (exitCode !== 0) throw new Error(`npm run build: ${stderr}`);
  return built;
}
