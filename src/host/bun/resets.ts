/**
 * Resets in slices. One costs 15 to 30 us, nearly all of it the kernel's: it sends RST and, over loopback, receives it as well.
 * A change of policy ends thousands at once, and those who may stay must not wait for the last of the others.
 */
import { hostLimits } from "../../base/limits/host.ts";
import type { Clock } from "../host.ts";
import type { LinuxSockets } from "./linux_socket.ts";
import { type NativeSocket, nativeDescriptor } from "./native.ts";

export class ResetQueue {
  readonly #clock: Pick<Clock, "defer">;
  readonly #linux: Pick<LinuxSockets, "resetOnClose"> | null;
  #waiting: NativeSocket[] = [];
  /** Resets done in this turn of the event loop. */
  #done = 0;

  constructor(clock: Pick<Clock, "defer">, linux: Pick<LinuxSockets, "resetOnClose"> | null) {
    this.#clock = clock;
    this.#linux = linux;
  }

  /**
   * At once while there are few in this turn; of a crowd each in its turn. One that waits is a reset already, whoever closes it: at the
   * end of the process its peer sees no orderly end of half an answer. Nothing that it still receives must be looked at.
   */
  reset(native: NativeSocket): void {
    if (this.#done === 0 && this.#waiting.length === 0) this.#clock.defer(this.#nextTurn);
    if (this.#done < hostLimits.resetsPerTurn || !this.#resetsOnClose(native)) {
      this.#done++;
      native.terminate();
    } else this.#waiting.push(native);
  }

  #resetsOnClose(native: NativeSocket): boolean {
    const fd = nativeDescriptor(native);
    return fd >= 0 && this.#linux?.resetOnClose(fd) === true;
  }

  readonly #nextTurn = (): void => {
    const slice = this.#waiting.splice(0, hostLimits.resetsPerTurn);
    this.#done = slice.length;
    if (slice.length > 0) this.#clock.defer(this.#nextTurn);
    for (const native of slice) native.terminate();
  };
}
