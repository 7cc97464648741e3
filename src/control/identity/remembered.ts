/** Digests of what was looked at once, so that looking again costs a hash: for a time, and no more of them than fit. */
import type { Clock } from "../../host/host.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { buffer } from "../../pki/crypto/signature.ts";
import { hex } from "../../pki/der/values.ts";

export class RememberedDigests {
  readonly #clock: Clock;
  readonly #provider: CryptoProvider;
  readonly #maxEntries: number;
  /** Until when, by the monotonic clock; the oldest first. */
  readonly #until = new Map<string, number>();

  constructor(clock: Clock, provider: CryptoProvider, maxEntries: number) {
    this.#clock = clock;
    this.#provider = provider;
    this.#maxEntries = maxEntries;
  }

  async add(content: Uint8Array, forMs: number): Promise<void> {
    const digest = await this.#digest(content);
    this.#until.delete(digest);
    this.#until.set(digest, this.#clock.now() + forMs);
    if (this.#until.size <= this.#maxEntries) return;
    const [oldest] = this.#until.keys();
    if (oldest !== undefined) this.#until.delete(oldest);
  }

  async has(content: Uint8Array): Promise<boolean> {
    const until = this.#until.get(await this.#digest(content));
    return until !== undefined && this.#clock.now() < until;
  }

  async #digest(content: Uint8Array): Promise<string> {
    return hex(new Uint8Array(await this.#provider.crypto.subtle.digest("SHA-256", buffer(content))));
  }
}
