/** Plain TCP that was on its way to one of our workloads: no identity, so policy decides on addresses and ports alone. */
import { faultOf, MeshError } from "../base/errors.ts";
import { formatSocketAddress, type SocketAddress } from "../base/ip.ts";
import type { Socket } from "../host/host.ts";
import type { Workload } from "../mesh/workload.ts";
import { Copy } from "./carry/copy.ts";
import { EarlySocket } from "./carry/early_socket.ts";
import { KeptSocket } from "./carry/kept_socket.ts";
import { SocketEnd } from "./carry/socket_end.ts";
import type { Connection } from "./connections.ts";
import { inboundPlace } from "./inside.ts";
import { applicationAddress, type NodeContext } from "./node_context.ts";
import type { Parties } from "./parties.ts";
import { decideWhenReady } from "./policy_wait.ts";
import { Call, type WaypointService } from "./waypoint_flow.ts";
import { connectWorkload } from "./workload_dial.ts";

/** A connection that is registered and waits for its decision. */
interface RegisteredCall {
  readonly connection: Connection;
  readonly socket: Socket;
  readonly early: EarlySocket;
  readonly destination: SocketAddress;
  readonly local: Workload;
}

export class PassthroughFlow {
  readonly #context: NodeContext;
  readonly #inside: WaypointService | null;

  /** @param inside who serves what goes into a workload that has the application inside. */
  constructor(context: NodeContext, inside: WaypointService | null = null) {
    this.#context = context;
    this.#inside = inside;
  }

  /** One connection to its end. Never rejects; what is refused is closed without a byte. */
  async carry(socket: Socket, destination: SocketAddress): Promise<void> {
    const { own, telemetry, connections } = this.#context;
    const early = new EarlySocket(socket);
    socket.setHandler(early);
    try {
      if (own.holds(applicationAddress(this.#context, destination)))
        throw new MeshError("self_call", "peer", `${formatSocketAddress(destination)} is this node's own`);
      const local = await this.#local(destination);
      const connection = connections.open(this.#parties(socket, destination, local));
      if (connection instanceof MeshError) return socket.reset();
      connection.held = { abort: () => socket.reset() };
      early.onGone = (error) => connection.abort(error);
      await this.#connect({ connection, socket, early, destination, local });
    } catch (thrown) {
      telemetry.refused("inbound", socket.remote, destination, faultOf(thrown));
      socket.reset();
    }
  }

  /**
   * Where workloads run here, an address of none of them is another address of this host, and its client is not kept waiting.
   *
   * @throws MeshError `unknown_workload`.
   */
  async #local({ ip }: SocketAddress): Promise<Workload> {
    const { locals } = this.#context;
    const local = locals.byAddress(ip);
    if (local !== null) return local;
    if (locals.all.length > 0)
      throw new MeshError(
        "unknown_workload",
        "local",
        `no workload of this host has the address ${ip.text}; --capture-exclude-inbound ${ip.text} leaves it out of the mesh`,
      );
    return await locals.wait(() => locals.byAddress(ip), `has the address ${ip.text}`);
  }

  async #connect({ connection, socket, early, destination, local }: RegisteredCall): Promise<void> {
    const asked = {
      sourceIp: socket.remote.ip,
      sourceIdentity: null,
      destinationIp: destination.ip,
      destinationPort: destination.port,
    };
    const decision = await decideWhenReady(this.#context, connection, local, asked);
    if (connection.ended) return;
    if (decision instanceof MeshError) {
      connection.finish(decision);
      socket.reset();
      return;
    }
    if (this.#inside?.isInside(local) === true) {
      early.onGone = null;
      this.#inside.accept(
        new Call(
          connection,
          new KeptSocket(socket, early),
          {
            place: inboundPlace(this.#context, { local, target: destination, permit: decision, seen: null }),
            ...{ local, peer: null, source: socket.remote, sourceWorkload: null },
            called: { service: null, workload: local, ip: destination.ip, port: destination.port },
          },
          this.#context.clock,
        ),
      );
      return;
    }
    try {
      const application = await connectWorkload(this.#context, {
        permit: decision,
        source: socket.remote,
        onLoopback: false,
      });
      if (connection.ended) {
        application.reset();
        return;
      }
      const copy = new Copy(
        new SocketEnd(socket, early),
        new SocketEnd(application),
        connection.record,
        this.#context.clock,
        connection,
      );
      connection.held = copy;
      copy.start();
    } catch (thrown) {
      connection.finish(faultOf(thrown));
      socket.reset();
    }
  }

  #parties(socket: Socket, destination: SocketAddress, local: Workload): Parties {
    const { store, settings } = this.#context;
    return {
      direction: "inbound",
      source: {
        address: socket.remote,
        workload: store.workloadByAddress(settings.network, socket.remote.ip),
        baggage: null,
        identity: null,
      },
      destination: {
        address: destination,
        hboneAddress: null,
        workload: local,
        baggage: null,
        service: null,
        identity: null,
      },
    };
  }
}
