/**
 * Every TCP listener of this process, and the ports that are kept for it. None of them is ever a target: whoever reached an entry
 * through the tunnel would speak as the workload that the entry belongs to, and whoever reached administration would be local.
 */
import type { SocketAddress } from "../base/ip.ts";
import type { Listener, ListenOptions, Network, Socket } from "../host/host.ts";

export class OwnListeners {
  readonly #net: Pick<Network, "listen" | "localAddresses">;
  readonly #reusePort: boolean;
  /** By port; an address as often as it was added. */
  readonly #byPort = new Map<number, SocketAddress[]>();

  /**
   * @param reserved refused whether or not something listens there, as ztunnel does with its own ports (`proxy/inbound.rs`).
   * @param reusePort other processes of this node listen there, too, and the kernel spreads connections over them.
   */
  constructor(
    net: Pick<Network, "listen" | "localAddresses">,
    reserved: readonly SocketAddress[],
    reusePort = false,
  ) {
    this.#net = net;
    this.#reusePort = reusePort;
    for (const address of reserved) this.add(address);
  }

  /** The one way to a listener of the flows: from its first connection to its last nothing is sent to it. @throws MeshError as `Network.listen`. */
  listen(options: ListenOptions, onAccept: (socket: Socket) => void): Listener {
    const reusePort = this.#reusePort;
    const listener = this.#net.listen(reusePort ? { ...options, reusePort } : options, onAccept);
    const remove = this.add(listener.address);
    return {
      address: listener.address,
      close: () => {
        listener.close();
        remove();
      },
    };
  }

  /** For a listener that was opened elsewhere. @returns a function that takes it off the list; idempotent. */
  add(address: SocketAddress): () => void {
    const { ip, port } = address;
    // One of its own for each: the same address may be added twice.
    const own = { ip, port };
    this.#byPort.set(port, [...(this.#byPort.get(port) ?? []), own]);
    return () => {
      const left = (this.#byPort.get(port) ?? []).filter((other) => other !== own);
      if (left.length === 0) this.#byPort.delete(port);
      else this.#byPort.set(port, left);
    };
  }

  /** Whether what is sent to `target`, an address of this host, arrives at one of them. */
  holds(target: SocketAddress): boolean {
    const held = this.#byPort.get(target.port);
    if (held === undefined) return false;
    // Linux takes a call to the unspecified address as one to loopback.
    const isAnyLoopback = isUnspecified(target);
    return held.some(
      (own) => isUnspecified(own) || own.ip.equals(target.ip) || (isAnyLoopback && own.ip.isLoopback),
    );
  }

  /** The same for an address that may be anybody's. */
  isReachedAt(target: SocketAddress): boolean {
    return this.#byPort.has(target.port) && this.#isHere(target) && this.holds(target);
  }

  #isHere(target: SocketAddress): boolean {
    if (target.ip.isLoopback || isUnspecified(target)) return true;
    return this.#net.localAddresses().some((ip) => ip.equals(target.ip));
  }
}

function isUnspecified({ ip }: SocketAddress): boolean {
  return ip.bytes.every((byte) => byte === 0);
}
