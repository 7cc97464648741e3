/** Processes of this very program that a node starts to carry its traffic. Each has one end of a pair of sockets, which no other process can have. */
import { MeshError } from "../base/errors.ts";
import type { Socket } from "./host.ts";

export interface WorkerProcesses {
  /** This process's own end; null for one that was started in the ordinary way. */
  readonly received: Socket | null;
  /** @throws MeshError, blame local: `io` when it cannot be started, `descriptors_exhausted`, `unsupported`. */
  start(): Promise<StartedWorker>;
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
