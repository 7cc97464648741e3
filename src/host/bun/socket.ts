/**
 * A `Socket` over one of Bun's. Reads and writes go straight through: no promise, no copy, no allocation but the chunk
 * that Bun hands over. Everything else here is about the ends of a connection's life.
 */
import { assert } from "../../base/assert.ts";
import { type Blame, MeshError } from "../../base/errors.ts";
import type { SocketAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import { Turns } from "../../base/turns/turns.ts";
import type { Socket, SocketHandler, Timer } from "../host.ts";
import { connectionError, systemErrorName } from "../socket_errors.ts";
import { type NativeEvents, type NativeSocket, nativeDescriptor, type SocketContext } from "./native.ts";

type Phase = "open" | "upgraded" | "lingering" | "closed";

export class BunSocket implements Socket, NativeEvents {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly #context: SocketContext;
  readonly #native: NativeSocket;
  /** Whose fault a broken connection is: the peer's where we accepted, the upstream's where we dialled. */
  readonly #blame: Blame;
  #handler: SocketHandler | null = null;
  #phase: Phase = "open";
  #paused = false;
  #nativePaused = false;
  /** The last write took less than it was given, so the next drain is news. Bun also drains after each resume. */
  #blocked = false;
  #localEnded = false;
  #remoteEnded = false;
  /** Received and not delivered: before the first handler, or in the instant after a pause. Null is the usual case. */
  #held: Uint8Array[] | null = null;
  #heldBytes = 0;
  /** `onEnd` waits for a handler, or behind held bytes. */
  #endHeld = false;
  /** Set once the connection is over; the object waits for a handler that can be told. */
  #gone: { readonly error: MeshError | null } | null = null;
  /** What Bun's error callback said; its close callback comes next and does not repeat it. */
  #failure: unknown = null;
  #lingerTimer: Timer | null = null;
  /** Why nothing can be written any more, while what came before that is still read. */
  #broken: MeshError | null = null;

  constructor(
    context: SocketContext,
    native: NativeSocket,
    addresses: { readonly local: SocketAddress; readonly remote: SocketAddress },
    blame: Blame,
  ) {
    this.#context = context;
    this.#native = native;
    this.local = addresses.local;
    this.remote = addresses.remote;
    this.#blame = blame;
  }

  /** The file descriptor; -1 when closed. */
  get fd(): number {
    return nativeDescriptor(this.#native);
  }

  /**
   * Holds the peer back from the start until there is a handler. Only for sockets that must not be read at all before (TLS):
   * pausing and resuming costs two system calls and a wake-up for nothing, and other sockets nearly always have their
   * handler before anything arrives.
   */
  awaitHandler(): void {
    if (this.#handler === null && this.#phase === "open") this.#pauseNative();
  }

  setHandler(handler: SocketHandler): void {
    assert(this.#phase !== "upgraded", "a socket under TLS has no handler of its own");
    this.#handler = handler;
    if (this.#held !== null || this.#endHeld || this.#gone !== null) this.#schedule();
    else this.#resumeNative();
  }

  write(bytes: Uint8Array): number {
    if (this.#phase !== "open" || this.#localEnded || this.#broken !== null) return 0;
    const taken = this.#native.write(bytes);
    if (taken === bytes.length) return taken;
    if (taken >= 0) {
      this.#blocked = true;
      return taken;
    }
    this.#break();
    return 0;
  }

  end(): void {
    if (this.#phase !== "open" || this.#localEnded) return;
    this.#localEnded = true;
    this.#native.shutdown();
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    if (this.#phase === "open") this.#pauseNative();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#handler === null) return;
    if (this.#held !== null) this.#schedule();
    else this.#resumeNative();
  }

  close(): void {
    if (this.#phase !== "open") return;
    this.#discard();
    // Closing with unread bytes in the kernel makes it send RST, which destroys what the peer has not read yet.
    if (!this.#remoteEnded && this.#context.lingering < hostLimits.maxLingering) this.#linger();
    else {
      this.#phase = "closed";
      if (this.#remoteEnded) this.#native.end();
      else this.#native.close();
    }
  }

  reset(): void {
    if (this.#phase !== "open") return;
    this.#discard();
    this.#phase = "closed";
    if (this.resetMayWait) this.#context.resets.reset(this.#native);
    else this.#native.terminate();
  }

  resetAfterSent(): void {
    if (this.#phase !== "open") return;
    if (this.#unsentBytes === 0 || this.#context.lingering >= hostLimits.maxLingering) {
      this.reset();
      return;
    }
    this.#discard();
    this.#phase = "lingering";
    this.#context.lingering++;
    this.#pauseNative();
    this.#resetWhenSent(this.#context.clock.now() + hostLimits.lingerMs);
  }

  get #unsentBytes(): number {
    return this.fd < 0 ? 0 : (this.#context.linux?.unsentBytes(this.fd) ?? 0);
  }

  /** No event tells that the peer's kernel has everything. */
  #resetWhenSent(untilMs: number): void {
    this.#lingerTimer = this.#context.clock.setTimer(hostLimits.unsentPollMs, () => {
      if (this.#phase !== "lingering") return;
      if (this.#unsentBytes > 0 && this.#context.clock.now() < untilMs) this.#resetWhenSent(untilMs);
      else this.#native.terminate();
    });
  }

  /** Nothing given to `write` before may leave meanwhile: true where all that is not in the kernel is our user's to keep. */
  protected get resetMayWait(): boolean {
    return true;
  }

  /** Hands Bun's socket over to a TLS handshake; from now on this object is dead. @returns null when the connection is gone. */
  takeForUpgrade(): NativeSocket | null {
    assert(this.#handler === null, "only a socket without a handler can be upgraded");
    if (this.#phase !== "open" || this.#gone !== null || this.#held !== null) {
      this.reset();
      return null;
    }
    this.#phase = "upgraded";
    return this.#native;
  }

  onNativeData(bytes: Uint8Array): void {
    if (this.#phase === "lingering") this.#drop(bytes);
    if (this.#phase !== "open") return;
    if (this.#handler === null || this.#paused || this.#held !== null) this.#hold(bytes);
    else this.#handler.onData(bytes);
  }

  onNativeDrain(): void {
    if (!this.#blocked || this.#phase !== "open") return;
    this.#blocked = false;
    this.#handler?.onDrain();
  }

  onNativeEnd(): void {
    // After a reset the kernel says "end" as well; it is none.
    if (this.#broken !== null && this.#phase === "open") {
      this.#lose(this.#broken);
      return;
    }
    this.#remoteEnded = true;
    if (this.#phase === "lingering") this.#native.end();
    if (this.#phase !== "open") return;
    this.#endHeld = true;
    this.#deliverInTurn();
  }

  onNativeError(error: unknown): void {
    this.#failure ??= error;
  }

  onNativeClose(error: unknown): void {
    if (this.#phase === "lingering") this.#context.lingering--;
    this.#lingerTimer?.cancel();
    if (this.#phase !== "open") {
      this.#phase = "closed";
      return;
    }
    const cause = error ?? this.#failure;
    if (this.#broken !== null) this.#release(this.#broken);
    else if (cause === null && this.#localEnded) {
      // When the peer's FIN answers ours, Bun closes a plain socket at once, without its end callback.
      if (!this.#remoteEnded) this.onNativeEnd();
      this.#release(null);
    } else this.#release(this.#closeError(cause));
    this.#phase = "closed";
  }

  #closeError(cause: unknown): MeshError {
    if (cause instanceof Error) return connectionError(systemErrorName(cause), cause.message, this.#blame);
    return connectionError(null, "the connection was closed before both sides had ended", this.#blame);
  }

  /** The connection is over for our user: told in a microtask, never from inside one of the user's own calls. */
  #release(error: MeshError | null): void {
    this.#gone = { error };
    this.#schedule();
  }

  /** Our own close or reset: what was not delivered is no longer wanted. */
  #discard(): void {
    this.#held = null;
    this.#heldBytes = 0;
    this.#endHeld = false;
    this.#release(null);
  }

  /**
   * Bun says -1 on a socket that broke. What the peer said before is still in the kernel: an application that answers and closes
   * without reading all of its input has answered. So it is read to its end, which Bun tells of only while it reads.
   */
  #break(): void {
    this.#broken = new MeshError("connection_reset", this.#blame, "the connection broke during a write");
    this.#resumeNative();
    this.#lingerTimer = this.#context.clock.setTimer(hostLimits.brokenReadMs, () => {
      if (this.#phase === "open" && this.#broken !== null) this.#lose(this.#broken);
    });
  }

  #lose(error: MeshError): void {
    this.#release(error);
    this.#phase = "closed";
    this.#native.terminate();
  }

  #linger(): void {
    this.#phase = "lingering";
    this.#context.lingering++;
    this.#native.shutdown();
    this.#resumeNative();
    this.#lingerTimer = this.#context.clock.setTimer(hostLimits.lingerMs, () => {
      if (this.#phase === "lingering") this.#native.close();
    });
  }

  /**
   * A peer that goes on sending much has not looked for our end, and reading it at full speed would starve everybody else. It is
   * not cut either, while there is time: once it can send no more it may still read what we said last (a GOAWAY).
   */
  #drop(bytes: Uint8Array): void {
    this.#heldBytes += bytes.length;
    if (this.#heldBytes > hostLimits.lingerBytes) this.#pauseNative();
  }

  #hold(bytes: Uint8Array): void {
    this.#held ??= [];
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    // Without a handler the first read is the last: what else there is waits in the kernel.
    if (this.#handler === null) this.#pauseNative();
    // Of a connection that broke no more comes than its kernel has already.
    if (this.#heldBytes <= hostLimits.heldBytes || this.#broken !== null) return;
    this.#held = null;
    this.#lose(
      new MeshError("limit_reached", this.#blame, "too many bytes arrived before they could be handled"),
    );
  }

  #schedule(): void {
    queueMicrotask(() => this.#deliverInTurn());
  }

  /**
   * What was held, and the ends. What is carried is over, recorded and counted when an end is told: 40 to 90 us. All connections of a caller
   * that ends may end at once, a thousand of them in one look at the kernel's events, and those that have no time in this turn are told of in
   * a later one.
   */
  #deliverInTurn(): void {
    Turns.of(this.#context.clock).runCounted(() => this.#deliver());
  }

  /** A connection that is over cannot be held back any more: what came before its end is delivered even when paused. */
  #deliver(): void {
    while (this.#held !== null && this.#handler !== null && (!this.#paused || this.#gone !== null)) {
      const bytes = this.#held.shift();
      if (bytes === undefined) this.#held = null;
      else {
        this.#heldBytes -= bytes.length;
        this.#handler.onData(bytes);
      }
    }
    if (this.#held !== null || this.#handler === null) return;
    if (this.#endHeld) {
      this.#endHeld = false;
      this.#handler.onEnd();
    }
    if (this.#gone !== null) this.#deliverGone();
    else if (!this.#paused) this.#resumeNative();
  }

  #deliverGone(): void {
    const handler = this.#handler;
    const gone = this.#gone;
    if (handler === null || gone === null) return;
    this.#gone = null;
    this.#handler = null;
    handler.onClose(gone.error);
  }

  #pauseNative(): void {
    if (this.#nativePaused || this.#broken !== null) return;
    this.#nativePaused = true;
    this.#native.pause();
  }

  #resumeNative(): void {
    if (!this.#nativePaused || this.#phase === "closed" || this.#phase === "upgraded") return;
    this.#nativePaused = false;
    this.#native.resume();
  }
}
