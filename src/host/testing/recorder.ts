/** A socket handler that writes down what it is told, and pairs of connected sockets to try it on. */
import { expect } from "bun:test";
import { assert } from "../../base/assert.ts";
import type { MeshError } from "../../base/errors.ts";
import type { Socket, SocketHandler, TlsOptions, TlsSocket } from "../host.ts";
import type { HostFixture } from "./contract.ts";

export class Recorder implements SocketHandler {
  readonly socket: Socket;
  readonly chunks: Uint8Array[] = [];
  byteCount = 0;
  drains = 0;
  ends = 0;
  closes = 0;
  /** Of the only `onClose`. */
  error: MeshError | null = null;
  /** In order: `data`, `end`, `close`. Consecutive data counts once. */
  readonly order: string[] = [];
  /** True while the test is inside a call on the socket: nothing may be told then. */
  calling = false;
  reentered = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setHandler(this);
  }

  onData(bytes: Uint8Array): void {
    this.#told("data");
    this.chunks.push(bytes);
    this.byteCount += bytes.length;
  }

  onDrain(): void {
    this.drains++;
  }

  onEnd(): void {
    this.#told("end");
    this.ends++;
  }

  onClose(error: MeshError | null): void {
    this.#told("close");
    this.closes++;
    this.error = error;
  }

  get bytes(): Uint8Array {
    const all = new Uint8Array(this.byteCount);
    let offset = 0;
    for (const chunk of this.chunks) {
      all.set(chunk, offset);
      offset += chunk.length;
    }
    return all;
  }

  get text(): string {
    return new TextDecoder().decode(this.bytes);
  }

  /** Runs a call on the socket and notes when it calls back from inside. */
  call(action: (socket: Socket) => void): void {
    this.calling = true;
    action(this.socket);
    this.calling = false;
  }

  #told(what: string): void {
    if (this.calling) this.reentered = true;
    expect(this.closes).toBe(0);
    if (what !== "data" || this.order.at(-1) !== "data") this.order.push(what);
  }
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Bytes that a lost, doubled or moved chunk would change: a 32-bit counter in little-endian order. */
export function pattern(length: number): Uint8Array {
  assert(length % 4 === 0, "the pattern is made of 32-bit words");
  return new Uint8Array(Uint32Array.from({ length: length / 4 }, (_, index) => index).buffer);
}

/** Writes all of `bytes`, waiting for drains; resolves when the last byte was taken. */
export async function writeAll(fixture: HostFixture, recorder: Recorder, bytes: Uint8Array): Promise<void> {
  let offset = 0;
  for (;;) {
    const drains = recorder.drains;
    offset += recorder.socket.write(bytes.subarray(offset));
    if (offset === bytes.length) return;
    await fixture.until(() => recorder.drains > drains, "room to write");
  }
}

export interface SocketPair {
  readonly client: Socket;
  readonly server: Socket;
  close(): void;
}

/** Two ends of one connection, without handlers. */
export async function connectPair(fixture: HostFixture, tls = false): Promise<SocketPair> {
  const { host, address } = fixture;
  let accepted: Socket | null = null;
  const listener = host.net.listen({ address: { ip: address, port: 0 }, tls }, (socket) => {
    accepted = socket;
  });
  const client = await fixture.settled(host.net.connect({ to: listener.address, timeoutMs: 5_000 }));
  await fixture.until(() => accepted !== null, "the connection to be accepted");
  const server = accepted as Socket | null;
  assert(server !== null, "accepted");
  return { client, server, close: () => listener.close() };
}

export async function connectRecorders(
  fixture: HostFixture,
): Promise<{ readonly client: Recorder; readonly server: Recorder; close(): void }> {
  const pair = await connectPair(fixture);
  return { client: new Recorder(pair.client), server: new Recorder(pair.server), close: pair.close };
}

export interface TlsPair {
  readonly client: TlsSocket;
  readonly server: TlsSocket;
  close(): void;
}

/** @throws what either side's handshake threw, the server's first. */
export async function connectTls(
  fixture: HostFixture,
  client: TlsOptions,
  server: TlsOptions,
): Promise<TlsPair> {
  const { net } = fixture.host;
  const pair = await connectPair(fixture, true);
  const [serverResult, clientResult] = await fixture.settled(
    Promise.allSettled([net.tlsServer(pair.server, server), net.tlsClient(pair.client, client)]),
  );
  pair.close();
  if (serverResult.status === "rejected") throw serverResult.reason;
  if (clientResult.status === "rejected") throw clientResult.reason;
  return { client: clientResult.value, server: serverResult.value, close: pair.close };
}
