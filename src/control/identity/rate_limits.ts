/**
 * How often the control plane does work for one address, one caller, one namespace, and all of them together. An address is charged for
 * credentials that did not hold, and for nothing else: whoever is known is not charged for strangers behind the same address.
 */
import type { SocketAddress } from "../../base/ip.ts";
import { identityLimits } from "../../base/limits/control.ts";
import { networkSource } from "../../base/network_source.ts";
import { KeyedBuckets, type Rate, TokenBucket } from "../../base/token_bucket.ts";
import type { Clock } from "../../host/host.ts";

export interface RateSettings {
  readonly addressRate: Rate;
  readonly callerRate: Rate;
  readonly namespaceRate: Rate;
  readonly signingRate: Rate;
  readonly renewalRate: Rate;
  readonly maxRateKeys: number;
}

export class RateLimits {
  readonly #clock: Clock;
  readonly #addresses: KeyedBuckets;
  readonly #known: KeyedBuckets;
  readonly #callers: KeyedBuckets;
  readonly #namespaces: KeyedBuckets;
  readonly #signing: TokenBucket;
  readonly #renewals: TokenBucket;

  constructor(clock: Clock, settings: RateSettings = identityLimits) {
    this.#clock = clock;
    this.#addresses = new KeyedBuckets(settings.addressRate, settings.maxRateKeys);
    this.#known = new KeyedBuckets(settings.addressRate, settings.maxRateKeys);
    this.#callers = new KeyedBuckets(settings.callerRate, settings.maxRateKeys);
    this.#namespaces = new KeyedBuckets(settings.namespaceRate, settings.maxRateKeys);
    this.#signing = new TokenBucket(settings.signingRate);
    this.#renewals = new TokenBucket(settings.renewalRate);
  }

  /** Whether so many strangers have come from there that only what is cheap to look at is looked at. */
  isFlooded(remote: SocketAddress): boolean {
    return this.#addresses.isEmpty(networkSource(remote.ip), this.#clock.now());
  }

  /** For credentials that did not hold. @returns false when the address has used up its rate. */
  chargeAddress(remote: SocketAddress): boolean {
    return this.#addresses.take(networkSource(remote.ip), this.#clock.now());
  }

  /** For credentials that held, from wherever they came: a caller's own rate, which is no stranger's to use up. */
  admitKnown(caller: string, remote: SocketAddress): boolean {
    return this.#known.take(`${caller} ${networkSource(remote.ip)}`, this.#clock.now());
  }

  /** Before what a caller asks for is looked at. */
  admitCaller(caller: string): boolean {
    return this.#callers.take(caller, this.#clock.now());
  }

  /**
   * A namespace's own rate comes first, so that one that asks too much takes nothing from the others.
   *
   * @param namespace of whom a certificate is asked for, once it is known that the caller may; null for the mesh's own hosts.
   * @returns null, or whose rate is used up.
   */
  admitSigning(namespace: string | null): "namespace" | "all" | null {
    const nowMs = this.#clock.now();
    if (namespace !== null && !this.#namespaces.take(namespace, nowMs)) return "namespace";
    return this.#signing.take(nowMs) ? null : "all";
  }

  /** Renewals of hosts have a rate of their own, beside what they may take of everybody's. */
  admitRenewal(): "all" | null {
    const nowMs = this.#clock.now();
    return this.#renewals.take(nowMs) || this.#signing.take(nowMs) ? null : "all";
  }
}
