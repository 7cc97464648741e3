/** A socket for tests: what is written is kept, room is given by hand, events are told by hand. */
import { IpAddress, type SocketAddress } from "../../base/ip.ts";
import type { Socket, SocketHandler } from "../host.ts";

const here: SocketAddress = { ip: IpAddress.parse("127.0.0.1") ?? never(), port: 1 };

export class FakeSocket implements Socket {
  readonly local = here;
  readonly remote = here;
  handler: SocketHandler | null = null;
  /** How many bytes `write` still takes. */
  room = Number.POSITIVE_INFINITY;
  written: number[] = [];
  paused = false;
  state: "open" | "ended" | "closed" | "reset" = "open";

  setHandler(handler: SocketHandler): void {
    this.handler = handler;
  }

  write(bytes: Uint8Array): number {
    if (this.state !== "open") return 0;
    const taken = Math.min(this.room, bytes.length);
    this.room -= taken;
    for (const byte of bytes.subarray(0, taken)) this.written.push(byte);
    return taken;
  }

  end(): void {
    if (this.state === "open") this.state = "ended";
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  close(): void {
    this.state = "closed";
    this.handler?.onClose(null);
  }

  reset(): void {
    this.state = "reset";
    this.handler?.onClose(null);
  }

  resetAfterSent(): void {
    this.reset();
  }

  get text(): string {
    return String.fromCharCode(...this.written);
  }

  /** The peer sends. */
  receive(text: string): void {
    this.handler?.onData(Uint8Array.from(text, (character) => character.charCodeAt(0)));
  }

  /** The peer reads. */
  drain(bytes: number): void {
    this.room += bytes;
    this.handler?.onDrain();
  }
}

function never(): never {
  throw new Error("unreachable");
}
