/** A node's workers, as processes of their own that inherit one end of a pair of sockets. */
import { MeshError } from "../../base/errors.ts";
import type { ReceivedWorker, StartedWorker, WorkerProcesses } from "../workers.ts";
import { Descriptors } from "./handover/descriptors.ts";
import { Passing, Places } from "./passing/passing.ts";
import type { BunUnixNetwork } from "./unix.ts";

/** Says that there is a socket, and which worker of how many this is; what goes over the socket is in memory alone. */
const variable = "FAIRLEAD_WORKER";
const linkNumber = 3;
/** Of a worker that shares nothing with the others. */
const alone = "alone";

/** What a node has left in this process, of which it is a worker. */
export interface WorkerPlace {
  /** Null where workers pass each other nothing. */
  readonly passing: Passing | null;
}

/** Takes it out of the environment: programs that this one starts are no workers. @returns null for a program that is none itself. @throws MeshError. */
export function takePlace(environment: Record<string, string | undefined>): WorkerPlace | null {
  const place = environment[variable];
  if (place === undefined) return null;
  delete environment[variable];
  Descriptors.open()?.keepFromChildren(linkNumber);
  return { passing: place === alone ? null : Passing.open(place) };
}

export class BunWorkers implements WorkerProcesses {
  readonly received: ReceivedWorker | null;
  readonly #unix: BunUnixNetwork;
  readonly #command: readonly string[];
  /** Made with the first worker; null where there can be none. */
  #places: Places | null | undefined;

  private constructor(unix: BunUnixNetwork, command: readonly string[], received: ReceivedWorker | null) {
    this.#unix = unix;
    this.#command = command;
    this.received = received;
  }

  /** @param command how this program is run. @throws MeshError. */
  static async open(
    unix: BunUnixNetwork,
    command: readonly string[],
    place: WorkerPlace | null,
  ): Promise<BunWorkers> {
    if (place === null) return new BunWorkers(unix, command, null);
    const { passing } = place;
    await passing?.start((fd, name) => unix.adopt(fd, name));
    const socket = await unix.adopt(linkNumber, "the node of this worker");
    return new BunWorkers(unix, command, {
      socket,
      passedOn: () => passing?.passedOn ?? 0,
      hasRoomElsewhere: (source, at, held) => passing?.hasRoomElsewhere(source, at, held) === true,
    });
  }

  async start(worker: number, of: number): Promise<StartedWorker> {
    this.#places ??= openPlaces(of);
    const places = this.#places;
    const { socket, fd } = await this.#unix.pairForChild();
    try {
      const child = this.#spawn(fd, places?.of(worker) ?? null);
      return {
        pid: child.pid,
        socket,
        ended: child.exited.then((code) => {
          places?.left(worker);
          return child.signalCode === null ? `with exit code ${code}` : `by ${child.signalCode}`;
        }),
        kill: () => child.kill("SIGKILL"),
      };
    } catch (thrown) {
      socket.reset();
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      throw new MeshError("io", "local", `cannot start a worker: ${reason}`, { cause: thrown });
    } finally {
      Descriptors.open()?.close(fd);
    }
  }

  #spawn(fd: number, shared: ReturnType<Places["of"]> | null): Bun.Subprocess {
    // systemd knows one process of the service, and that is not this one.
    const { WATCHDOG_PID: _watched, NOTIFY_SOCKET: _notified, ...environment } = process.env;
    const [program = "", ...before] = this.#command;
    return Bun.spawn([program, ...before], {
      env: { ...environment, [variable]: shared?.place ?? alone },
      stdio: ["ignore", "inherit", "inherit", fd, ...(shared?.descriptors ?? [])],
    });
  }
}

/** A kernel that gives no memory to share leaves workers with the spread that it makes itself. */
function openPlaces(workers: number): Places | null {
  try {
    return Places.open(workers);
  } catch {
    return null;
  }
}
