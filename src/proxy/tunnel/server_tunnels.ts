/** The HBONE tunnels into the workloads of this host: made of accepted connections, each with its workload's SVID, and kept. */
import { faultOf, MeshError } from "../../base/errors.ts";
import type { SocketAddress } from "../../base/ip.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Socket } from "../../host/host.ts";
import type { Svid } from "../../pki/svid/svid.ts";
import type { VerifiedPeer } from "../../pki/trust/verifier.ts";
import type { InboundFlow } from "../inbound.ts";
import type { NodeContext } from "../node_context.ts";
import { ServerTunnel } from "./server_tunnel.ts";

export class ServerTunnels {
  readonly #context: NodeContext;
  readonly #flow: InboundFlow;
  readonly #tunnels = new Set<ServerTunnel>();
  readonly #perSource = new Map<string, number>();
  #handshakes = 0;
  #draining = false;

  constructor(context: NodeContext, flow: InboundFlow) {
    this.#context = context;
    this.#flow = flow;
    context.secrets.subscribe((svid) => this.#retire(svid));
  }

  get tunnels(): ReadonlySet<ServerTunnel> {
    return this.#tunnels;
  }

  /** One accepted TCP connection. Never rejects; a connection that does not become a tunnel is recorded with its reason. */
  async accept(socket: Socket): Promise<void> {
    const { remote, local } = socket;
    const refusal = this.#refusal(remote);
    if (refusal !== null) {
      socket.reset();
      this.#context.telemetry.refused("inbound", remote, local, refusal);
      return;
    }
    this.#handshakes++;
    this.#count(remote, 1);
    try {
      const tunnel = await this.#handshake(socket, local);
      this.#tunnels.add(tunnel);
      tunnel.start();
      // Trust may have changed between the verdict and this registration; from here on a change finds the tunnel.
      if (this.#context.trust.recheck(tunnel.peer, "ignore") !== null) tunnel.abort();
      else if (this.#draining || this.#isRenewed(tunnel)) tunnel.drain();
    } catch (thrown) {
      this.#count(remote, -1);
      this.#context.telemetry.refused("inbound", remote, local, faultOf(thrown));
    } finally {
      this.#handshakes--;
    }
  }

  /** Cuts every tunnel whose peer is not trusted any more. Its connections were told before. */
  recheckTrust(judge: (peer: VerifiedPeer) => MeshError | null): void {
    for (const tunnel of [...this.#tunnels]) if (judge(tunnel.peer) !== null) tunnel.abort();
  }

  drain(): void {
    this.#draining = true;
    for (const tunnel of [...this.#tunnels]) tunnel.drain();
  }

  abort(): void {
    for (const tunnel of [...this.#tunnels]) tunnel.abort();
  }

  /**
   * New connections see the new SVID, so tunnels with the old one take no more of them: when the old one's root leaves the mesh,
   * only streams that have been open since before its renewal depend on it.
   */
  #retire(svid: Svid): void {
    for (const tunnel of [...this.#tunnels])
      if (tunnel.workload.identity.equals(svid.id) && tunnel.svid !== svid) tunnel.drain();
  }

  /** The SVID may have been renewed between the handshake and this registration. */
  #isRenewed({ workload, svid }: ServerTunnel): boolean {
    const current = this.#context.secrets.current(workload.identity);
    return current !== null && current !== svid;
  }

  async #handshake(socket: Socket, destination: SocketAddress): Promise<ServerTunnel> {
    const { locals } = this.#context;
    let workload: Awaited<ReturnType<typeof locals.wait>>;
    try {
      workload = await locals.wait(
        () => locals.byAddress(destination.ip),
        `has the address ${destination.ip.text}`,
      );
    } catch (error) {
      socket.reset();
      throw error;
    }
    return ServerTunnel.accept(this.#context, workload, socket, destination, {
      onRequest: (tunnel, stream, headers, endStream) =>
        void this.#flow.carry(tunnel, stream, headers, endStream),
      onGone: (tunnel) => {
        this.#tunnels.delete(tunnel);
        this.#count(tunnel.source, -1);
      },
    });
  }

  #refusal(source: SocketAddress): MeshError | null {
    if (this.#draining) return new MeshError("draining", "local", "this node is shutting down");
    if (this.#handshakes >= proxyLimits.maxHandshakes) {
      return new MeshError("limit_reached", "local", `${this.#handshakes} handshakes are under way already`);
    }
    const held = this.#perSource.get(source.ip.text) ?? 0;
    if (held < proxyLimits.maxTunnelsPerSource) return null;
    return new MeshError("limit_reached", "peer", `${source.ip.text} holds ${held} tunnels already`);
  }

  #count(source: SocketAddress, by: number): void {
    const held = (this.#perSource.get(source.ip.text) ?? 0) + by;
    if (held === 0) this.#perSource.delete(source.ip.text);
    else this.#perSource.set(source.ip.text, held);
  }
}
