/** A CONNECT to a service or workload whose waypoint one of our workloads is: registered, then handed to the waypoint as a connection. */
import { MeshError } from "../base/errors.ts";
import type { IpAddress, SocketAddress } from "../base/ip.ts";
import type { Socket } from "../host/host.ts";
import type { CalledThrough } from "../mesh/route/waypoint_route.ts";
import type { Service } from "../mesh/service.ts";
import type { Workload } from "../mesh/workload.ts";
import type { VerifiedPeer } from "../pki/trust/verifier.ts";
import type { H2Stream } from "../wire/h2/stream.ts";
import { answerHeaders, type HboneRequest } from "../wire/hbone.ts";
import { formatBaggage, parseBaggage } from "../wire/headers.ts";
import { workloadBaggage } from "./baggage.ts";
import { Copy } from "./carry/copy.ts";
import type { EarlySocket } from "./carry/early_socket.ts";
import type { EarlyStream } from "./carry/early_stream.ts";
import { SocketEnd } from "./carry/socket_end.ts";
import { StreamSocket } from "./carry/stream_socket.ts";
import type { Connection } from "./connections.ts";
import type { NodeContext } from "./node_context.ts";
import type { Parties } from "./parties.ts";
import type { ServerTunnel } from "./tunnel/server_tunnel.ts";

/** A connection through the waypoint. */
export interface WaypointCall {
  readonly socket: Socket;
  /** The waypoint. */
  readonly local: Workload;
  readonly peer: VerifiedPeer;
  readonly source: SocketAddress;
  readonly sourceWorkload: Workload | null;
  readonly called: {
    readonly service: Service | null;
    readonly workload: Workload | null;
    readonly ip: IpAddress | null;
    readonly port: number;
  };
  /** Carries bytes unread. @param early who has had the socket until now. @param onOver exactly once. */
  copy(early: Early, upstream: Socket, onOver: () => void): void;
  /** Both ways, so far. */
  readonly carriedBytes: number;
  /** It came to its end; null for an orderly one. */
  finish(error: MeshError | null): void;
  /** It has come to its end. */
  readonly isOver: boolean;
  /** Cuts it, whatever carries it by now. */
  abort(error: MeshError): void;
  /** Called when it is cut from outside: trust that ended, the end of a drain. The socket is reset after it. */
  onAbort(listener: (error: MeshError) => void): void;
}

/** Whoever keeps what came on a socket and hands it over. */
export type Early = Pick<EarlySocket, "handOver" | "isPaused">;

/** Who serves what goes through a waypoint; `app/` makes it. */
export interface WaypointService {
  /** Whether the workload is a waypoint that this process is. */
  serves(local: Workload): boolean;
  accept(call: WaypointCall): void;
  /** No new requests on connections that are open. */
  drain(): void;
}

export function carryThrough(
  context: NodeContext,
  waypoint: WaypointService,
  tunnel: ServerTunnel,
  {
    stream,
    early,
    request,
    local,
    called,
  }: {
    readonly stream: H2Stream;
    readonly early: EarlyStream;
    readonly request: HboneRequest;
    readonly local: Workload;
    readonly called: Extract<CalledThrough, { kind: "called" }>;
  },
): void {
  const { store, settings, connections, trust, clock } = context;
  const source = store.workloadByAddress(settings.network, tunnel.source.ip);
  // An address says who calls only if the identity that was proved agrees.
  const sourceWorkload = source?.identity.equals(tunnel.peer.id) === true ? source : null;
  const parties: Parties = {
    direction: "inbound",
    source: {
      address: tunnel.source,
      workload: sourceWorkload,
      baggage: request.baggage === null ? null : parseBaggage(request.baggage),
      identity: tunnel.peer.id,
    },
    destination: {
      address: tunnel.destination,
      hboneAddress: request.authority,
      workload: called.workload ?? local,
      baggage: null,
      service: called.service,
      identity: local.identity,
    },
  };
  const refuse = () => stream.sendHeaders(answerHeaders(503, null), true);
  const connection = connections.open(parties);
  if (connection instanceof MeshError) {
    refuse();
    return;
  }
  connection.peer = tunnel.peer;
  connection.record.verifiedDestination = local.identity;
  connection.record.tls = tunnel.tls;
  const distrust = trust.recheck(tunnel.peer, "ignore");
  if (distrust !== null) {
    connection.finish(distrust);
    refuse();
    return;
  }
  stream.sendHeaders(answerHeaders(200, formatBaggage(workloadBaggage(local))), false);
  const socket = new StreamSocket(stream, early, tunnel.destination, tunnel.source);
  const call = new Call(
    connection,
    socket,
    { local, peer: tunnel.peer, source: tunnel.source, sourceWorkload, called },
    clock,
  );
  waypoint.accept(call);
}

type Facts = Pick<WaypointCall, "local" | "peer" | "source" | "sourceWorkload" | "called">;

class Call implements WaypointCall {
  readonly socket: Socket;
  readonly local: Workload;
  readonly peer: VerifiedPeer;
  readonly source: SocketAddress;
  readonly sourceWorkload: Workload | null;
  readonly called: WaypointCall["called"];
  readonly #connection: Connection;
  readonly #clock: NodeContext["clock"];
  readonly #stream: StreamSocket;
  #onAbort: ((error: MeshError) => void) | null = null;

  constructor(connection: Connection, socket: StreamSocket, facts: Facts, clock: NodeContext["clock"]) {
    this.#connection = connection;
    this.#clock = clock;
    this.#stream = socket;
    this.socket = socket;
    socket.counters = connection.record;
    this.local = facts.local;
    this.peer = facts.peer;
    this.source = facts.source;
    this.sourceWorkload = facts.sourceWorkload;
    this.called = facts.called;
    connection.onAbort = (error) => {
      this.#onAbort?.(error);
      socket.reset();
    };
  }

  copy(early: Early, upstream: Socket, onOver: () => void): void {
    const connection = this.#connection;
    if (connection.ended) {
      upstream.reset();
      onOver();
      return;
    }
    // The stream counts what passes it, and has counted what was looked at before this.
    const uncounted = { bytesToUpstream: 0, bytesToDownstream: 0 };
    const copy = new Copy(
      new SocketEnd(this.#stream, early),
      new SocketEnd(upstream),
      uncounted,
      this.#clock,
      (error) => {
        connection.finish(error);
        onOver();
      },
    );
    connection.onAbort = (error) => copy.abort(error);
    copy.start();
  }

  finish(error: MeshError | null): void {
    this.#connection.finish(error);
  }

  get carriedBytes(): number {
    const { bytesToUpstream, bytesToDownstream } = this.#connection.record;
    return bytesToUpstream + bytesToDownstream;
  }

  get isOver(): boolean {
    return this.#connection.ended;
  }

  abort(error: MeshError): void {
    this.#connection.abort(error);
  }

  onAbort(listener: (error: MeshError) => void): void {
    this.#onAbort = listener;
  }
}
