/** A network with nothing in it but loopback, for one program: whatever leaves it goes through a listener of ours that is in there. */
import type { Network } from "./host.ts";

export type ProgramSignal = "SIGTERM" | "SIGINT" | "SIGHUP";

export interface PrivateNetwork {
  /** Sockets in there; whoever accepts or made one uses it as any other. */
  readonly net: Pick<Network, "listen" | "connect" | "bindUdp">;
  /** As `Process.run`, in there. */
  run(
    program: string,
    args: readonly string[],
    input?: string,
  ): Promise<{ readonly exitCode: number; readonly output: string }>;
  /** Starts a program in there that has this process's input, output and terminal. @throws MeshError `io`. */
  start(argv: readonly string[], environment: Readonly<Record<string, string | undefined>>): AttachedProgram;
  /** It is gone when its last program and socket are. Idempotent. */
  close(): void;
}

export interface AttachedProgram {
  /** Its exit code; of one that a signal ended, 128 and the signal's number, as a shell has it. */
  readonly exited: Promise<number>;
  /** Nothing happens when it has ended. An interrupt that the terminal itself has sent to it is not sent again. */
  signal(name: ProgramSignal): void;
}
