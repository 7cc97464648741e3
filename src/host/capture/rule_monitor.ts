/**
 * Tells when somebody removes rules from the kernel, by `nft monitor`: what iptables writes through nf_tables is told, too, what
 * iptables-legacy writes is not. Where there is no such program nothing is told, and the rules are looked at as often as they are anyway.
 */
import { hostLimits } from "../../base/limits/host.ts";
import type { Host, Timer } from "../host.ts";

/**
 * The shell ends the program when its own standard input ends, which is when this process ends, however it does: a program that waits for
 * the kernel would stay behind otherwise. (Standard input of what runs in the background is nothing, so it is kept as another descriptor.)
 * A shell that is told to end in the middle of these words would leave the program without whoever ends it, so it goes on to the end of its
 * input. It tells the program more than once: who is told between its fork and its exec may not hear it.
 */
const script =
  "exec 3<&0; trap : TERM; nft monitor destroy & m=$!; " +
  "{ read -r _ <&3; while kill $m 2>/dev/null; do sleep 1; done; } & wait $m; wait $m";

export class RuleMonitor {
  readonly #host: Pick<Host, "clock" | "process">;
  readonly #onRemoved: () => void;
  #running: { stop(): void } | null = null;
  #timer: Timer | null = null;
  #isStopped = false;

  /** @param onRemoved somebody removed something, ours or not, and often more than once. */
  constructor(host: Pick<Host, "clock" | "process">, onRemoved: () => void) {
    this.#host = host;
    this.#onRemoved = onRemoved;
    this.#start();
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#running?.stop();
    this.#running = null;
  }

  #start(): void {
    try {
      this.#running = this.#host.process.follow("sh", ["-c", script], {
        onOutput: this.#onRemoved,
        onEnd: () => this.#again(),
      });
    } catch {
      this.#again();
    }
  }

  /** It ends when the kernel told more than it could read, and at once where it is not installed. */
  #again(): void {
    this.#running = null;
    if (this.#isStopped) return;
    this.#timer = this.#host.clock.setTimer(hostLimits.captureMonitorAgainMs, () => this.#start());
  }
}
