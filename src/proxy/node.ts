/** A node tunnel: its listeners, flows and tunnels, what happens to them when policy or trust change, and how they come to an end. */
import { MeshError } from "../base/errors.ts";
import { sweep } from "../base/turns/time_slice.ts";
import type { VerifiedPeer } from "../pki/trust/verifier.ts";
import { ChangeReach } from "./change_reach.ts";
import { EndpointDial } from "./endpoint_dial.ts";
import { InboundFlow } from "./inbound.ts";
import { type ListenerSettings, Listeners } from "./listeners.ts";
import type { NodeContext } from "./node_context.ts";
import { OutboundFlow } from "./outbound.ts";
import { PassthroughFlow } from "./passthrough.ts";
import type { ClientTunnel } from "./tunnel/client_tunnel.ts";
import { TunnelPool } from "./tunnel/pool.ts";
import type { ServerTunnel } from "./tunnel/server_tunnel.ts";
import { ServerTunnels } from "./tunnel/server_tunnels.ts";
import type { WaypointService } from "./waypoint_flow.ts";

export class NodeTunnel {
  readonly #context: NodeContext;
  readonly #pool: TunnelPool;
  readonly #waypoint: WaypointService | null;
  readonly #hbone: ServerTunnels;
  readonly #listeners: Listeners;
  readonly #subscriptions: (() => void)[];

  /**
   * Listens when it returns.
   *
   * @param makeWaypoint who serves what goes through a waypoint of this host; null where there is none.
   * @throws MeshError when a port cannot be had.
   */
  constructor(
    context: NodeContext,
    settings: ListenerSettings,
    makeWaypoint: ((dial: EndpointDial) => WaypointService) | null = null,
  ) {
    this.#context = context;
    this.#pool = new TunnelPool(context);
    this.#waypoint = makeWaypoint?.(new EndpointDial(context, this.#pool)) ?? null;
    this.#hbone = new ServerTunnels(context, new InboundFlow(context, this.#waypoint));
    this.#listeners = new Listeners(context, settings, {
      outbound: new OutboundFlow(context, this.#pool, this.#waypoint),
      passthrough: new PassthroughFlow(context, this.#waypoint),
      hbone: this.#hbone,
    });
    const reach = new ChangeReach(context.store);
    this.#subscriptions = [
      context.store.subscribe((change) => {
        context.connections.recheckPolicy(reach.of(change));
        if (change.policies !== undefined || change.workloads !== undefined) this.#prepare();
      }),
      context.engine.prepared.subscribe(() => context.connections.recheckPostponed()),
      context.trust.changes.subscribe(() => this.#recheckTrust()),
    ];
    this.#prepare();
  }

  /** So that the first connection to a workload of this host finds its policies compiled. */
  #prepare(): void {
    const { clock, engine, locals } = this.#context;
    sweep(clock, [...locals.all], (workload) => void engine.isPreparing(workload));
  }

  get listeners(): Listeners {
    return this.#listeners;
  }

  /** Every tunnel, for checks of what must hold for each at any time. */
  get tunnels(): readonly (ServerTunnel | ClientTunnel)[] {
    return [...this.#hbone.tunnels, ...this.#pool.tunnels];
  }

  get tunnelCount(): { readonly inbound: number; readonly outbound: number } {
    return { inbound: this.#hbone.tunnels.size, outbound: this.#pool.tunnels.length };
  }

  /**
   * Takes no new connections, tells every peer so (GOAWAY in two steps), and waits until those that are open have ended and their
   * tunnels have said their last: a tunnel that is cut takes with it what its peer has not read. At the deadline the rest is cut.
   *
   * @param spreadMs peers are told little by little over so long.
   */
  async drain(deadlineMs: number, spreadMs = 0): Promise<void> {
    const { clock, connections } = this.#context;
    this.#listeners.close();
    this.#waypoint?.drain(spreadMs);
    this.#hbone.drain(spreadMs);
    // Requests that a waypoint still answers are sent on over tunnels of the pool, new ones too.
    if (this.#waypoint === null) this.#pool.close();
    await new Promise<void>((resolve) => {
      const deadline = clock.setTimer(deadlineMs, () => finish());
      const poll = () => {
        // While a peer may still send requests they have to get on from here.
        if (connections.size === 0 && this.#hbone.tunnels.size === 0) this.#pool.close();
        if (connections.size === 0 && this.#tunnels === 0) finish();
        else timer = clock.setTimer(drainPollMs, poll);
      };
      let timer = clock.setTimer(0, poll);
      const finish = () => {
        deadline.cancel();
        timer.cancel();
        resolve();
      };
    });
    this.stop();
  }

  /** See `ServerTunnels.evenOut`. */
  evenOut(hasRoomElsewhere: Parameters<ServerTunnels["evenOut"]>[0]): void {
    this.#hbone.evenOut(hasRoomElsewhere);
  }

  /** Targets that the pool of outbound tunnels keeps something for. */
  get poolEntries(): number {
    return this.#pool.size;
  }

  get #tunnels(): number {
    return this.#hbone.tunnels.size + this.#pool.tunnels.length;
  }

  /** Cuts everything now. */
  stop(): void {
    this.#listeners.close();
    for (const unsubscribe of this.#subscriptions) unsubscribe();
    this.#context.connections.abortAll(new MeshError("draining", "local", "cut at the end of the drain"));
    this.#hbone.abort();
    this.#pool.close();
    this.#pool.abort();
  }

  /** First the connections, each with its reason on record, then the tunnels that carried them. */
  #recheckTrust(): void {
    const judge = (peer: VerifiedPeer) => this.#context.trust.recheck(peer, "ignore");
    this.#context.connections.recheckTrust(judge, () => {
      this.#hbone.recheckTrust(judge);
      this.#pool.recheckTrust(judge);
    });
  }
}

const drainPollMs = 20;
