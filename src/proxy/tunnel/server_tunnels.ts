/** The HBONE tunnels into the workloads of this host: made of accepted connections, each with its workload's SVID, and kept. */
import { faultOf, MeshError } from "../../base/errors.ts";
import type { IpAddress, SocketAddress } from "../../base/ip.ts";
import type { Socket } from "../../host/host.ts";
import type { Svid } from "../../pki/svid/svid.ts";
import type { VerifiedPeer } from "../../pki/trust/verifier.ts";
import { Door, type Visit } from "../../transport/door.ts";
import { spread } from "../../transport/spread.ts";
import type { InboundFlow } from "../inbound.ts";
import type { NodeContext } from "../node_context.ts";
import { sharedLimits } from "../shared_limits.ts";
import { ServerTunnel } from "./server_tunnel.ts";

export class ServerTunnels {
  readonly #context: NodeContext;
  readonly #flow: InboundFlow;
  readonly #tunnels = new Set<ServerTunnel>();
  readonly #perSource = new Map<string, number>();
  readonly #door: Door;
  readonly #maxPerSource: number;
  #draining = false;
  #endSpread: () => void = () => {};

  constructor(context: NodeContext, flow: InboundFlow) {
    this.#context = context;
    this.#flow = flow;
    const { clock, net, logger, telemetry, settings } = context;
    const limits = sharedLimits(settings.workers);
    this.#maxPerSource = limits.maxTunnelsPerSource;
    this.#door = new Door({
      clock,
      net,
      logger,
      metrics: telemetry.metrics,
      name: "hbone",
      limits: limits.door,
    });
    context.secrets.subscribe((svid) => this.#retire(svid));
  }

  get tunnels(): ReadonlySet<ServerTunnel> {
    return this.#tunnels;
  }

  /** Addresses that something is kept for. */
  get sources(): number {
    return this.#perSource.size;
  }

  /** One accepted TCP connection. Never rejects; a connection that does not become a tunnel is recorded with its reason. */
  async accept(socket: Socket): Promise<void> {
    const { remote, local } = socket;
    let visit: Visit | null = null;
    try {
      this.#demandRoom(remote);
      visit = await this.#door.enter(socket);
      // Until TLS has the socket; then the signal ends the handshake.
      visit.signal.addEventListener("abort", () => socket.reset());
      const tunnel = await this.#handshake(socket, local, visit);
      this.#tunnels.add(tunnel);
      this.#count(remote, 1);
      tunnel.start();
      // Trust may have changed between the verdict and this registration; from here on a change finds the tunnel.
      if (this.#context.trust.recheck(tunnel.peer, "ignore") !== null) tunnel.abort();
      else if (this.#draining || this.#isRenewed(tunnel)) tunnel.drain();
    } catch (thrown) {
      if (visit === null) socket.reset();
      const error = visit?.signal.aborted === true ? visit.signal.reason : thrown;
      this.#context.telemetry.refused("inbound", remote, local, faultOf(error));
    } finally {
      visit?.leave();
    }
  }

  /** Cuts every tunnel whose peer is not trusted any more. Its connections were told before. */
  recheckTrust(judge: (peer: VerifiedPeer) => MeshError | null): void {
    for (const tunnel of [...this.#tunnels]) if (judge(tunnel.peer) !== null) tunnel.abort();
  }

  /** @param spreadMs GOAWAY goes out little by little over so long; until a peer has its own, it may go on as before. */
  drain(spreadMs: number): void {
    this.#draining = true;
    this.#endSpread();
    this.#endSpread = spread(this.#context.clock, [...this.#tunnels], spreadMs, (tunnel) => tunnel.drain());
  }

  /**
   * Of tunnels that would be better off with another process that listens here, the least used one is given up in order: its peer opens the
   * next one, and what is open in this one goes on.
   *
   * @param hasRoomElsewhere of a source, an address of this host, and how many there are that take new streams.
   */
  evenOut(
    hasRoomElsewhere: (
      source: IpAddress,
      at: SocketAddress,
      held: { readonly ofSource: number; readonly all: number },
    ) => boolean,
  ): void {
    const active = [...this.#tunnels].filter((tunnel) => !tunnel.isDraining);
    const bySource = Map.groupBy(active, ({ source }) => source.ip.text);
    let least: ServerTunnel | null = null;
    for (const its of bySource.values())
      for (const tunnel of its) {
        if (least !== null && least.openStreams <= tunnel.openStreams) continue;
        const held = { ofSource: its.length, all: active.length };
        if (hasRoomElsewhere(tunnel.source.ip, tunnel.destination, held)) least = tunnel;
      }
    least?.drain();
  }

  abort(): void {
    this.#endSpread();
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

  async #handshake(socket: Socket, destination: SocketAddress, visit: Visit): Promise<ServerTunnel> {
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
    const arrival = { workload, socket, destination, door: this.#door, visit };
    return ServerTunnel.accept(this.#context, arrival, {
      onRequest: (tunnel, stream, headers, endStream) =>
        void this.#flow.carry(tunnel, stream, headers, endStream),
      onGone: (tunnel) => {
        this.#tunnels.delete(tunnel);
        this.#count(tunnel.source, -1);
      },
    });
  }

  /** @throws MeshError when no tunnel may come from there now. */
  #demandRoom(source: SocketAddress): void {
    if (this.#draining) throw new MeshError("draining", "local", "this node is shutting down");
    const held = this.#perSource.get(source.ip.text) ?? 0;
    if (held >= this.#maxPerSource)
      throw new MeshError("limit_reached", "peer", `${source.ip.text} holds ${held} tunnels already`);
  }

  #count(source: SocketAddress, by: number): void {
    const held = (this.#perSource.get(source.ip.text) ?? 0) + by;
    if (held === 0) this.#perSource.delete(source.ip.text);
    else this.#perSource.set(source.ip.text, held);
  }
}
