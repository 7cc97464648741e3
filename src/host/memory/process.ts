/** One process of a simulated machine: its descriptors, timers and sockets, which end with it. It is a whole `Host`. */
import { MeshError } from "../../base/errors.ts";
import type { Databases } from "../database.ts";
import type {
  Clock,
  Detached,
  Files,
  Host,
  HttpClient,
  Network,
  PeerCredentials,
  Process,
  Random,
  Timer,
} from "../host.ts";
import { MemoryDatabases } from "./database.ts";
import { type MemoryDisk, openFiles } from "./files.ts";
import { MemoryHttpClient } from "./http.ts";
import type { MachineNetwork } from "./machine_network.ts";
import { MemoryNetwork } from "./network.ts";
import type { NetworkedProcess } from "./networked_process.ts";
import type { SeededRandom } from "./random.ts";
import type { Owner, Schedule } from "./schedule.ts";
import type { MemorySocket } from "./socket.ts";

export interface ProcessOptions {
  readonly arguments?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Lines and whatever else the process writes. */
  readonly onOutput?: (stream: "out" | "error", text: string) => void;
  /** What `Process.run` starts; other programs cannot be started. */
  readonly programs?: Readonly<Record<string, RunProgram>>;
  /** What `Process.detach` starts. */
  readonly detached?: Readonly<Record<string, (args: readonly string[]) => Detached>>;
  /** What comes by standard input. */
  readonly input?: AsyncIterable<Uint8Array>;
  /** What `Process.loadModule` finds at a path; called for each version. */
  readonly modules?: Readonly<Record<string, () => Readonly<Record<string, unknown>>>>;
  /** Whose it is; root's by default. */
  readonly user?: { readonly uid: number; readonly gid: number };
}

export type RunProgram = (
  args: readonly string[],
  input: string,
) => { readonly exitCode: number; readonly output: string };

/** What a process needs to know of the machine it runs on. */
export interface Machine {
  readonly name: string;
  readonly schedule: Schedule;
  readonly random: SeededRandom;
  readonly disk: MemoryDisk;
  readonly network: MachineNetwork;
  /** Milliseconds since the Unix epoch; jumps. */
  wallMs(): number;
}

type SignalName = "SIGTERM" | "SIGINT" | "SIGHUP";

export class MemoryHost implements Host, NetworkedProcess {
  readonly name = "memory";
  readonly clock: Clock;
  readonly random: Random;
  readonly net: Network;
  readonly files: Files;
  readonly process: Process;
  readonly http: HttpClient;
  readonly databases: Databases;
  /** What the other end of a Unix socket is told of this process. */
  readonly credentials: PeerCredentials;
  readonly schedule: Schedule;
  /** Standard output takes nothing: a full disk or a closed pipe behind it. */
  outputBroken = false;
  readonly #network: MemoryNetwork;
  #descriptorLimit = Number.POSITIVE_INFINITY;
  readonly #sockets = new Set<MemorySocket>();
  readonly #signalListeners = new Set<(signal: SignalName) => void>();
  #connecting = 0;
  #ended = false;
  #exitCode: number | null = null;

  constructor(machine: Machine, pid: number, options: ProcessOptions) {
    this.schedule = machine.schedule;
    const random = machine.random.fork(`process ${pid}`);
    this.clock = new MemoryClock(this, machine);
    this.random = random;
    this.#network = new MemoryNetwork(this, machine.network);
    this.net = this.#network;
    this.files = openFiles(machine.disk, machine.schedule, this, machine.random.fork(`files ${pid}`));
    this.process = this.#makeProcess(pid, options);
    this.http = new MemoryHttpClient(this, machine.network);
    this.databases = new MemoryDatabases(machine.disk, this);
    this.credentials = { uid: options.user?.uid ?? 0, gid: options.user?.gid ?? 0, groups: [], pid };
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Null while it runs or when it was killed. */
  get exitCode(): number | null {
    return this.#exitCode;
  }

  /** Sockets and listeners this process may have at one time. */
  get descriptorLimit(): number {
    return this.#descriptorLimit;
  }

  /** What waits in a backlog is accepted as soon as there is room. */
  set descriptorLimit(limit: number) {
    const isMore = limit > this.#descriptorLimit;
    this.#descriptorLimit = limit;
    if (isMore) this.#network.acceptWaiting();
  }

  /** Sockets, listeners and connects under way. */
  get openDescriptors(): number {
    return this.#sockets.size + this.#network.listenerCount + this.#connecting;
  }

  get sockets(): ReadonlySet<MemorySocket> {
    return this.#sockets;
  }

  /** SIGKILL: nothing of it runs any more, its sockets are reset, its files stay. */
  kill(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#network.closeAll();
    for (const socket of this.#sockets) socket.abandon();
    this.#sockets.clear();
  }

  signal(name: SignalName): void {
    this.schedule.io(0, this, () => {
      for (const listener of [...this.#signalListeners]) listener(name);
    });
  }

  /** @returns whether there was a descriptor to be had. */
  takeDescriptor(): boolean {
    if (this.openDescriptors >= this.descriptorLimit) return false;
    this.#connecting++;
    return true;
  }

  giveDescriptor(): void {
    this.#connecting--;
  }

  addSocket(socket: MemorySocket): void {
    this.#sockets.add(socket);
  }

  onSocketFree(socket: MemorySocket): void {
    if (this.#sockets.delete(socket)) this.#network.onDescriptorFree();
  }

  #makeProcess(pid: number, options: ProcessOptions): Process {
    const write = (stream: "out" | "error", text: string): boolean => {
      if (this.outputBroken) return false;
      options.onOutput?.(stream, text);
      return true;
    };
    return {
      arguments: options.arguments ?? [],
      environment: options.environment ?? {},
      pid,
      uid: options.user?.uid ?? 0,
      isTerminal: false,
      writeOut: (text) => write("out", text),
      writeError: (text) => write("error", text),
      // The schedule throws what no code caught into the test that runs the world.
      onUncaught: () => () => {},
      onSignal: (listener) => {
        this.#signalListeners.add(listener);
        return () => this.#signalListeners.delete(listener);
      },
      exit: (code) => {
        this.#exitCode = code;
        this.kill();
      },
      loadModule: async (path) => {
        const make = options.modules?.[path];
        if (make === undefined)
          throw new MeshError("configuration", "local", `${path} cannot be loaded: no such file`);
        return make();
      },
      run: async (program, args, input = "") => {
        const start = options.programs?.[program];
        if (start === undefined) throw new MeshError("io", "local", `${program}: no such program`);
        return start(args, input);
      },
      follow: (program) => {
        throw new MeshError("io", "local", `${program}: no such program`);
      },
      self: ["fairlead"],
      detach: (program, args) => {
        const start = options.detached?.[program];
        if (start === undefined) throw new MeshError("io", "local", `${program}: no such program`);
        return start(args);
      },
      input: async function* () {
        yield* options.input ?? [];
      },
      residentBytes: () => 64 * 1024 * 1024,
      giveBackMemory: () => {},
      cpuMicros: () => this.schedule.steps,
    };
  }
}

class MemoryClock implements Clock {
  readonly #owner: Owner;
  readonly #machine: Machine;

  constructor(owner: Owner, machine: Machine) {
    this.#owner = owner;
    this.#machine = machine;
  }

  now(): number {
    return this.#machine.schedule.nowMs;
  }

  wallMs(): number {
    return this.#machine.wallMs();
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    return this.#machine.schedule.timer(delayMs, this.#owner, callback);
  }

  defer(callback: () => void): void {
    this.#machine.schedule.defer(this.#owner, callback);
  }
}
