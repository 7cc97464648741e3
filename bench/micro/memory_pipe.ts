/** Connections in memory, for benchmarks of what drives protocols over sockets. */

import type { Clock, Socket, SocketHandler } from "../../src/host/host.ts";
import { SystemClock } from "../../src/host/system/clock.ts";
import { ip } from "../../src/mesh/testing/fixture.ts";

const runtime = new SystemClock();

/** One loop for both ends of all sockets; deferred work runs when nothing else is left, as at the end of a turn. */
export class Loop {
  readonly #now: (() => void)[] = [];
  #deferred: (() => void)[] = [];
  #isRunning = false;
  readonly clock: Clock = {
    now: () => performance.now(),
    wallMs: () => Date.now(),
    setTimer: (ms, callback) => runtime.setTimer(ms, callback),
    // What is set up before it runs has the runtime's own.
    defer: (callback) => (this.#isRunning ? void this.#deferred.push(callback) : void setImmediate(callback)),
  };

  soon(work: () => void): void {
    this.#now.push(work);
  }

  /** Until nothing is left to do. */
  async run(): Promise<void> {
    this.#isRunning = true;
    for (;;) {
      const work = this.#now.shift();
      if (work !== undefined) work();
      else if (this.#deferred.length > 0) {
        const deferred = this.#deferred;
        this.#deferred = [];
        for (const each of deferred) each();
      } else {
        // What waits for a promise comes back here, too.
        await turn();
        if (this.#now.length > 0 || this.#deferred.length > 0) continue;
        this.#isRunning = false;
        return;
      }
      // As a runtime does after each callback.
      await null;
    }
  }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
export const somewhere = { ip: ip("10.0.0.9"), port: 4000 };

/** Both ends of a connection. What is written is copied, as a kernel would, and arrives at the end of the turn in one piece. */
class PipeEnd implements Socket {
  readonly local = somewhere;
  readonly remote = somewhere;
  readonly #loop: Loop;
  other: PipeEnd | null = null;
  #handler: SocketHandler | null = null;
  #written: Uint8Array[] = [];

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  setHandler(handler: SocketHandler): void {
    this.#handler = handler;
  }

  write(bytes: Uint8Array): number {
    if (this.#written.length === 0) this.#loop.soon(() => this.#arrive());
    this.#written.push(bytes.slice());
    return bytes.length;
  }

  end(): void {}
  pause(): void {}
  resume(): void {}
  close(): void {}
  reset(): void {}
  resetAfterSent(): void {}

  #arrive(): void {
    const written = this.#written;
    this.#written = [];
    const [only] = written;
    const bytes = written.length === 1 && only !== undefined ? only : Buffer.concat(written);
    this.other?.deliver(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length));
  }

  deliver(bytes: Uint8Array): void {
    this.#handler?.onData(bytes);
  }
}

export function pipe(loop: Loop): readonly [PipeEnd, PipeEnd] {
  const [a, b] = [new PipeEnd(loop), new PipeEnd(loop)];
  a.other = b;
  b.other = a;
  return [a, b];
}
