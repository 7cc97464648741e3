/** Counts the messages of a gRPC stream as its bytes pass (gRPC over HTTP/2, "Length-Prefixed-Message"): a flag, a length of four bytes, the message. */
import type { BodyObserver } from "../body.ts";

export class MessageCount implements BodyObserver {
  messages = 0;
  /** Of the next message's head, what has come. */
  #headBytes = 0;
  #length = 0;
  /** Of the message that is passing, what has not. */
  #left = 0;

  onBytes(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#left > 0) {
        const passed = Math.min(this.#left, bytes.length - at);
        this.#left -= passed;
        at += passed;
        continue;
      }
      const byte = bytes[at++] ?? 0;
      // Four bytes of length behind the flag; a multiplication keeps them positive.
      if (this.#headBytes > 0) this.#length = this.#length * 256 + byte;
      if (++this.#headBytes < 5) continue;
      this.messages++;
      this.#left = this.#length;
      this.#headBytes = 0;
      this.#length = 0;
    }
  }

  onEnd(): void {}

  onFail(): void {}
}
