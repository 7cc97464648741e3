/** Which protocol a connection speaks, by its first bytes, and bounded in time: where the server speaks first none come. */
import type { MeshError } from "../../base/errors.ts";
import type { SocketAddress } from "../../base/ip.ts";
import { servingLimits } from "../../base/limits/serving.ts";
import type { Clock, Socket, SocketHandler, Timer } from "../../host/host.ts";
import { helloServerName } from "../../wire/tls_hello.ts";

/** `none`: bytes of no known protocol, or none in time. */
export type Detected = "http1" | "http2" | "tls" | "none";

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/** The method, a space, and how a target begins. */
const requestStart = /^[A-Z][A-Z_-]{0,31} [/*hH]/;
const requestStartSoFar = /^[A-Z][A-Z_-]{0,31} ?$/;

/** @returns null when more bytes are needed to tell. */
export function detect(bytes: Uint8Array): Detected | null {
  let text = "";
  for (let i = 0; i < Math.min(bytes.length, servingLimits.detectBytes); i++)
    text += String.fromCharCode(bytes[i] ?? 0);
  if (text === "") return null;
  if (bytes[0] === 0x16) return bytes.length < 2 ? null : bytes[1] === 0x03 ? "tls" : "none";
  if (text.startsWith(preface)) return "http2";
  if (preface.startsWith(text)) return null;
  if (requestStart.test(text)) return "http1";
  return requestStartSoFar.test(text) ? null : "none";
}

/**
 * A socket whose first bytes are looked at, and kept until it is known who gets them: that one sets its handler here, and is told them
 * first.
 */
export class Sniffer implements SocketHandler, Socket {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly retainsWrites = true;
  readonly #socket: Socket;
  readonly #wantsName: boolean;
  readonly #timer: Timer;
  readonly #onDetected: (detected: Detected) => void;
  #bytes: Uint8Array = new Uint8Array(0);
  #isDetected = false;
  #serverName = "";
  #hasEnded = false;
  #closed: { readonly error: MeshError | null } | null = null;

  /** @param timeoutMs after it the protocol is `none`. @param wantsName whether the server's name in TLS is read. @param onDetected exactly once; the socket is paused then. */
  constructor(
    clock: Clock,
    socket: Socket,
    { timeoutMs, wantsName }: { readonly timeoutMs: number; readonly wantsName: boolean },
    onDetected: (detected: Detected) => void,
  ) {
    this.#socket = socket;
    this.#wantsName = wantsName;
    this.local = socket.local;
    this.remote = socket.remote;
    this.#onDetected = onDetected;
    this.#timer = clock.setTimer(timeoutMs, () => this.#decide("none"));
  }

  /** Not in the constructor: the protocol may be known at once. */
  start(): void {
    this.#socket.setHandler(this);
  }

  /** Whoever copies the socket restarts it by itself when it is. */
  get isPaused(): boolean {
    return true;
  }

  /** Of a TLS ClientHello; "" without one. */
  get serverName(): string {
    return this.#serverName;
  }

  setHandler(handler: SocketHandler): void {
    this.handOver(handler);
  }

  handOver(handler: SocketHandler): void {
    const bytes = this.#bytes;
    this.#bytes = new Uint8Array(0);
    if (this.#closed === null) this.#socket.setHandler(handler);
    if (bytes.length > 0) handler.onData(bytes);
    if (this.#hasEnded) handler.onEnd();
    if (this.#closed !== null) handler.onClose(this.#closed.error);
  }

  onData(bytes: Uint8Array): void {
    this.#bytes = this.#bytes.length === 0 ? bytes : joined(this.#bytes, bytes);
    const detected = detect(this.#bytes);
    if (detected === "tls" && this.#wantsName) this.#readName();
    else if (detected !== null) this.#decide(detected);
    else if (this.#bytes.length >= servingLimits.detectBytes) this.#decide("none");
  }

  /** A server name decides where the connection goes, so the whole hello is waited for. */
  #readName(): void {
    const hello = helloServerName(this.#bytes);
    if (hello.kind === "more" && this.#bytes.length < servingLimits.maxHelloBytes) return;
    if (hello.kind === "name") this.#serverName = hello.name;
    this.#decide("tls");
  }

  onDrain(): void {}

  onEnd(): void {
    this.#hasEnded = true;
    this.#decide("none");
  }

  onClose(error: MeshError | null): void {
    this.#closed = { error };
    this.#decide("none");
  }

  write(bytes: Uint8Array): number {
    return this.#socket.write(bytes);
  }

  end(): void {
    this.#socket.end();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.close();
  }

  reset(): void {
    this.#socket.reset();
  }

  resetAfterSent(): void {
    this.#socket.resetAfterSent();
  }

  #decide(detected: Detected): void {
    if (this.#isDetected) return;
    this.#isDetected = true;
    this.#timer.cancel();
    // What still comes waits until it is known who gets it: the way on is looked for first.
    if (this.#closed === null) this.#socket.pause();
    this.#onDetected(detected);
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}
