/**
 * The receiving side of flow control (RFC 9113 §6.9), for a stream or the connection. The sending side is one number
 * and lives where it is spent.
 */
export class ReceiveWindow {
  /** What we want the peer to have when nothing waits at our side. */
  #sizeBytes: number;
  /** What the peer may still send, as it knows or will know; negative after a shrink. */
  #availableBytes: number;
  /** Consumed here and not yet given back. */
  #pendingBytes = 0;

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
    this.#availableBytes = sizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get availableBytes(): number {
    return this.#availableBytes;
  }

  /** A flow-controlled frame arrived. @returns false when the peer had no right to send it. */
  take(bytes: number): boolean {
    this.#availableBytes -= bytes;
    return this.#availableBytes >= 0;
  }

  /**
   * The application is done with `bytes`. They are given back when they amount to half the window: fewer
   * WINDOW_UPDATEs, and the peer still never waits for one while the application keeps up.
   *
   * @returns the increment to send now, or 0.
   */
  release(bytes: number): number {
    this.#pendingBytes += bytes;
    if (this.#pendingBytes * 2 < this.#sizeBytes || this.#pendingBytes === 0) return 0;
    const increment = this.#pendingBytes;
    this.#pendingBytes = 0;
    this.#availableBytes += increment;
    return increment;
  }

  /**
   * SETTINGS_INITIAL_WINDOW_SIZE changed: both sides move by the difference, without a frame (RFC 9113 §6.9.2).
   *
   * @returns the increment to send now, or 0: what was little of the old window may be all of the new one.
   */
  resize(sizeBytes: number): number {
    this.#availableBytes += sizeBytes - this.#sizeBytes;
    this.#sizeBytes = sizeBytes;
    return this.release(0);
  }
}
