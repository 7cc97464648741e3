/** When a channel may try again: at once after a connection that lived, later and later after those that did not. */
import { backoffMs } from "../../base/backoff.ts";
import { MeshError } from "../../base/errors.ts";
import type { Host } from "../../host/host.ts";
import type { RpcLimits } from "./rpc_limits.ts";

export class Backoff {
  readonly #host: Pick<Host, "clock" | "random">;
  readonly #limits: RpcLimits;
  #failures = 0;
  /** Monotonic; no attempt before it. */
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #connectedMs = Number.NEGATIVE_INFINITY;
  #abandonWait: (() => void) | null = null;

  constructor(host: Pick<Host, "clock" | "random">, limits: RpcLimits) {
    this.#host = host;
    this.#limits = limits;
  }

  /** Resolves when an attempt may be made. @throws MeshError `stopped`. */
  async wait(): Promise<void> {
    const { clock } = this.#host;
    const delayMs = this.#notBeforeMs - clock.now();
    if (delayMs <= 0) return;
    await new Promise<void>((resolve, reject) => {
      const timer = clock.setTimer(delayMs, () => {
        this.#abandonWait = null;
        resolve();
      });
      this.#abandonWait = () => {
        timer.cancel();
        reject(new MeshError("stopped", "local", "the channel is closed"));
      };
    });
  }

  connected(): void {
    this.#connectedMs = this.#host.clock.now();
  }

  failed(): void {
    this.#failures++;
    const delayMs = backoffMs(this.#failures, this.#limits, this.#host.random.float());
    this.#notBeforeMs = this.#host.clock.now() + delayMs;
  }

  /** A server that takes connections only to drop them is backed off from like one that takes none. */
  lost(): void {
    const livedMs = this.#host.clock.now() - this.#connectedMs;
    if (livedMs >= this.#limits.backoffResetMs) this.#failures = 0;
    this.failed();
  }

  close(): void {
    this.#abandonWait?.();
    this.#abandonWait = null;
  }
}
