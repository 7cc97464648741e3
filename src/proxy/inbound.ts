/**
 * A CONNECT that reached one of our workloads: read, routed, registered, decided, connected, answered, carried. The order is
 * the point: nothing is dialled before the decision, and the decision comes after the registration.
 */
import { faultOf, MeshError } from "../base/errors.ts";
import type { Socket } from "../host/host.ts";
import { type InboundRoute, resolveInbound } from "../mesh/route/inbound_route.ts";
import { resolveThrough } from "../mesh/route/waypoint_route.ts";
import type { Workload } from "../mesh/workload.ts";
import type { HeaderFields } from "../wire/h2/headers.ts";
import type { H2Stream } from "../wire/h2/stream.ts";
import {
  answerHeaders,
  type HboneRequest,
  type HboneStatus,
  parseConnect,
  resetCode,
} from "../wire/hbone.ts";
import { parseForwardedHost } from "../wire/headers.ts";
import { encodeProxyHeader } from "../wire/proxy_protocol.ts";
import { baggageText } from "./baggage.ts";
import { Copy } from "./carry/copy.ts";
import { EarlyStream } from "./carry/early_stream.ts";
import { SocketEnd } from "./carry/socket_end.ts";
import { StreamEnd } from "./carry/stream_end.ts";
import { StreamSocket } from "./carry/stream_socket.ts";
import type { Connection } from "./connections.ts";
import { inboundPlace } from "./inside.ts";
import { applicationAddress, type NodeContext } from "./node_context.ts";
import type { Parties } from "./parties.ts";
import { changedSince, decideWhenReady } from "./policy_wait.ts";
import type { ServerTunnel } from "./tunnel/server_tunnel.ts";
import { Call, carryThrough, type WaypointService } from "./waypoint_flow.ts";
import { connectWorkload } from "./workload_dial.ts";

/** A CONNECT that is routed and registered, and waits for its decision. */
interface RegisteredCall {
  readonly connection: Connection;
  readonly tunnel: ServerTunnel;
  readonly stream: H2Stream;
  readonly early: EarlyStream;
  readonly local: Workload;
  readonly route: Extract<InboundRoute, { kind: "accept" }>;
}

export class InboundFlow {
  readonly #context: NodeContext;
  readonly #waypoint: WaypointService | null;

  /** @param waypoint who serves what goes through a waypoint of this host, or into a workload that has the application inside; null for neither. */
  constructor(context: NodeContext, waypoint: WaypointService | null) {
    this.#context = context;
    this.#waypoint = waypoint;
  }

  /** One CONNECT to its end. Never rejects. */
  async carry(
    tunnel: ServerTunnel,
    stream: H2Stream,
    headers: HeaderFields,
    endStream: boolean,
  ): Promise<void> {
    const early = new EarlyStream(endStream);
    stream.events = early;
    const request = parseConnect(headers);
    if ("status" in request)
      return this.#refuse(
        tunnel,
        stream,
        "unknown",
        400,
        new MeshError("hbone_request", "peer", request.message),
      );
    // The documents may have changed since the tunnel was made: the workload as it is now counts.
    const local = this.#context.locals.byAddress(tunnel.localIp);
    if (local === null) {
      const error = new MeshError(
        "unknown_workload",
        "local",
        `no workload of this host has ${tunnel.localIp.text} any more`,
      );
      return this.#refuse(tunnel, stream, request.authority, 503, error);
    }
    // The caller verified whom it reached when its tunnel was made, and meant that workload. It is told to make another one.
    if (!local.identity.equals(tunnel.svid.id)) {
      tunnel.drain();
      return this.#refuse(tunnel, stream, request.authority, 503, changedSince(tunnel.svid.id, local));
    }
    if (this.#waypoint?.serves(local) === true) {
      const called = resolveThrough(this.#context.store, {
        local,
        authority: request.authority,
        tcpDestination: tunnel.destination,
        callerNamespace: tunnel.peer.id.namespace,
      });
      if (called.kind === "called")
        return carryThrough(this.#context, this.#waypoint, tunnel, { stream, early, request, local, called });
      if (called.kind === "refuse") {
        const error = new MeshError(called.code, "peer", called.message);
        return this.#refuse(tunnel, stream, request.authority, called.status, error);
      }
    }
    const route = resolveInbound(this.#context.store, {
      local,
      authority: request.authority,
      tcpDestination: tunnel.destination,
      isOwnListener: (target) => this.#context.own.holds(applicationAddress(this.#context, target)),
      forwardedHost: request.forwarded === null ? null : parseForwardedHost(request.forwarded),
    });
    if (route.kind === "refuse") {
      return this.#refuse(
        tunnel,
        stream,
        request.authority,
        route.status,
        new MeshError(route.code, "peer", route.message),
      );
    }
    const opened = this.#context.connections.open(this.#parties(tunnel, local, request, route.service));
    if (opened instanceof MeshError) return answer(stream, 503, null);
    opened.peer = tunnel.peer;
    opened.record.verifiedDestination = local.identity;
    opened.record.tls = tunnel.tls;
    opened.held = { abort: () => answer(stream, 401, null) };
    early.onGone = (error) => opened.finish(error);
    await this.#connect({ connection: opened, tunnel, stream, early, local, route });
  }

  async #connect({ connection, tunnel, stream, early, local, route }: RegisteredCall): Promise<void> {
    const distrust = this.#context.trust.recheck(tunnel.peer, "ignore");
    if (distrust !== null) return connection.abort(distrust);
    const decision = await decideWhenReady(this.#context, connection, local, {
      sourceIp: tunnel.source.ip,
      sourceIdentity: tunnel.peer.id,
      destinationIp: route.target.ip,
      destinationPort: route.target.port,
    });
    if (connection.ended) return;
    if (decision instanceof MeshError) {
      connection.finish(decision);
      answer(stream, decision.blame === "policy" ? 401 : 503, null);
      return;
    }
    if (this.#waypoint?.isInside(local) === true && route.proxyProtocol === null) {
      early.onGone = null;
      answer(stream, 200, baggageText(local));
      const { source } = connection.record.parties;
      const { target, service } = route;
      this.#waypoint.accept(
        new Call(
          connection,
          new StreamSocket(stream, early, tunnel.destination, tunnel.source),
          {
            place: inboundPlace(this.#context, { local, target, permit: decision, seen: service }),
            ...{ local, peer: tunnel.peer.id, source: tunnel.source, sourceWorkload: source.workload },
            called: { service: null, workload: local, ip: target.ip, port: target.port },
          },
          this.#context.clock,
        ),
      );
      return;
    }
    let socket: Socket;
    try {
      socket = await connectWorkload(this.#context, {
        permit: decision,
        source: tunnel.source,
        onLoopback: route.proxyProtocol !== null,
      });
    } catch (thrown) {
      // Of a connection that has ended meanwhile the first reason stays, and its stream is answered or gone.
      connection.finish(faultOf(thrown));
      answer(stream, 503, null);
      return;
    }
    // The caller may have gone, or policy changed, while the application was dialled.
    if (connection.ended) {
      socket.reset();
      return;
    }
    answer(stream, 200, baggageText(local));
    const upstream = new SocketEnd(socket);
    const copy = new Copy(
      new StreamEnd(stream, early),
      upstream,
      connection.record,
      this.#context.clock,
      connection,
    );
    connection.held = copy;
    if (route.proxyProtocol !== null)
      upstream.write(encodeProxyHeader(tunnel.source, route.proxyProtocol.destination, tunnel.peer.id.uri));
    copy.start();
  }

  #parties(
    tunnel: ServerTunnel,
    local: Workload,
    request: HboneRequest,
    service: Parties["destination"]["service"],
  ): Parties {
    const { store, settings } = this.#context;
    const source = store.workloadByAddress(settings.network, tunnel.source.ip);
    // An address says who calls only if the identity that was proved agrees.
    const known = source?.identity.equals(tunnel.peer.id) === true ? source : null;
    return {
      direction: "inbound",
      source: {
        address: tunnel.source,
        workload: known,
        baggage: tunnel.baggage(request.baggage),
        identity: tunnel.peer.id,
      },
      destination: {
        address: tunnel.destination,
        hboneAddress: request.authority,
        workload: local,
        baggage: null,
        service,
        identity: local.identity,
      },
    };
  }

  #refuse(
    tunnel: ServerTunnel,
    stream: H2Stream,
    authority: string,
    status: HboneStatus,
    error: MeshError,
  ): void {
    answer(stream, status, null);
    this.#context.telemetry.refused("inbound", tunnel.source, authority, error);
  }
}

/** A refusal is whole with its headers; what the caller still sends is of no use any more (RFC 9113 §8.1: RST_STREAM with NO_ERROR). */
function answer(stream: H2Stream, status: HboneStatus, baggage: string | null): void {
  // Of a stream that is closed by now neither says anything.
  stream.sendHeaders(answerHeaders(status, baggage), status !== 200);
  if (status !== 200) stream.reset(resetCode.noError);
}
