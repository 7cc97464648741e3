/** The way to the CA, on a machine of its own: what a slow or absent signer looks like, while xDS goes on beside it. */
import { MeshError } from "../../src/base/errors.ts";
import type { Socket, SocketHandler } from "../../src/host/host.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import type { MemoryMachine, MemoryWorld } from "../../src/host/memory/world.ts";
import { address } from "./address.ts";

export class Relay {
  /** Held for so long before anything is passed on. */
  holdMs = 0;
  readonly #world: MemoryWorld;
  readonly #machine: MemoryMachine;
  readonly #ip: string;
  readonly #target: string;
  readonly #port: number;
  #host: MemoryHost | null = null;

  constructor(world: MemoryWorld, ip: string, target: string, port: number) {
    this.#world = world;
    this.#machine = world.machine("ca", { addresses: [ip] });
    this.#ip = ip;
    this.#target = target;
    this.#port = port;
  }

  start(): void {
    if (this.#host !== null) return;
    const host = this.#machine.start();
    this.#host = host;
    host.net.listen({ address: address(this.#ip, this.#port) }, (socket) => {
      this.#carry(host, socket).catch((error) => this.#world.schedule.fail(error));
    });
  }

  stop(): void {
    this.#host?.kill();
    this.#host = null;
  }

  async #carry(host: MemoryHost, near: Socket): Promise<void> {
    try {
      const far = await host.net.connect({ to: address(this.#target, this.#port), timeoutMs: 10_000 });
      near.setHandler(new Side(this, host, far));
      far.setHandler(new Side(this, host, near));
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      near.reset();
    }
  }
}

/** Gives to `to` what comes, late where the relay holds it, and in order. */
class Side implements SocketHandler {
  readonly #relay: Relay;
  readonly #host: MemoryHost;
  readonly #to: Socket;
  #dueMs = 0;

  constructor(relay: Relay, host: MemoryHost, to: Socket) {
    this.#relay = relay;
    this.#host = host;
    this.#to = to;
  }

  onData(bytes: Uint8Array): void {
    const copy = bytes.slice();
    // A socket that does not take a certificate's few kilobytes is one that is given up.
    this.#later(() => {
      if (this.#to.write(copy) < copy.length) this.#to.reset();
    });
  }

  onDrain(): void {}

  onEnd(): void {
    this.#later(() => this.#to.end());
  }

  onClose(): void {
    this.#later(() => this.#to.close());
  }

  #later(act: () => void): void {
    const { clock } = this.#host;
    this.#dueMs = Math.max(this.#dueMs, clock.now() + this.#relay.holdMs);
    if (this.#dueMs <= clock.now()) act();
    else clock.setTimer(this.#dueMs - clock.now(), act);
  }
}
