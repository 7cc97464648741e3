/** A `Socket` of the in-memory host: the ends of a connection's life as the Bun host has them, over a simulated link. */
import { assert } from "../../base/assert.ts";
import { type Blame, MeshError } from "../../base/errors.ts";
import type { SocketAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { PeerCredentials, Socket, SocketHandler, Timer } from "../host.ts";
import type { Link, LinkEnd, Side } from "./link.ts";
import type { Schedule } from "./schedule.ts";

/** The process that holds a socket. */
export interface SocketOwner {
  readonly ended: boolean;
  readonly schedule: Schedule;
  /** Its descriptor is free again. */
  onSocketFree(socket: MemorySocket): void;
}

type Phase = "open" | "lingering" | "closed";

export class MemorySocket implements Socket, LinkEnd {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly link: Link;
  readonly side: Side;
  /** Where the connection was going before it was redirected to us. */
  readonly originalDestination: SocketAddress | null;
  /** Unix sockets only. */
  readonly credentials: PeerCredentials | null;
  readonly #owner: SocketOwner;
  #handler: SocketHandler | null = null;
  #phase: Phase = "open";
  #paused = false;
  #blocked = false;
  #localEnded = false;
  #hasRead = false;
  #remoteEnded = false;
  #readScheduled = false;
  /** Set once the connection is over; kept until a handler can be told. */
  #gone: { readonly error: MeshError | null } | null = null;
  #told = false;
  /** What had come and was not read when the peer reset the connection. */
  readonly #left: Uint8Array[] = [];
  #free = false;
  #lingerTimer: Timer | null = null;

  constructor(
    owner: SocketOwner,
    link: Link,
    side: Side,
    addresses: {
      readonly local: SocketAddress;
      readonly remote: SocketAddress;
      readonly originalDestination: SocketAddress | null;
      readonly credentials?: PeerCredentials;
    },
  ) {
    this.#owner = owner;
    this.link = link;
    this.side = side;
    this.local = addresses.local;
    this.remote = addresses.remote;
    this.originalDestination = addresses.originalDestination;
    this.credentials = addresses.credentials ?? null;
    link.attach(side, this);
  }

  /** Whose fault a broken connection is: the peer's where we accepted, the upstream's where we dialled. */
  get blame(): Blame {
    return this.side === "server" ? "peer" : "upstream";
  }

  get hasHandler(): boolean {
    return this.#handler !== null;
  }

  get isOpen(): boolean {
    return this.#phase === "open";
  }

  /** Whether the peer has sent anything. */
  get hasReceived(): boolean {
    return this.#hasRead || this.waitingBytes > 0;
  }

  /** Received bytes that wait for a reader. */
  get waitingBytes(): number {
    return this.link.arrivedBytes(this.side);
  }

  setHandler(handler: SocketHandler): void {
    this.#handler = handler;
    this.#scheduleRead(0);
    if (this.#gone !== null) this.#tell();
  }

  write(bytes: Uint8Array): number {
    if (this.#phase !== "open" || this.#localEnded || this.#owner.ended) return 0;
    const taken = this.link.write(this.side, bytes);
    if (taken < bytes.length) this.#blocked = true;
    return taken;
  }

  end(): void {
    if (this.#phase !== "open" || this.#localEnded) return;
    this.#localEnded = true;
    this.link.finish(this.side);
    if (this.#remoteEnded) this.#finish();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#scheduleRead(0);
  }

  close(): void {
    if (this.#phase !== "open") return;
    if (!this.#localEnded) this.link.finish(this.side);
    this.#localEnded = true;
    this.#release(null);
    if (this.#remoteEnded) {
      this.#setFree();
      return;
    }
    // As on the real host: an end that closes with unread bytes would send RST and destroy what the peer has not read.
    this.#phase = "lingering";
    this.#scheduleRead(0);
    this.#lingerTimer = this.#owner.schedule.timer(hostLimits.lingerMs, this.#owner, () => this.#setFree());
  }

  reset(): void {
    this.#reset(false);
  }

  resetAfterSent(): void {
    this.#reset(true);
  }

  #reset(isAfterSent: boolean): void {
    if (this.#phase !== "open") return;
    this.link.reset(this.side, isAfterSent);
    this.#release(null);
    this.#setFree();
  }

  /** The process is gone: the kernel resets what it had. Nothing is told on this side. */
  abandon(): void {
    if (this.#free) return;
    this.#handler = null;
    if (this.#phase === "open") this.link.reset(this.side);
    this.#phase = "closed";
    this.#free = true;
    this.#lingerTimer?.cancel();
    this.link.detach(this.side);
  }

  onArrival(): void {
    if (this.#phase === "closed") {
      // No process has it any more, and the kernel says so. What was said before is not overtaken.
      this.link.reset(this.side, true);
      return;
    }
    if (!this.#readScheduled) this.#read();
  }

  onCredit(): void {
    if (!this.#blocked || this.#phase !== "open") return;
    this.#blocked = false;
    this.#handler?.onDrain();
  }

  onReset(): void {
    if (this.#phase === "closed") return;
    const wasOpen = this.#phase === "open";
    // What has come before stays readable, as on Linux.
    if (wasOpen)
      for (let read = this.link.read(this.side); read !== null; read = this.link.read(this.side))
        this.#left.push(read.bytes);
    this.#setFree();
    if (!wasOpen) return;
    const text = this.#localEnded
      ? "the peer reset the connection after our end"
      : "the peer reset the connection";
    this.#release(new MeshError("connection_reset", this.blame, text));
  }

  #read(): void {
    this.#readScheduled = false;
    if (this.#phase === "lingering") {
      this.#discard();
      return;
    }
    while (this.#phase === "open" && !this.#paused && this.#handler !== null) {
      const read = this.link.read(this.side);
      if (read === null) break;
      this.#hasRead = true;
      this.#handler.onData(read.bytes);
      if (read.isPart) {
        this.#scheduleRead(splitDelayMs);
        return;
      }
    }
    this.#readEnd();
  }

  #readEnd(): void {
    if (this.#phase !== "open" || this.#paused || this.#handler === null) return;
    if (this.#remoteEnded || !this.link.atEnd(this.side)) return;
    this.#remoteEnded = true;
    this.#handler.onEnd();
    if (this.#localEnded && this.#phase === "open") this.#finish();
  }

  /** While we linger what comes is thrown away; the peer's end ends it. */
  #discard(): void {
    while (this.link.read(this.side) !== null) {}
    if (this.link.atEnd(this.side)) this.#setFree();
  }

  /** Both directions have ended. */
  #finish(): void {
    this.#release(null);
    this.#setFree();
  }

  #setFree(): void {
    this.#phase = "closed";
    if (this.#free) return;
    this.#free = true;
    this.#lingerTimer?.cancel();
    this.link.detach(this.side);
    this.#owner.onSocketFree(this);
  }

  /** Over for our user, who is never told from inside one of his own calls. */
  #release(error: MeshError | null): void {
    if (this.#gone !== null) return;
    this.#gone = { error };
    if (this.#handler !== null) this.#tell();
  }

  #tell(): void {
    this.#owner.schedule.io(0, this.#owner, () => {
      if (this.#handler === null || this.#gone === null || this.#told) return;
      this.#told = true;
      // Whoever is told of the last words may hand the socket on, as on the real host: the end is for who has it then.
      for (const bytes of this.#left.splice(0)) this.#handler?.onData(bytes);
      this.#handler?.onClose(this.#gone.error);
    });
  }

  #scheduleRead(delayMs: number): void {
    if (this.#readScheduled) return;
    this.#readScheduled = true;
    this.#owner.schedule.io(delayMs, this.#owner, () => this.#read());
  }
}

const splitDelayMs = 0.05;

/** For upgrades: a socket that has been read from cannot be handed to TLS. */
export function assertUnread(socket: Socket): asserts socket is MemorySocket {
  assert(socket instanceof MemorySocket, "this host upgrades its own sockets only");
  assert(!socket.hasHandler, "only a socket without a handler can be upgraded");
}
