/**
 * Connections that HTTP is read on: a CONNECT to a service or workload whose waypoint one of our workloads is, or one into or out of a
 * workload whose tunnel has the application inside. Registered, then handed to the application as a connection.
 */
import { MeshError } from "../base/errors.ts";
import type { IpAddress, SocketAddress } from "../base/ip.ts";
import type { Socket } from "../host/host.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import type { CalledThrough } from "../mesh/route/waypoint_route.ts";
import type { AppProtocol, Service } from "../mesh/service.ts";
import type { Workload } from "../mesh/workload.ts";
import type { H2Stream } from "../wire/h2/stream.ts";
import { answerHeaders, type HboneRequest } from "../wire/hbone.ts";
import { baggageText } from "./baggage.ts";
import { Copy, type CopyCounters } from "./carry/copy.ts";
import type { EarlySocket } from "./carry/early_socket.ts";
import type { EarlyStream } from "./carry/early_stream.ts";
import { SocketEnd } from "./carry/socket_end.ts";
import { StreamSocket } from "./carry/stream_socket.ts";
import type { Connection } from "./connections.ts";
import type { NodeContext } from "./node_context.ts";
import type { Parties } from "./parties.ts";
import type { ServerTunnel } from "./tunnel/server_tunnel.ts";

/** Where the application is on the connection's way. */
export type CallPlace =
  | { readonly side: "waypoint" }
  | {
      readonly side: "inbound";
      readonly service: Service | null;
      readonly targets: readonly Service[];
      readonly protocol: AppProtocol;
      readonly application: () => Promise<Socket>;
    }
  | { readonly side: "outbound" };

/** A connection through the waypoint's application. */
export interface WaypointCall {
  readonly socket: Socket;
  readonly place: CallPlace;
  /** The waypoint, or the workload whose tunnel this is. */
  readonly local: Workload;
  /** Who calls; null for plain text. */
  readonly peer: SpiffeId | null;
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
  /** Whether the workload's own tunnel has the application inside: its connections both ways go through it. */
  isInside(local: Workload): boolean;
  accept(call: WaypointCall): void;
  /** No new requests on connections that are open. */
  /** @param spreadMs clients are told little by little over so long. */
  drain(spreadMs: number): void;
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
      baggage: tunnel.baggage(request.baggage),
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
  stream.sendHeaders(answerHeaders(200, baggageText(local)), false);
  const socket = new StreamSocket(stream, early, tunnel.destination, tunnel.source);
  const call = new Call(
    connection,
    socket,
    {
      place: { side: "waypoint" },
      ...{ local, peer: tunnel.peer.id, source: tunnel.source, sourceWorkload, called },
    },
    clock,
  );
  waypoint.accept(call);
}

type Facts = Pick<WaypointCall, "place" | "local" | "peer" | "source" | "sourceWorkload" | "called">;

/** Counts what passes. */
type CountedSocket = Socket & { counters: CopyCounters | null };

export class Call implements WaypointCall {
  readonly socket: Socket;
  readonly place: CallPlace;
  readonly local: Workload;
  readonly peer: SpiffeId | null;
  readonly source: SocketAddress;
  readonly sourceWorkload: Workload | null;
  readonly called: WaypointCall["called"];
  readonly #connection: Connection;
  readonly #clock: NodeContext["clock"];
  readonly #counted: CountedSocket;
  #onAbort: ((error: MeshError) => void) | null = null;

  /** @param connection is registered. */
  constructor(connection: Connection, socket: CountedSocket, facts: Facts, clock: NodeContext["clock"]) {
    this.#connection = connection;
    this.#clock = clock;
    this.#counted = socket;
    this.socket = socket;
    this.place = facts.place;
    socket.counters = connection.record;
    this.local = facts.local;
    this.peer = facts.peer;
    this.source = facts.source;
    this.sourceWorkload = facts.sourceWorkload;
    this.called = facts.called;
    connection.held = {
      abort: (error) => {
        this.#onAbort?.(error);
        socket.reset();
      },
    };
  }

  copy(early: Early, upstream: Socket, onOver: () => void): void {
    const connection = this.#connection;
    if (connection.ended) {
      upstream.reset();
      onOver();
      return;
    }
    // The socket counts what passes it, and has counted what was looked at before this.
    const uncounted = { bytesToUpstream: 0, bytesToDownstream: 0 };
    const copy = new Copy(
      new SocketEnd(this.#counted, early),
      new SocketEnd(upstream),
      uncounted,
      this.#clock,
      {
        finish: (error) => {
          connection.finish(error);
          onOver();
        },
      },
    );
    connection.held = copy;
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
