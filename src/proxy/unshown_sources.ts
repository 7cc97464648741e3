/** Applications that answer this host and not the caller's address: for a while they are dialled from ours at once. */
import { formatSocketAddress, type SocketAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { Logger } from "../base/log.ts";
import type { Clock } from "../host/host.ts";

export class UnshownSources {
  readonly #clock: Pick<Clock, "now">;
  readonly #logger: Logger;
  /** `ip:port` → when it is tried again, oldest first. */
  readonly #untilMs = new Map<string, number>();

  constructor(clock: Pick<Clock, "now">, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
  }

  has(target: SocketAddress): boolean {
    const untilMs = this.#untilMs.get(formatSocketAddress(target));
    return untilMs !== undefined && untilMs > this.#clock.now();
  }

  add(target: SocketAddress): void {
    const key = formatSocketAddress(target);
    if (this.has(target)) return;
    this.#untilMs.delete(key);
    this.#untilMs.set(key, this.#clock.now() + proxyLimits.unshownMs);
    const [oldest] = this.#untilMs.keys();
    if (this.#untilMs.size > proxyLimits.maxUnshown && oldest !== undefined) this.#untilMs.delete(oldest);
    this.#logger.log(
      "warn",
      "node",
      `${key} cannot answer to its callers' own addresses; it now sees this host's address`,
      {
        cause: "the port is forwarded (DNAT), as Docker does with published ports",
        remedy: "original-source: off says so from the start",
      },
    );
  }
}
