/**
 * Handing the listening sockets of one process to another, which takes its place while connections go on. The sockets are inherited, so the
 * kernel's queue of each is one and the same: what has come and was not accepted yet is lost by neither.
 */

import { MeshError } from "../base/errors.ts";

export interface Handover {
  /** What the process before this one has handed over; null for one that was started in the ordinary way. */
  readonly received: Received | null;
  /** @throws MeshError, blame local: `io` when there is no such file, `unsupported`. */
  hold(program: string): Promise<HeldProgram>;
  /**
   * Starts a program with every listening socket of this process. It holds them until it accepts.
   *
   * @throws MeshError, blame local: `io` when it cannot be started, `limit_reached` for more sockets than can be handed over, `unsupported`.
   */
  start(program: HeldProgram, args: readonly string[]): Promise<Successor>;
}

/** A program whose file is open: it is this one that runs, also when its path has come to mean another. */
export interface HeldProgram {
  /** Its path, as it was given. */
  readonly name: string;
  /** What to run; it means something as long as this process is there and has not closed it. */
  readonly path: string;
  /** SHA-256 of what is in the file now, hexadecimal; null when it cannot be read. The kernel refuses writes to a program that runs. */
  digest(): Promise<string | null>;
  close(): void;
}

export interface Received {
  readonly link: HandoverLink;
  /** Accepts on everything that was handed over. What the program has not opened by now is closed. @throws MeshError `io`. */
  accept(): Promise<void>;
}

/** Short messages between the two processes. */
export interface HandoverLink {
  /** To one that is gone it is lost. */
  send(message: string): void;
  /** The next one, in order; null when the other process is gone, or says what is no message. One call at a time. */
  next(): Promise<string | null>;
  close(): void;
}

export interface Successor {
  readonly pid: number;
  readonly link: HandoverLink;
  /** Resolves with how it ended: `with exit code 1`, `by SIGKILL`. */
  readonly ended: Promise<string>;
  /** SIGKILL: it has nothing that it could finish. */
  kill(): void;
  /** This process accepts no more; what comes waits for the other one. */
  stopAccepting(): void;
  /** Takes that back. @throws MeshError `io` when one of the sockets cannot be had again. */
  acceptAgain(): Promise<void>;
  /** The sockets are the other's alone from now on. */
  letGo(): void;
}

/** Of a runtime that cannot pass listening sockets on. */
export const noHandover: Handover = {
  received: null,
  hold: () => Promise.reject(unsupported()),
  start: () => Promise.reject(unsupported()),
};

function unsupported(): MeshError {
  return new MeshError(
    "unsupported",
    "local",
    "only the binary, and Bun, can hand listening sockets to a new process",
  );
}
