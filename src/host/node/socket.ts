/**
 * A `Socket` over one of `node:net`, or over one of `node:tls` and what carries it. The runtime buffers without bound what it is
 * given to write, and what it was given by reference: here both have their bound, and a copy.
 */
import type { Socket as NetSocket } from "node:net";
import { assert } from "../../base/assert.ts";
import type { Blame, MeshError } from "../../base/errors.ts";
import type { SocketAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import { Turns } from "../../base/turns/turns.ts";
import type { Socket, SocketHandler, Timer } from "../host.ts";
import { connectionError, systemErrorName } from "../socket_errors.ts";
import { resetNative, type SocketContext } from "./native.ts";

type Phase = "open" | "upgraded" | "lingering" | "closed";

export interface Addresses {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
}

export class NodeSocket implements Socket {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly #context: SocketContext;
  readonly #native: NetSocket;
  /** What is below TLS; without TLS the same. */
  readonly #transport: NetSocket;
  /** Whose fault a broken connection is: the peer's where we accepted, the upstream's where we dialled. */
  readonly #blame: Blame;
  #handler: SocketHandler | null = null;
  #phase: Phase = "open";
  #paused = false;
  #isRead = false;
  /** The last write took less than it was given, so room is news. */
  #blocked = false;
  #localEnded = false;
  #remoteEnded = false;
  /** What the runtime had when the connection was lost: delivered before the loss is told. */
  #held: Uint8Array[] = [];
  /** `onEnd` waits for a turn that has time. */
  #endHeld = false;
  #droppedBytes = 0;
  /** Set once the connection is over; the object waits for a handler that can be told. */
  #gone: { readonly error: MeshError | null } | null = null;
  #failure: unknown = null;
  #lingerTimer: Timer | null = null;

  /** @param native is paused, and has been so since it was there. */
  constructor(
    context: SocketContext,
    native: NetSocket,
    addresses: Addresses,
    blame: Blame,
    transport: NetSocket = native,
  ) {
    this.#context = context;
    this.#native = native;
    this.#transport = transport;
    this.local = addresses.local;
    this.remote = addresses.remote;
    this.#blame = blame;
    if (transport === native) {
      context.open++;
      native.once("close", () => context.open--);
    }
    native.on("error", this.#onError);
    native.on("close", this.#onClose);
  }

  setHandler(handler: SocketHandler): void {
    assert(this.#phase !== "upgraded", "a socket under TLS has no handler of its own");
    this.#handler = handler;
    if (this.#gone !== null) this.#schedule();
    else if (this.#phase === "open" && !this.#paused) this.#read();
  }

  write(bytes: Uint8Array): number {
    if (this.#phase !== "open" || this.#localEnded || this.#native.destroyed || this.#gone !== null) return 0;
    const room = hostLimits.unsentBytes - this.#native.writableLength;
    const taken = Math.max(0, Math.min(room, bytes.length));
    if (taken < bytes.length) this.#blocked = true;
    if (taken > 0) this.#native.write(bytes.slice(0, taken), this.#onWritten);
    return taken;
  }

  end(): void {
    if (this.#phase !== "open" || this.#localEnded) return;
    this.#localEnded = true;
    this.#native.end();
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    if (this.#phase === "open") this.#native.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#handler !== null && this.#phase === "open" && this.#gone === null) this.#read();
  }

  close(): void {
    if (this.#phase !== "open") return;
    this.#discard();
    if (this.#context.lingering >= hostLimits.maxLingering) {
      this.#phase = "closed";
      this.#native.destroySoon();
      return;
    }
    // Closing with unread bytes in the kernel makes it send RST, which destroys what the peer has not read yet.
    this.#linger();
    this.#native.end();
    this.#read();
    this.#closeAfter(this.#native.writableLength);
  }

  reset(): void {
    if (this.#phase !== "open") return;
    this.#discard();
    this.#phase = "closed";
    this.#native.pause();
    this.#context.resets.reset(this.#transport);
  }

  resetAfterSent(): void {
    if (this.#phase !== "open") return;
    if (this.#context.lingering >= hostLimits.maxLingering) return void this.reset();
    this.#discard();
    this.#linger();
    this.#native.pause();
    this.#resetWhenSent(this.#context.clock.now() + hostLimits.lingerMs);
  }

  /** Hands the runtime's socket over to a TLS handshake; from now on this object is dead. @returns null when it is gone. */
  takeForUpgrade(): NetSocket | null {
    assert(this.#handler === null, "only a socket without a handler can be upgraded");
    if (this.#phase !== "open" || this.#gone !== null || this.#native.destroyed) {
      this.reset();
      return null;
    }
    this.#phase = "upgraded";
    return this.#native;
  }

  #read(): void {
    if (!this.#isRead) {
      this.#isRead = true;
      this.#native.on("data", this.#onData);
      this.#native.on("end", this.#onEnd);
    }
    this.#native.resume();
  }

  readonly #onData = (bytes: Uint8Array): void => {
    if (this.#phase === "lingering") this.#drop(bytes);
    if (this.#phase !== "open" || this.#handler === null) return;
    const { handler } = { handler: this.#handler };
    this.#call(() => handler.onData(plain(bytes)));
  };

  readonly #onEnd = (): void => {
    this.#remoteEnded = true;
    if (this.#phase !== "open") return;
    this.#endHeld = true;
    this.#deliverInTurn();
  };

  readonly #onWritten = (): void => {
    if (!this.#blocked || this.#phase !== "open" || this.#native.destroyed) return;
    if (this.#native.writableLength > hostLimits.unsentBytes / 2) return;
    this.#blocked = false;
    const handler = this.#handler;
    if (handler !== null) this.#call(() => handler.onDrain());
  };

  readonly #onError = (error: unknown): void => {
    this.#failure ??= error;
    this.#keepUnread();
  };

  readonly #onClose = (): void => {
    this.#lingerTimer?.cancel();
    if (this.#phase === "lingering") this.#context.lingering--;
    if (this.#phase === "open") {
      this.#keepUnread();
      this.#release(this.#closeError());
    }
    if (this.#phase !== "upgraded") this.#phase = "closed";
  };

  #closeError(): MeshError | null {
    const failure = this.#failure;
    if (failure instanceof Error)
      return connectionError(systemErrorName(failure), failure.message, this.#blame);
    if (this.#localEnded && this.#remoteEnded) return null;
    return connectionError(null, "the connection was closed before both sides had ended", this.#blame);
  }

  /** An application that answers and closes without reading all of its input has answered. */
  #keepUnread(): void {
    if (this.#phase !== "open") return;
    for (;;) {
      const bytes: unknown = this.#native.read();
      if (!(bytes instanceof Uint8Array)) return;
      this.#held.push(plain(bytes));
    }
  }

  /** The connection is over for our user: told in a microtask, never from inside one of the user's own calls. */
  #release(error: MeshError | null): void {
    this.#gone = { error };
    this.#schedule();
  }

  /** Our own close or reset: what was not delivered is no longer wanted. */
  #discard(): void {
    this.#held = [];
    this.#endHeld = false;
    this.#release(null);
  }

  #schedule(): void {
    queueMicrotask(() => this.#deliverInTurn());
  }

  /** All connections of a caller that ends may end at once: those that have no time in this turn are told of in a later one. */
  #deliverInTurn(): void {
    Turns.of(this.#context.clock).runCounted(() => this.#deliver());
  }

  /** A connection that is over cannot be held back any more: what came before its end is delivered even when paused. */
  #deliver(): void {
    const gone = this.#gone;
    while (this.#handler !== null && gone !== null) {
      const bytes = this.#held.shift();
      if (bytes === undefined) break;
      const handler = this.#handler;
      this.#call(() => handler.onData(bytes));
    }
    const handler = this.#handler;
    if (handler === null) return;
    if (this.#endHeld) {
      this.#endHeld = false;
      this.#call(() => handler.onEnd());
    }
    if (gone === null || this.#gone === null) return;
    this.#gone = null;
    this.#handler = null;
    this.#call(() => handler.onClose(gone.error));
  }

  /** A bug of the handler's has to be loud, and the connection that met it is over. */
  #call(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.reset();
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #linger(): void {
    this.#phase = "lingering";
    this.#context.lingering++;
  }

  /** While the peer takes what was written it is waited for; the kernel would do no less. */
  #closeAfter(unsentBytes: number): void {
    this.#lingerTimer = this.#context.clock.setTimer(hostLimits.lingerMs, () => {
      if (this.#phase !== "lingering") return;
      const left = this.#native.writableLength;
      if (left > 0 && left < unsentBytes) this.#closeAfter(left);
      else this.#transport.destroy();
    });
  }

  /** No event tells that the peer's kernel has everything. */
  #resetWhenSent(untilMs: number): void {
    const { clock, unsent } = this.#context;
    this.#lingerTimer = clock.setTimer(hostLimits.unsentPollMs, async () => {
      const left = this.#native.writableLength || (await unsent.of(this.local, this.remote));
      if (this.#phase !== "lingering") return;
      if (left > 0 && clock.now() < untilMs) this.#resetWhenSent(untilMs);
      else resetNative(this.#transport);
    });
  }

  /** A peer that goes on sending much has not looked for our end; it is left unread then, and cut when the time is over. */
  #drop(bytes: Uint8Array): void {
    this.#droppedBytes += bytes.length;
    if (this.#droppedBytes > hostLimits.lingerBytes) this.#native.pause();
  }
}

/** Not a Buffer, whose `slice` shares memory where a Uint8Array's copies. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
