/** A small HTTP/2 server on the engine, for h2spec and for load tools: 200 with a body for every request. */
import type { TCPSocketListener } from "bun";
import { headerValue } from "../../src/wire/h2/headers.ts";
import type { H2Stream, H2StreamEvents } from "../../src/wire/h2/stream.ts";
import { BunWire, h2specFrameBytes } from "./bun_wire.ts";

export interface ServerTls {
  readonly certPem: string;
  readonly keyPem: string;
}

/** @returns the listener; its port is free choice of the system when 0. */
export function serve(port: number, tls: ServerTls | null): TCPSocketListener<BunWire | undefined> {
  return Bun.listen<BunWire | undefined>({
    hostname: "127.0.0.1",
    port,
    ...(tls === null
      ? {}
      : { tls: { cert: tls.certPem, key: tls.keyPem, ALPNProtocols: Buffer.from("\x02h2") } as never }),
    socket: {
      open(socket) {
        socket.data = new BunWire(
          socket,
          { role: "server", limits: { maxConcurrentStreams: 100, maxFrameBytes: h2specFrameBytes } },
          { onRequest: answer, onClose: () => {} },
        );
      },
      data(socket, bytes) {
        socket.data?.data(bytes);
      },
      drain(socket) {
        socket.data?.drain();
      },
      close(socket) {
        socket.data?.gone();
      },
      error() {},
    },
  });
}

const body = new TextEncoder().encode("Fairlead speaks HTTP/2.\n");

function answer(stream: H2Stream, headers: readonly string[], endStream: boolean): void {
  const isHead = headerValue(headers, ":method") === "HEAD";
  stream.events = new Answer(stream, isHead);
  if (endStream) respond(stream, isHead);
}

function respond(stream: H2Stream, isHead: boolean): void {
  stream.sendHeaders(
    [":status", "200", "content-type", "text/plain", "content-length", String(body.length)],
    isHead,
  );
  if (!isHead) stream.sendData(body, true);
}

/** Reads the request to its end, then answers. */
class Answer implements H2StreamEvents {
  readonly #stream: H2Stream;
  readonly #isHead: boolean;

  constructor(stream: H2Stream, isHead: boolean) {
    this.#stream = stream;
    this.#isHead = isHead;
  }

  onHeaders(): void {}
  onData(bytes: Uint8Array, endStream: boolean): void {
    this.#stream.consume(bytes.length);
    if (endStream) respond(this.#stream, this.#isHead);
  }
  onTrailers(): void {
    respond(this.#stream, this.#isHead);
  }
  onReset(): void {}
  onWritable(): void {}
  onClose(): void {}
}

if (import.meta.main) {
  const listener = serve(Number(process.argv[2] ?? "0"), null);
  console.log(`listening on 127.0.0.1:${listener.port}`);
}
