/**
 * A connection of the kernel inside a stream of a tunnel, so that TLS of the host can be spoken there: one socket of a pair is the
 * caller's, and the other is carried over the stream.
 */
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Clock, Network, Socket, SocketHandler } from "../../host/host.ts";
import { Copy } from "./copy.ts";
import { SocketEnd } from "./socket_end.ts";

/**
 * @param outer has no handler yet, and is this function's from now on.
 * @param secure makes of a socket the one that is used, as TLS does.
 * @throws MeshError as `Network.socketPair`, and what `secure` throws; the stream is reset then.
 */
export async function securedInside(
  { clock, net }: { readonly clock: Clock; readonly net: Network },
  outer: Socket,
  secure: (socket: Socket) => Promise<Socket>,
): Promise<Socket> {
  const state: { fault: MeshError | null } = { fault: null };
  let copy: Copy | null = null;
  try {
    const [near, far] = await net.socketPair();
    const counters = { bytesToUpstream: 0, bytesToDownstream: 0 };
    const carried = {
      finish: (error: MeshError | null) => {
        state.fault = error;
      },
    };
    copy = new Copy(new SocketEnd(far), new SocketEnd(outer), counters, clock, carried);
    copy.start();
    return new InnerSocket(clock, await secure(near), outer, copy, state);
  } catch (error) {
    if (copy === null) outer.reset();
    else copy.abort(given());
    // What broke the stream is why the handshake failed.
    throw state.fault !== null && state.fault.code !== "stopped" ? state.fault : error;
  }
}

class InnerSocket implements Socket, SocketHandler {
  readonly #clock: Clock;
  readonly #inner: Socket;
  readonly #outer: Socket;
  readonly #copy: Copy;
  readonly #state: { readonly fault: MeshError | null };
  #handler: SocketHandler | null = null;
  #isClosing = false;
  #isOver = false;

  constructor(
    clock: Clock,
    inner: Socket,
    outer: Socket,
    copy: Copy,
    state: { readonly fault: MeshError | null },
  ) {
    this.#clock = clock;
    this.#inner = inner;
    this.#outer = outer;
    this.#copy = copy;
    this.#state = state;
  }

  get local() {
    return this.#outer.local;
  }

  get remote() {
    return this.#outer.remote;
  }

  setHandler(handler: SocketHandler): void {
    this.#handler = handler;
    this.#inner.setHandler(this);
  }

  write(bytes: Uint8Array): number {
    return this.#inner.write(bytes);
  }

  end(): void {
    this.#inner.end();
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  /** A peer that does not answer our end would keep the stream and two descriptors for ever. */
  close(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#inner.close();
    if (!this.#copy.finished) this.#clock.setTimer(hostLimits.lingerMs, () => this.#copy.abort(given()));
  }

  reset(): void {
    this.#isClosing = true;
    this.#inner.reset();
    this.#copy.abort(given());
  }

  resetAfterSent(): void {
    this.#isClosing = true;
    this.#inner.resetAfterSent();
    this.#clock.setTimer(hostLimits.lingerMs, () => this.#copy.abort(given()));
  }

  onData(bytes: Uint8Array): void {
    if (!this.#isOver) this.#handler?.onData(bytes);
  }

  onDrain(): void {
    if (!this.#isOver) this.#handler?.onDrain();
  }

  /** The kernel tells the end of a socket of a pair, not how it came about: a stream that broke must not pass for a whole answer. */
  onEnd(): void {
    const { fault } = this.#state;
    if (fault === null || this.#isClosing) this.#handler?.onEnd();
    else this.#lose(fault);
  }

  onClose(error: MeshError | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#handler?.onClose(this.#isClosing ? error : (this.#state.fault ?? error));
  }

  #lose(fault: MeshError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#inner.reset();
    this.#handler?.onClose(fault);
  }
}

function given(): MeshError {
  return new MeshError("stopped", "local", "the connection inside was given up");
}
