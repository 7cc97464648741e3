/**
 * HBONE tunnels that we dialled, shared by the connections of one source to one destination (ztunnel `pool.rs`). The key holds
 * everything that decides who sees whom: source identity, accepted identities, address, and the source address.
 */
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress } from "../../base/ip.ts";
import type { Timer } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { VerifiedPeer } from "../../pki/trust/verifier.ts";
import type { NodeContext } from "../node_context.ts";
import { ClientTunnel, type TunnelTarget } from "./client_tunnel.ts";

interface Entry {
  readonly tunnels: Set<ClientTunnel>;
  opening: Promise<ClientTunnel> | null;
  /** How many wait for the tunnel that is being opened. */
  waiting: number;
  /** Tunnels on their way, `opening` among them. */
  underWay: number;
}

export class TunnelPool {
  readonly #context: NodeContext;
  readonly #entries = new Map<string, Entry>();
  #sweep: Timer | null = null;
  #closed = false;

  constructor(context: NodeContext) {
    this.#context = context;
    context.secrets.subscribe((svid) => this.#retire(svid.id));
  }

  /** A tunnel with room for a stream: at once when there is one, so that the common case waits for nothing. @throws MeshError as `ClientTunnel.open`. */
  acquire(target: TunnelTarget): ClientTunnel | Promise<ClientTunnel> {
    if (this.#closed) throw new MeshError("draining", "local", "this node is shutting down");
    const key = poolKey(target);
    for (const tunnel of this.#entries.get(key)?.tunnels ?? []) if (tunnel.hasRoom) return tunnel;
    return this.#wait(key, target);
  }

  /** Targets that something is kept for. */
  get size(): number {
    return this.#entries.size;
  }

  get tunnels(): readonly ClientTunnel[] {
    return [...this.#entries.values()].flatMap((entry) => [...entry.tunnels]);
  }

  /** Closes every tunnel whose peer is not trusted any more. */
  recheckTrust(judge: (peer: VerifiedPeer) => MeshError | null): void {
    for (const tunnel of this.tunnels) if (judge(tunnel.peer) !== null) tunnel.abort();
  }

  /** No new tunnels; those that are open end with their last stream. */
  close(): void {
    this.#closed = true;
    this.#sweep?.cancel();
    for (const tunnel of this.tunnels) tunnel.drain();
  }

  abort(): void {
    for (const tunnel of this.tunnels) tunnel.abort();
  }

  async #wait(key: string, target: TunnelTarget): Promise<ClientTunnel> {
    for (;;) {
      // The one of before may be gone with its last tunnel: a second one for the same key would lose the tunnels of the first.
      const entry = this.#entry(key);
      // One tunnel is opened at a time, and as many callers wait for it as it will have room for.
      if (entry.opening === null || entry.waiting >= this.#context.settings.maxStreamsPerConnection) {
        entry.opening = this.#open(key, entry, target);
        entry.waiting = 0;
      }
      entry.waiting++;
      const tunnel = await entry.opening;
      if (tunnel.hasRoom) return tunnel;
      // Its SVID was renewed while it was being opened: the next one shows the new one.
      if (tunnel.closed && !this.#isRenewed(tunnel))
        throw new MeshError("connection_closed", "upstream", "the tunnel closed as soon as it was open");
    }
  }

  #entry(key: string): Entry {
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const entry: Entry = { tunnels: new Set(), opening: null, waiting: 0, underWay: 0 };
    this.#entries.set(key, entry);
    return entry;
  }

  #open(key: string, entry: Entry, target: TunnelTarget): Promise<ClientTunnel> {
    const forgetUnused = (): void => {
      if (entry.tunnels.size === 0 && entry.underWay === 0) this.#entries.delete(key);
    };
    const isThere = (): void => {
      entry.underWay--;
      if (entry.opening === opening) entry.opening = null;
    };
    entry.underWay++;
    const opening = ClientTunnel.open(this.#context, target, (tunnel) => {
      entry.tunnels.delete(tunnel);
      forgetUnused();
    }).then(
      (tunnel) => {
        isThere();
        if (tunnel.closed) forgetUnused();
        else {
          entry.tunnels.add(tunnel);
          this.#armSweep();
          const distrust = this.#context.trust.recheck(tunnel.peer, "ignore");
          if (distrust !== null) {
            tunnel.abort();
            throw distrust;
          }
          if (this.#isRenewed(tunnel)) tunnel.close();
        }
        return tunnel;
      },
      (error) => {
        isThere();
        forgetUnused();
        throw error;
      },
    );
    return opening;
  }

  /** A new SVID is used by new tunnels; open connections keep the old one until they end. */
  #retire(id: SpiffeId): void {
    for (const tunnel of this.tunnels) {
      if (!tunnel.target.source.equals(id)) continue;
      tunnel.retire();
      if (tunnel.openStreams === 0) tunnel.close();
    }
  }

  /** There is a newer SVID than the one that it shows; `#retire` found only the tunnels that were open when that came. */
  #isRenewed({ svid, target }: ClientTunnel): boolean {
    const current = this.#context.secrets.current(target.source);
    return current !== null && current !== svid;
  }

  #armSweep(): void {
    if (this.#sweep !== null || this.#closed) return;
    this.#sweep = this.#context.clock.setTimer(this.#context.settings.poolUnusedMs / 4, () => {
      this.#sweep = null;
      const now = this.#context.clock.now();
      const tunnels = this.tunnels;
      for (const tunnel of tunnels) {
        if (tunnel.openStreams > 0) tunnel.idleSinceMs = now;
        else if (now - tunnel.idleSinceMs >= this.#context.settings.poolUnusedMs || !tunnel.hasRoom)
          tunnel.close();
      }
      if (tunnels.length > 0) this.#armSweep();
    });
  }
}

function poolKey(target: TunnelTarget): string {
  const expected =
    target.expected.length === 1
      ? target.expected[0].uri
      : target.expected
          .map((id) => id.uri)
          .sort()
          .join(" ");
  return `${target.source.uri}|${expected}|${formatSocketAddress(target.dial)}|${target.from?.text ?? ""}`;
}
