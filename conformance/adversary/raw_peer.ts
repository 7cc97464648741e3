/** A peer that speaks HTTP/2 in bytes of its own choice, over TLS or none: it sends what it likes and reads, or not, what it gets. */
import type { Socket, SocketHandler } from "../../src/host/host.ts";
import { clientPreface, frameFlag, frameType } from "../../src/wire/h2/frame.ts";
import { concat, frameBytes } from "../../src/wire/h2/testing/wired.ts";
import { HpackEncoder } from "../../src/wire/hpack/encoder.ts";

export class RawPeer implements SocketHandler {
  readonly #socket: Socket;
  readonly encoder = new HpackEncoder({ maxTableBytes: 4096, huffman: false });
  closed = false;
  receivedBytes = 0;
  #drained: (() => void) | null = null;

  /** @param hello whether it begins as HTTP/2 should: preface, SETTINGS, and the acknowledgement of the other's. */
  constructor(socket: Socket, hello = true) {
    this.#socket = socket;
    socket.setHandler(this);
    if (!hello) return;
    const settings = frameBytes(frameType.settings, 0, 0, new Uint8Array(0));
    const ack = frameBytes(frameType.settings, frameFlag.ack, 0, new Uint8Array(0));
    socket.write(concat([clientPreface, settings, ack]));
  }

  /** Resolves when it is written, or the connection is gone: an attacker is closed as soon as it is known for one. */
  async send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && !this.closed; ) {
      const taken = this.#socket.write(bytes.subarray(at));
      at += taken;
      if (at < bytes.length && !this.closed) await this.#room();
    }
  }

  /** `times` pieces in one after the other, until the connection is gone or the time is over. */
  async flood(times: number, piece: (turn: number) => Uint8Array, forMs = 1_500): Promise<void> {
    const untilMs = performance.now() + forMs;
    for (let turn = 0; turn < times && !this.closed && performance.now() < untilMs; turn++)
      await this.send(piece(turn));
  }

  headers(streamId: number, fields: readonly string[], ends: boolean): Uint8Array {
    const block = new Uint8Array(this.encoder.maxEncodedBytes(fields));
    const length = this.encoder.encode(fields, block, 0);
    const flags = frameFlag.endHeaders | (ends ? frameFlag.endStream : 0);
    return frameBytes(frameType.headers, flags, streamId, block.subarray(0, length));
  }

  /** Reads nothing any more. */
  deaf(): void {
    this.#socket.pause();
  }

  end(): void {
    this.#socket.reset();
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained = resolve;
      // A peer that is held back may wait for ever; it looks again whether its time is over.
      setTimeout(resolve, 100);
    });
  }

  onData(bytes: Uint8Array): void {
    this.receivedBytes += bytes.length;
  }
  onDrain(): void {
    this.#drained?.();
  }
  onEnd(): void {
    this.#socket.close();
  }
  onClose(): void {
    this.closed = true;
    this.#drained?.();
  }
}
