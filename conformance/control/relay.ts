/** A TCP relay on loopback that can be cut: the network between a node and its control plane. */
import type { Socket } from "bun";

interface Pair {
  other: Socket<Pair> | null;
  readonly waiting: Uint8Array[];
}

export class Relay {
  readonly #target: { readonly host: string; readonly port: number };
  readonly #sockets = new Set<Socket<Pair>>();
  readonly #listener: Bun.TCPSocketListener<Pair>;
  #isCut = false;

  constructor(target: { readonly host: string; readonly port: number }) {
    this.#target = target;
    this.#listener = Bun.listen<Pair>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket) => this.#accept(socket),
        data: (socket, bytes) => forward(socket, bytes),
        close: (socket) => this.#end(socket),
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Ends what is open, and with `true` whatever comes. */
  cut(isCut: boolean): void {
    this.#isCut = isCut;
    for (const socket of [...this.#sockets]) socket.terminate();
  }

  close(): void {
    this.cut(true);
    this.#listener.stop(true);
  }

  #accept(socket: Socket<Pair>): void {
    socket.data = { other: null, waiting: [] };
    if (this.#isCut) {
      socket.terminate();
      return;
    }
    this.#sockets.add(socket);
    const { host: hostname, port } = this.#target;
    const dialled = Bun.connect<Pair>({
      hostname,
      port,
      data: { other: socket, waiting: [] },
      socket: {
        open: (other) => {
          this.#sockets.add(other);
          socket.data.other = other;
          for (const bytes of socket.data.waiting.splice(0)) other.write(bytes);
        },
        data: (other, bytes) => forward(other, bytes),
        close: (other) => this.#end(other),
      },
    });
    dialled.catch(() => socket.terminate());
  }

  #end(socket: Socket<Pair>): void {
    this.#sockets.delete(socket);
    socket.data.other?.end();
  }
}

/** What a control plane says to one node is small: the kernel's buffers take it. */
function forward({ data }: Socket<Pair>, bytes: Uint8Array): void {
  if (data.other === null) data.waiting.push(bytes.slice());
  else if (data.other.write(bytes) < bytes.length) throw new Error("the relay's buffers are full");
}
