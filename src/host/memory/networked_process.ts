/** What the network of a simulated machine asks of a process. */
import type { PeerCredentials, Random } from "../host.ts";
import type { Owner } from "./schedule.ts";
import type { MemorySocket, SocketOwner } from "./socket.ts";

export interface NetworkedProcess extends SocketOwner, Owner {
  readonly random: Random;
  /** What the other end of a Unix socket is told of it. */
  readonly credentials: PeerCredentials;
  /** Sockets and listeners it may have at one time. */
  readonly descriptorLimit: number;
  /** @returns whether there was a descriptor to be had. */
  takeDescriptor(): boolean;
  giveDescriptor(): void;
  addSocket(socket: MemorySocket): void;
}
