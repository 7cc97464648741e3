/** A mesh of real processes: a control plane, three nodes with workloads, a waypoint, an application; and their administrator. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  adminPort,
  choosePlaces,
  credential,
  hbonePort,
  type Member,
  readinessPort,
} from "../demo/places.ts";
import { Processes, type Running } from "../demo/processes.ts";
import { type Answer, call } from "../demo/visitor.ts";
import { comesTrue, hangMs } from "../peer/lab/eventually.ts";
import { longestTurnMs, type Sample, sampleOf } from "./samples.ts";

const root = join(import.meta.dir, "..", "..");

/** Local ports that lead to the service itself, and to the one behind the waypoint. */
export const directPort = 18_080;
export const waypointPort = 18_081;
export const applicationPort = 8080;

/** One life of a program: a restart is another one. */
interface Life {
  readonly name: string;
  readonly pid: number;
  readonly running: Running;
  /** Null until it is ready. */
  readyWallMs: number | null;
  readonly samples: Sample[];
  isOver: boolean;
}

export class World {
  readonly places = choosePlaces(process.pid + 17);
  readonly processes: Processes;
  readonly lives: Life[] = [];
  readonly #program: readonly string[];
  readonly #joinLines = new Map<string, string>();

  private constructor(processes: Processes, binary: string | null) {
    this.processes = processes;
    // The binary takes no probe: its turns are not measured.
    const probe = join(import.meta.dir, "turn_probe.ts");
    this.#program =
      binary === null ? [process.execPath, "--preload", probe, join(root, "src", "main.ts")] : [binary];
    mkdirSync(this.state, { mode: 0o700 });
  }

  static async create(binary: string | null): Promise<World> {
    return new World(await Processes.create(), binary);
  }

  get state(): string {
    return join(this.processes.directory, "control");
  }

  get controlIp(): string {
    return this.places.frontend.ip.replace(/\.1$/, ".9");
  }

  async administer(
    ...words: readonly string[]
  ): Promise<{ readonly exitCode: number; readonly output: string }> {
    const who = ["--control", `https://${this.controlIp}:15012`, "--identity", join(this.state, "admin.pem")];
    const child = Bun.spawn([...this.#plain(), ...words, ...who], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [output, complaint] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    const exitCode = await child.exited;
    return { exitCode, output: exitCode === 0 ? output : `${output}${complaint}` };
  }

  /** Without a probe: a command, not a service. */
  #plain(): readonly string[] {
    return this.#program.length === 1 ? this.#program : [process.execPath, join(root, "src", "main.ts")];
  }

  async publish(name: string, text: string): Promise<void> {
    const path = join(this.processes.directory, name);
    await Bun.write(path, text);
    const { exitCode, output } = await this.administer("apply", "--yes", "--file", path);
    if (exitCode !== 0) throw new Error(`apply of ${name} ended with ${exitCode}: ${output}`);
  }

  startControl(): Life {
    const where = ["--control-listen", `${this.controlIp}:15012`, "--serving-name", this.controlIp];
    const ports = ["--metrics", "off", "--readiness", `${this.controlIp}:${readinessPort}`];
    return this.#start("control plane", ["control", ...where, "--state-directory", this.state, ...ports]);
  }

  startApplication(): void {
    const port = 20_000 + (process.pid % 20_000);
    this.processes.start("application", [
      process.execPath,
      join(root, "conformance", "demo", "application.ts"),
      String(port),
      credential,
    ]);
    this.#application = port;
  }

  #application = 0;

  /** Joins at the first start, and comes back by its own certificate later. */
  async startNode(member: Member): Promise<Life> {
    const line = this.#joinLines.get(member.name) ?? (await this.#joinLine(member));
    this.#joinLines.set(member.name, line);
    const [, ...words] = line.trim().split(" ");
    const own = [
      "--svid-lifetime",
      "1m",
      "--join-address",
      member.ip,
      "--bind",
      "addresses",
      "--hbone-port",
      String(hbonePort),
    ];
    const kept = ["--state-directory", join(this.processes.directory, member.name)];
    const ports = [
      "--admin",
      `${member.ip}:${adminPort}`,
      "--metrics",
      "off",
      "--readiness",
      `${member.ip}:${readinessPort}`,
    ];
    return this.#start(member.name, [...words, ...kept, ...own, ...ports, ...this.#entries(member)]);
  }

  #entries(member: Member): readonly string[] {
    if (member.name === "waypoint") return ["--waypoint", "shop/waypoint"];
    if (member.name === "backend")
      return ["--application", `${member.ip}:${applicationPort}=127.0.0.1:${this.#application}`];
    const map = (port: number, host: string) => [
      "--map",
      `${member.ip}:${port}=${host}.shop.mesh:80@shop/${member.name}`,
    ];
    return [...map(directPort, "backend"), ...map(waypointPort, "web")];
  }

  /** In the place of an earlier host of that name, if there was one. */
  async #joinLine(member: Member): Promise<string> {
    const workload = ["--workload", `shop/${member.name}`];
    const { output } = await this.administer("join-token", "create", ...workload, "--replace");
    const line = output.split("\n").find((one) => one.startsWith("fairlead node "));
    if (line === undefined) throw new Error(`no join line for ${member.name}: ${output}`);
    return line;
  }

  forgetJoining(member: Member): void {
    this.#joinLines.delete(member.name);
  }

  #start(name: string, words: readonly string[]): Life {
    const running = this.processes.start(name, [...this.#program, ...words]);
    const life: Life = { name, pid: running.pid, running, readyWallMs: null, samples: [], isOver: false };
    this.lives.push(life);
    return life;
  }

  async ready(life: Life, ip: string, limitMs = hangMs): Promise<void> {
    const isReady = async () => {
      if (life.running.lines.some((line) => line.startsWith("(ended"))) return true;
      return await fetch(`http://${ip}:${readinessPort}/healthz/ready`, {
        signal: AbortSignal.timeout(2_000),
      }).then(
        ({ ok }) => ok,
        () => false,
      );
    };
    const came = await comesTrue(isReady, limitMs);
    if (!came || life.running.lines.some((line) => line.startsWith("(ended")))
      throw new Error(
        `${life.name} did not become ready; it said last: ${life.running.lines.slice(-3).join(" | ")}`,
      );
    life.readyWallMs = Date.now();
  }

  /** Ends the life of a program. */
  async end(name: string, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const life = this.lives.findLast((one) => one.name === name && !one.isOver);
    if (life === undefined) throw new Error(`no ${name} is running`);
    this.processes.kill(name, signal);
    const isOver = () => life.running.lines.some((line) => line.startsWith("(ended"));
    if (!(await comesTrue(isOver))) throw new Error(`${name} did not end at ${signal}`);
    life.isOver = true;
  }

  call(member: Member, port: number): Promise<Answer> {
    return call(member.ip, port, credential);
  }

  /** Of every program that runs. */
  sample(): void {
    for (const life of this.lives) {
      if (life.isOver || life.readyWallMs === null) continue;
      const sample = sampleOf(life.pid, Date.now() - life.readyWallMs);
      if (sample !== null) life.samples.push(sample);
    }
  }

  /** Since it was ready; null when it was not measured. */
  longestTurnMs(life: Life): number | null {
    if (life.readyWallMs === null) return null;
    try {
      const text = readFileSync(join(this.processes.directory, `turns-${life.pid}`), "utf8");
      // The second in which it became ready is still that of its start.
      return longestTurnMs(text, life.readyWallMs + 2_000);
    } catch {
      return null;
    }
  }
}
