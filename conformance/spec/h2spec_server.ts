/** A small HTTP/2 server on the engine, for h2spec and for load tools: 200 with a body for every request. */
import type { Listener, Socket } from "../../src/host/host.ts";
import { headerValue } from "../../src/wire/h2/headers.ts";
import type { H2Stream, H2StreamEvents } from "../../src/wire/h2/stream.ts";
import { EngineWire, h2specFrameBytes, host, loopback } from "./engine_wire.ts";

export interface ServerTls {
  readonly certPem: string;
  readonly keyPem: string;
}

const handshakeTimeoutMs = 5_000;

/** @returns the listener; its port is free choice of the system when 0. */
export function serve(port: number, tls: ServerTls | null): Listener {
  return host.net.listen({ address: loopback(port), tls: tls !== null }, (socket) => {
    if (tls === null) answerOn(socket);
    else void secured(socket, tls).then(answerOn, () => {});
  });
}

function secured(socket: Socket, { certPem, keyPem }: ServerTls): Promise<Socket> {
  return host.net.tlsServer(socket, {
    credentials: { certificateChainPem: certPem, privateKeyPem: keyPem, trustedRootsPem: certPem },
    alpn: ["h2"],
    timeoutMs: handshakeTimeoutMs,
    clientCertificate: "request",
  });
}

function answerOn(socket: Socket): void {
  new EngineWire(
    socket,
    { role: "server", limits: { maxConcurrentStreams: 100, maxFrameBytes: h2specFrameBytes } },
    { onRequest: answer, onClose: () => {} },
  );
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
  console.log(`listening on 127.0.0.1:${listener.address.port}`);
}
