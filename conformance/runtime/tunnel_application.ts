/** An application that knows nothing of any mesh. The first line of a connection says what it does: `echo`, `send` or `take`. */
import { createServer, type Server, type Socket } from "node:net";
import { assert } from "../../src/base/assert.ts";

export const bulkBytes = 64 * 1024 * 1024;
const chunkBytes = 64 * 1024;

let made: Uint8Array | null = null;

/** Bytes that a lost, doubled or moved chunk would change. */
export function bulk(): Uint8Array {
  made ??= new Uint8Array(Uint32Array.from({ length: bulkBytes / 4 }, (_, index) => index).buffer);
  return made;
}

export class TunnelApplication {
  readonly port: number;
  readonly #server: Server;
  readonly #open: Set<Socket>;
  /** Connections that were made, ever. */
  connections = 0;
  /** Of the last `send`: how many bytes the connection took. */
  sentBytes = 0;
  /** Of the last `take`: while true it reads nothing. */
  holdsBack = false;

  private constructor(server: Server, port: number, open: Set<Socket>) {
    this.#server = server;
    this.port = port;
    this.#open = open;
  }

  static async listen(): Promise<TunnelApplication> {
    const open = new Set<Socket>();
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    assert(address !== null && typeof address === "object", "it listens on a port");
    const application = new TunnelApplication(server, address.port, open);
    server.on("connection", (socket) => {
      open.add(socket);
      application.connections++;
      socket.on("close", () => open.delete(socket)).on("error", () => socket.destroy());
      application.#serve(socket);
    });
    return application;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#open) socket.destroy();
  }

  #serve(socket: Socket): void {
    let line = "";
    const giveUp = (): void => void socket.end();
    const begin = (bytes: Uint8Array): void => {
      line += Buffer.from(bytes).toString("latin1");
      const end = line.indexOf("\n");
      if (end === -1) return;
      socket.off("data", begin).off("end", giveUp);
      const rest = Buffer.from(line.slice(end + 1), "latin1");
      const what = line.slice(0, end);
      if (what === "echo") this.#echo(socket, rest);
      else if (what === "send") this.#send(socket);
      else this.#take(socket, rest);
    };
    socket.on("data", begin).on("end", giveUp);
  }

  #echo(socket: Socket, first: Uint8Array): void {
    if (first.length > 0) socket.write(first);
    socket.on("data", (bytes) => socket.write(bytes));
    socket.on("end", () => socket.end());
  }

  #send(socket: Socket): void {
    this.sentBytes = 0;
    const pump = (): void => {
      while (this.sentBytes < bulkBytes) {
        const chunk = bulk().subarray(this.sentBytes, this.sentBytes + chunkBytes);
        this.sentBytes += chunk.length;
        if (!socket.write(chunk)) return void socket.once("drain", pump);
      }
      socket.end();
    };
    pump();
  }

  /** Says at the end whether what it took was the bulk. */
  #take(socket: Socket, first: Uint8Array): void {
    let offset = 0;
    let isSame = true;
    const look = (bytes: Uint8Array): void => {
      isSame &&= Buffer.compare(bytes, bulk().subarray(offset, offset + bytes.length)) === 0;
      offset += bytes.length;
    };
    look(first);
    socket.on("data", look);
    socket.on("end", () => socket.end(isSame && offset === bulkBytes ? "whole\n" : `broken at ${offset}\n`));
    if (!this.holdsBack) return;
    socket.pause();
    const wait = setInterval(() => {
      if (this.holdsBack) return;
      clearInterval(wait);
      socket.resume();
    }, 10);
  }
}
