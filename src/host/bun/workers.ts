/** A node's workers, as processes of their own that inherit one end of a pair of sockets. */
import { MeshError } from "../../base/errors.ts";
import type { Socket } from "../host.ts";
import type { StartedWorker, WorkerProcesses } from "../workers.ts";
import { Descriptors } from "./handover/descriptors.ts";
import type { BunUnixNetwork } from "./unix.ts";

/** Says that there is a socket; what goes over it is in memory alone. */
const variable = "FAIRLEAD_WORKER";
const linkNumber = 3;

export class BunWorkers implements WorkerProcesses {
  readonly received: Socket | null;
  readonly #unix: BunUnixNetwork;
  readonly #command: readonly string[];

  private constructor(unix: BunUnixNetwork, command: readonly string[], received: Socket | null) {
    this.#unix = unix;
    this.#command = command;
    this.received = received;
  }

  /**
   * @param environment loses what says that this is a worker: programs that it starts are none. @param command how this program is run.
   * @throws MeshError.
   */
  static async open(
    unix: BunUnixNetwork,
    command: readonly string[],
    environment: Record<string, string | undefined>,
  ): Promise<BunWorkers> {
    if (environment[variable] === undefined) return new BunWorkers(unix, command, null);
    delete environment[variable];
    Descriptors.open()?.keepFromChildren(linkNumber);
    return new BunWorkers(unix, command, await unix.adopt(linkNumber, "the node of this worker"));
  }

  async start(): Promise<StartedWorker> {
    const { socket, fd } = await this.#unix.pairForChild();
    try {
      const child = this.#spawn(fd);
      return {
        pid: child.pid,
        socket,
        ended: child.exited.then((code) =>
          child.signalCode === null ? `with exit code ${code}` : `by ${child.signalCode}`,
        ),
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

  #spawn(fd: number): Bun.Subprocess {
    // systemd knows one process of the service, and that is not this one.
    const { WATCHDOG_PID: _watched, NOTIFY_SOCKET: _notified, ...environment } = process.env;
    const [program = "", ...before] = this.#command;
    return Bun.spawn([program, ...before], {
      env: { ...environment, [variable]: "1" },
      stdio: ["ignore", "inherit", "inherit", fd],
    });
  }
}
