/** One end of a simulated connection: sends a known pattern, checks the other's, and does what its script says. */
import type { MeshError } from "../../src/base/errors.ts";
import type { Clock, Socket, SocketHandler, Timer } from "../../src/host/host.ts";
import type { EndScript } from "./scripts.ts";

export const headerBytes = 8;
const magic = [0x46, 0x4c, 0x53, 0x4d] as const;

/** What a server that speaks first says, to whomever. */
export const banner = Uint8Array.from({ length: 200 }, (_, index) => 255 - index);

export type Direction = "request" | "response";

/** The first bytes a client sends: which connection this is. */
export function encodeHeader(id: number): Uint8Array {
  return Uint8Array.from([...magic, id >>> 24, id >>> 16, id >>> 8, id]);
}

/** @returns null when it is none. */
export function decodeHeader(bytes: Uint8Array): number | null {
  if (magic.some((byte, index) => bytes[index] !== byte)) return null;
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(4);
}

/** Any run of bytes of one place in one direction of one connection differs from those of any other. */
function patternByte(id: number, direction: Direction, offset: number): number {
  return (
    (Math.imul(offset, 31) +
      (offset >>> 8) * 17 +
      (offset >>> 16) * 5 +
      id * 7 +
      (direction === "request" ? 0 : 101)) &
    0xff
  );
}

export interface EndObserver {
  /** Payload has come; `total` so far. */
  onPayload(end: AppEnd, bytes: number): void;
  onFinished(end: AppEnd): void;
}

export class AppEnd implements SocketHandler {
  readonly id: number;
  readonly sends: Direction;
  readonly script: EndScript;
  readonly socket: Socket;
  /** Payload that the kernel took from us, and that came. */
  sent = 0;
  received = 0;
  /** The offset at which the wrong byte came. */
  wrongAt: number | null = null;
  /** We have ended our half, or closed. */
  ended = false;
  /** The peer's end has come. */
  peerEnded = false;
  /** We reset or closed both halves, or answered with our input unread, because the script said so. */
  left: "reset" | "close" | "answer" | null = null;
  closed: { readonly error: MeshError | null } | null = null;
  /** Bytes of the banner that are still to come. */
  bannerLeft = 0;
  readonly #clock: Clock;
  readonly #observer: EndObserver;
  #timer: Timer | null = null;
  #stalled: "not_yet" | "now" | "over" = "not_yet";
  #blocked = false;

  constructor(
    clock: Clock,
    socket: Socket,
    id: number,
    sends: Direction,
    script: EndScript,
    observer: EndObserver,
  ) {
    this.#clock = clock;
    this.socket = socket;
    this.id = id;
    this.sends = sends;
    this.script = script;
    this.#observer = observer;
  }

  /** @param early what came before the handler was ours. */
  start(early: Uint8Array): void {
    this.socket.setHandler(this);
    if (early.length > 0) this.onData(early);
    this.#send();
    this.#considerStall();
    this.#considerLeaving();
  }

  onData(all: Uint8Array): void {
    if (this.left !== null) return;
    const bytes = this.#readBanner(all);
    if (bytes.length === 0) return;
    const receives = this.sends === "request" ? "response" : "request";
    for (let index = 0; index < bytes.length && this.wrongAt === null; index++) {
      if (bytes[index] !== patternByte(this.id, receives, this.received + index))
        this.wrongAt = this.received + index;
    }
    this.received += bytes.length;
    this.#observer.onPayload(this, bytes.length);
    this.#considerStall();
    this.#considerLeaving();
  }

  onDrain(): void {
    this.#blocked = false;
    if (this.#timer === null) this.#send();
  }

  onEnd(): void {
    this.peerEnded = true;
    this.#considerEnding();
  }

  onClose(error: MeshError | null): void {
    this.closed = { error };
    this.#timer?.cancel();
    this.#observer.onFinished(this);
  }

  #readBanner(bytes: Uint8Array): Uint8Array {
    let read = 0;
    for (; this.bannerLeft > 0 && read < bytes.length; read++, this.bannerLeft--)
      if (bytes[read] !== banner[banner.length - this.bannerLeft]) this.wrongAt ??= -this.bannerLeft;
    return bytes.subarray(read);
  }

  #send(): void {
    this.#timer = null;
    const { sendBytes, chunkBytes, gapMs, leave } = this.script;
    if (leave?.how === "answer" && this.received < leave.afterBytes) return;
    while (this.left === null && this.closed === null && this.sent < sendBytes && !this.#blocked) {
      const length = Math.min(chunkBytes, sendBytes - this.sent);
      const chunk = new Uint8Array(length);
      for (let index = 0; index < length; index++)
        chunk[index] = patternByte(this.id, this.sends, this.sent + index);
      const taken = this.socket.write(chunk);
      this.sent += taken;
      this.#blocked = taken < length;
      if (gapMs > 0 && this.sent < sendBytes) {
        this.#timer = this.#clock.setTimer(gapMs, () => this.#send());
        return;
      }
    }
    this.#considerEnding();
  }

  #considerEnding(): void {
    if (this.ended || this.left !== null || this.sent < this.script.sendBytes) return;
    const { end } = this.script;
    if (end === "never" || (end === "peer_ended" && !this.peerEnded)) return;
    this.ended = true;
    this.socket.end();
  }

  #considerStall(): void {
    const { stall } = this.script;
    if (stall === null || this.#stalled !== "not_yet" || this.received < stall.afterBytes) return;
    this.#stalled = "now";
    this.socket.pause();
    this.#clock.setTimer(stall.forMs, () => {
      this.#stalled = "over";
      this.socket.resume();
    });
  }

  #considerLeaving(): void {
    const { leave } = this.script;
    if (leave === null || this.left !== null || this.received < leave.afterBytes) return;
    if (leave.how === "answer") this.#send();
    this.left = leave.how;
    if (leave.how === "answer") this.socket.resetAfterSent();
    else if (leave.how === "reset") this.socket.reset();
    else this.socket.close();
  }
}
