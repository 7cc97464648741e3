/** The ways into the mesh that a client chooses itself: SOCKS5, HTTP CONNECT, and local ports that stand for a service. */
import { MeshError } from "../../base/errors.ts";
import type { HostPort, SocketAddress } from "../../base/ip.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Clock, Socket, Timer } from "../../host/host.ts";
import { EarlySocket } from "../carry/early_socket.ts";

/** The conversation in which a client says where it wants to go. */
export interface EntryProtocol {
  receive(bytes: Uint8Array): EntryStep;
  /** What the client is told when its connection is made (null) or not. */
  answer(error: MeshError | null): Uint8Array;
}

export type EntryStep =
  | { readonly kind: "more"; readonly answer: Uint8Array }
  | {
      readonly kind: "connect";
      readonly answer: Uint8Array;
      readonly destination: SocketAddress | HostPort;
      /** The first bytes of payload. */
      readonly rest: Uint8Array;
    }
  | { readonly kind: "refuse"; readonly answer: Uint8Array; readonly message: string };

/** Speaks an entry's protocol on one socket until the destination is known; after that keeps what happens until the connection is carried. */
export class EntryHandshake extends EarlySocket {
  readonly #protocol: EntryProtocol;
  readonly #resolve: (destination: SocketAddress | HostPort) => void;
  readonly #reject: (error: MeshError) => void;
  readonly #timer: Timer;
  #decided = false;

  private constructor(
    clock: Clock,
    socket: Socket,
    protocol: EntryProtocol,
    resolve: (destination: SocketAddress | HostPort) => void,
    reject: (error: MeshError) => void,
  ) {
    super(socket);
    this.#protocol = protocol;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timer = clock.setTimer(proxyLimits.entryTimeoutMs, () =>
      this.#fail(new MeshError("idle_timeout", "peer", "the client did not say where to connect to")),
    );
  }

  /** @throws MeshError (blame peer) when the client does not speak the protocol, leaves, or takes too long; the socket is closed then. */
  static async run(
    clock: Clock,
    socket: Socket,
    protocol: EntryProtocol,
  ): Promise<{ readonly destination: SocketAddress | HostPort; readonly handshake: EntryHandshake }> {
    const { promise, resolve, reject } = Promise.withResolvers<SocketAddress | HostPort>();
    const handshake = new EntryHandshake(clock, socket, protocol, resolve, reject);
    socket.setHandler(handshake);
    return { destination: await promise, handshake };
  }

  /** Writes the protocol's answer. */
  readonly answer = (error: MeshError | null): void => {
    this.socket.write(this.#protocol.answer(error));
  };

  override onData(bytes: Uint8Array): void {
    if (this.#decided) {
      super.onData(bytes);
      return;
    }
    const step = this.#protocol.receive(bytes);
    if (step.answer.length > 0) this.socket.write(step.answer);
    if (step.kind === "refuse") this.#fail(new MeshError("configuration", "peer", step.message));
    if (step.kind !== "connect") return;
    this.#decided = true;
    this.#timer.cancel();
    if (step.rest.length > 0) this.keep(step.rest);
    this.#resolve(step.destination);
  }

  override onEnd(): void {
    super.onEnd();
    this.#fail(
      new MeshError("connection_closed", "peer", "the client left before it said where to connect to"),
    );
  }

  override onClose(error: MeshError | null): void {
    super.onClose(error);
    this.#fail(error ?? new MeshError("connection_closed", "peer", "the client left"));
  }

  #fail(error: MeshError): void {
    if (this.#decided) return;
    this.#decided = true;
    this.#timer.cancel();
    this.socket.close();
    this.#reject(error);
  }
}
