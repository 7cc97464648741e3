/** Names that flows dial, resolved: within a bounded time, once for all who ask at one time, and kept for a while. */
import { MeshError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Clock, Network } from "../../host/host.ts";

interface Known {
  readonly untilMs: number;
  readonly found: readonly IpAddress[] | MeshError;
}

export class Names {
  readonly #clock: Pick<Clock, "now" | "setTimer">;
  readonly #net: Pick<Network, "resolve">;
  /** Oldest first. The resolver tells no TTL, so each is kept for one short time of our own. */
  readonly #known = new Map<string, Known>();
  readonly #asked = new Map<string, Promise<readonly IpAddress[]>>();
  /** Also those that no caller waits for any more: each holds a thread of the resolver. */
  #lookups = 0;

  constructor(clock: Pick<Clock, "now" | "setTimer">, net: Pick<Network, "resolve">) {
    this.#clock = clock;
    this.#net = net;
  }

  /**
   * @returns at least one address, in the resolver's order (RFC 6724).
   * @throws MeshError `name_not_found`, also for no answer in time; `limit_reached` when too many are asked for.
   */
  async resolve(hostname: string): Promise<readonly IpAddress[]> {
    const key = hostname.toLowerCase();
    const known = this.#known.get(key);
    if (known !== undefined && known.untilMs > this.#clock.now()) {
      if (known.found instanceof MeshError) throw known.found;
      return known.found;
    }
    const asked = this.#asked.get(key) ?? this.#ask(key);
    this.#asked.set(key, asked);
    return asked;
  }

  /** None of its addresses could be reached: whoever asks next gets them from the resolver. */
  forget(hostname: string): void {
    this.#known.delete(hostname.toLowerCase());
  }

  async #ask(key: string): Promise<readonly IpAddress[]> {
    try {
      const found = await this.#lookUp(key);
      this.#keep(key, found, proxyLimits.nameKeptMs);
      return found;
    } catch (thrown) {
      if (thrown instanceof MeshError && thrown.code === "name_not_found")
        this.#keep(key, thrown, proxyLimits.nameFailureKeptMs);
      throw thrown;
    } finally {
      this.#asked.delete(key);
    }
  }

  #lookUp(key: string): Promise<readonly IpAddress[]> {
    if (this.#lookups >= proxyLimits.maxLookups)
      return Promise.reject(
        new MeshError("limit_reached", "local", `${proxyLimits.maxLookups} names are being resolved already`),
      );
    this.#lookups++;
    const { promise, resolve, reject } = Promise.withResolvers<readonly IpAddress[]>();
    const timer = this.#clock.setTimer(proxyLimits.nameTimeoutMs, () =>
      reject(
        new MeshError(
          "name_not_found",
          "upstream",
          `${key} was not resolved in ${proxyLimits.nameTimeoutMs / 1000} s`,
        ),
      ),
    );
    this.#net
      .resolve(key)
      .then((found) => {
        if (found.length === 0) throw new MeshError("name_not_found", "upstream", `${key} has no address`);
        resolve(found);
      })
      .catch(reject)
      .finally(() => {
        this.#lookups--;
        timer.cancel();
      });
    return promise;
  }

  #keep(key: string, found: Known["found"], forMs: number): void {
    this.#known.delete(key);
    this.#known.set(key, { untilMs: this.#clock.now() + forMs, found });
    const [oldest] = this.#known.keys();
    if (this.#known.size > proxyLimits.maxNames && oldest !== undefined) this.#known.delete(oldest);
  }
}
