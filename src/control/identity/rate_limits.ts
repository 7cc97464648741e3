/** How often the control plane does work for one address, one caller, and all of them together. */
import type { SocketAddress } from "../../base/ip.ts";
import { identityLimits } from "../../base/limits/control.ts";
import { networkSource } from "../../base/network_source.ts";
import type { Clock } from "../../host/host.ts";
import { KeyedBuckets, type Rate, TokenBucket } from "./token_bucket.ts";

export interface RateSettings {
  readonly addressRate: Rate;
  readonly callerRate: Rate;
  readonly signingRate: Rate;
  readonly maxRateKeys: number;
}

export class RateLimits {
  readonly #addresses: KeyedBuckets;
  readonly #callers: KeyedBuckets;
  readonly #signing: TokenBucket;

  constructor(clock: Clock, settings: RateSettings = identityLimits) {
    this.#addresses = new KeyedBuckets(clock, settings.addressRate, settings.maxRateKeys);
    this.#callers = new KeyedBuckets(clock, settings.callerRate, settings.maxRateKeys);
    this.#signing = new TokenBucket(clock, settings.signingRate);
  }

  /** Before anything about a call is believed or computed. @returns whether its credentials may be looked at. */
  admitAddress(remote: SocketAddress): boolean {
    return this.#addresses.take(networkSource(remote.ip));
  }

  /** A caller's own rate comes first, so that one that asks too much takes nothing from the others. @returns null, or whose rate is used up. */
  admitSigning(caller: string): "caller" | "all" | null {
    if (!this.#callers.take(caller)) return "caller";
    return this.#signing.take() ? null : "all";
  }
}
