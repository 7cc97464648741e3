/** A worker's own certificates: made by its node, handed over with their keys, and in memory alone. */
import { MeshError } from "../base/errors.ts";
import { pkiLimits } from "../base/limits/pki.ts";
import type { Clock } from "../host/host.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import { withTimeout } from "../pki/svid/deadline.ts";
import { isExpired } from "../pki/svid/renewal_time.ts";
import type { Svid } from "../pki/svid/svid.ts";

export class HandedSvids {
  readonly #clock: Clock;
  readonly #want: (id: SpiffeId) => void;
  readonly #held = new Map<string, Svid>();
  readonly #waiting = new Map<string, PromiseWithResolvers<Svid>>();
  readonly #listeners = new Set<(svid: Svid) => void>();

  /** @param want asks the node for it. */
  constructor(clock: Clock, want: (id: SpiffeId) => void) {
    this.#clock = clock;
    this.#want = want;
  }

  /** @throws MeshError `identity_unavailable` with the node's reason. */
  async svid(id: SpiffeId): Promise<Svid> {
    const current = this.current(id);
    if (current !== null) return current;
    let waiting = this.#waiting.get(id.uri);
    if (waiting === undefined) {
      waiting = Promise.withResolvers<Svid>();
      // Whoever waits hears of it there.
      waiting.promise.catch(() => {});
      this.#waiting.set(id.uri, waiting);
      this.#want(id);
    }
    return await withTimeout(this.#clock, waiting.promise, pkiLimits.svidWaitMs, () => {
      this.#waiting.delete(id.uri);
      return unavailable(id, "the node has not answered yet");
    });
  }

  current(id: SpiffeId): Svid | null {
    const svid = this.#held.get(id.uri);
    return svid === undefined || isExpired(svid, this.#clock.wallMs()) ? null : svid;
  }

  subscribe(listener: (svid: Svid) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  release(id: SpiffeId): void {
    this.#held.delete(id.uri);
  }

  /** The node has handed it over. */
  take(svid: Svid): void {
    if (this.#held.get(svid.id.uri)?.serialNumber === svid.serialNumber) {
      this.#settle(svid.id)?.resolve(svid);
      return;
    }
    this.#held.set(svid.id.uri, svid);
    this.#settle(svid.id)?.resolve(svid);
    for (const listener of [...this.#listeners]) listener(svid);
  }

  /** The node has none. */
  refuse(id: SpiffeId, reason: string): void {
    this.#settle(id)?.reject(unavailable(id, reason));
  }

  #settle(id: SpiffeId): PromiseWithResolvers<Svid> | null {
    const waiting = this.#waiting.get(id.uri) ?? null;
    this.#waiting.delete(id.uri);
    return waiting;
  }
}

function unavailable(id: SpiffeId, reason: string): MeshError {
  return new MeshError("identity_unavailable", "local", `no SVID for ${id}: ${reason}`);
}
