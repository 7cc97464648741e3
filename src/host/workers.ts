/** Processes of this very program that a node starts to carry its traffic. Each has one end of a pair of sockets, which no other process can have. */
import { MeshError } from "../base/errors.ts";
import type { IpAddress, SocketAddress } from "../base/ip.ts";
import type { Socket } from "./host.ts";

export interface WorkerProcesses {
  /** What a node has given this process; null for one that was started in the ordinary way. */
  readonly received: ReceivedWorker | null;
  /** @param worker its place among `of`, from 0; the next process in that place has what this one shared with the others. @throws MeshError, blame local: `io` when it cannot be started, `descriptors_exhausted`, `unsupported`. */
  start(worker: number, of: number): Promise<StartedWorker>;
}

export interface ReceivedWorker {
  /** This process's own end. */
  readonly socket: Socket;
  /** How many accepted connections went on to other workers so far, which had less to do. */
  passedOn(): number;
  /**
   * Whether a tunnel of that source to `at` would be better off with another worker, which has fewer: the peer opens the next one there.
   *
   * @param held tunnels that take new streams, of the source and of all.
   */
  hasRoomElsewhere(
    source: IpAddress,
    at: SocketAddress,
    held: { readonly ofSource: number; readonly all: number },
  ): boolean;
}

export interface StartedWorker {
  readonly pid: number;
  readonly socket: Socket;
  /** Resolves with how it ended: `with exit code 1`, `by SIGKILL`. */
  readonly ended: Promise<string>;
  /** SIGKILL. */
  kill(): void;
}

/** Of a runtime that cannot start itself with a socket. */
export const noWorkers: WorkerProcesses = {
  received: null,
  start: () =>
    Promise.reject(new MeshError("unsupported", "local", "only the binary, and Bun, can have workers")),
};
