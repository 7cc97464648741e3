/** A waypoint: what reached it for a service or a workload is told apart by protocol, then served as HTTP or carried on as it is. */
import { faultOf, MeshError } from "../base/errors.ts";
import type { SocketAddress } from "../base/ip.ts";
import { authLimits } from "../base/limits/auth.ts";
import { servingLimits } from "../base/limits/serving.ts";
import { sweep } from "../base/turns/time_slice.ts";
import type { Clock, Socket, SocketHandler, Timer } from "../host/host.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import type { AppProtocol } from "../mesh/service.ts";
import type { Workload } from "../mesh/workload.ts";
import type { Answer } from "./app.ts";
import { boundCarried } from "./carried_bounds.ts";
import type { Downstream, Endpoint, LocalReply, Place } from "./exchange.ts";
import { OpenExchanges } from "./open_exchanges.ts";
import type { RequestPermit } from "./request_permit.ts";
import { type Detected, Sniffer } from "./serve/detect.ts";
import { H1Connection } from "./serve/h1_connection.ts";
import { H2ServedConnection } from "./serve/h2_connection.ts";
import { type Normalise, Serving } from "./serving.ts";
import type { Stages } from "./stages.ts";

/** A connection that was accepted for what has this waypoint, or into or out of a workload whose tunnel this is inside of. */
export interface ThroughCall {
  readonly socket: Socket;
  readonly place: Place;
  readonly local: Workload;
  readonly peer: SpiffeId | null;
  readonly source: SocketAddress;
  readonly sourceWorkload: Workload | null;
  readonly called: Pick<Downstream, "service" | "workload"> & {
    readonly ip: Downstream["destination"]["ip"];
    readonly port: number;
  };
  /** @param onOver exactly once. */
  copy(
    early: { handOver(handler: SocketHandler): void; readonly isPaused: boolean },
    upstream: Socket,
    onOver: () => void,
  ): void;
  /** Both ways, so far. */
  readonly carriedBytes: number;
  finish(error: MeshError | null): void;
  readonly isOver: boolean;
  /** Cuts it, whatever carries it by now. */
  abort(error: MeshError): void;
  onAbort(listener: (error: MeshError) => void): void;
}

export interface WaypointParts {
  readonly clock: Clock;
  /** Which workloads of this host are waypoints of this process. */
  readonly serves: (local: Workload) => boolean;
  /** Whose own tunnel this process is, with the application inside. */
  readonly isInside: (local: Workload) => boolean;
  readonly stages: Stages;
  readonly answer: Answer;
  readonly normalise: Normalise;
  /** @throws MeshError when the endpoint cannot be reached. */
  readonly connect: (endpoint: Endpoint, downstream: Downstream, permit: RequestPermit) => Promise<Socket>;
  /** The upstream connections that are kept are given up as they become idle. */
  readonly drainUpstreams: () => void;
}

export class Waypoint {
  readonly #parts: WaypointParts;
  readonly exchanges: OpenExchanges;
  readonly #serving: Serving;
  /** Connections that are carried unread, with what lets them. */
  readonly #carried = new Map<ThroughCall, RequestPermit>();
  #timer: Timer | null = null;

  constructor(parts: WaypointParts) {
    this.#parts = parts;
    this.exchanges = new OpenExchanges(parts.clock);
    this.#serving = new Serving({
      clock: parts.clock,
      exchanges: this.exchanges,
      normalise: parts.normalise,
      answer: parts.answer,
      end: parts.stages.end,
    });
  }

  serves(local: Workload): boolean {
    return this.#parts.serves(local);
  }

  isInside(local: Workload): boolean {
    return this.#parts.isInside(local);
  }

  /** Served connections of HTTP that are open. */
  get connections(): number {
    return this.#serving.connections;
  }

  accept(call: ThroughCall): void {
    this.#arm();
    const protocol = protocolOf(call);
    const sniffer = new Sniffer(this.#parts.clock, call.socket, waitFor(protocol), (detected) =>
      this.#serve(call, sniffer, served(protocol, detected)),
    );
    sniffer.start();
  }

  /** @param spreadMs clients are told little by little over so long. */
  drain(spreadMs: number): void {
    this.#serving.drain(spreadMs);
    this.#parts.drainUpstreams();
  }

  /** After policy, tokens or trust changed, and every now and then: tokens end, and the time of day is in conditions. */
  recheck(): void {
    const { recheck, recheckConnection } = this.#parts.stages;
    this.exchanges.recheck(recheck);
    sweep(this.#parts.clock, [...this.#carried], ([call, permit]) => {
      if (call.isOver) {
        this.#carried.delete(call);
        return;
      }
      const ending = recheckConnection(permit);
      if (ending !== null) call.abort(ending.error);
    });
  }

  #arm(): void {
    if (this.#timer !== null) return;
    this.#timer = this.#parts.clock.setTimer(authLimits.recheckMs, () => {
      this.#timer = null;
      this.recheck();
      if (this.exchanges.size > 0 || this.#carried.size > 0 || this.#serving.connections > 0) this.#arm();
    });
  }

  #serve(call: ThroughCall, sniffer: Sniffer, as: "http1" | "http2" | "copy"): void {
    const downstream = downstreamOf(call, sniffer.serverName);
    if (as === "copy") {
      void this.#copy(call, sniffer, downstream);
      return;
    }
    if (as === "http1") {
      sniffer.handOver(
        new H1Connection(this.#serving, call.socket, downstream, (error) => call.finish(error)),
      );
    } else new H2ServedConnection(this.#serving, sniffer, downstream, (error) => call.finish(error)).start();
    call.socket.resume();
  }

  async #copy(call: ThroughCall, sniffer: Sniffer, downstream: Downstream): Promise<void> {
    const { clock, stages, connect } = this.#parts;
    let onOver: (() => void) | null = null;
    try {
      const permit = await stages.admit(downstream);
      if (!("grounds" in permit)) throw refusal(permit, "policy");
      const endpoint = stages.connect(downstream);
      if (!("workload" in endpoint)) throw refusal(endpoint, "upstream");
      this.#carried.set(call, permit);
      this.#arm();
      onOver = boundCarried(clock, endpoint, call);
      const upstream = await connect(endpoint, downstream, permit);
      call.copy(sniffer, upstream, onOver);
    } catch (thrown) {
      onOver?.();
      call.finish(faultOf(thrown));
      call.socket.reset();
    }
  }
}

function refusal(reply: LocalReply, blame: "policy" | "upstream"): MeshError {
  return new MeshError(blame === "policy" ? "policy_denied" : "no_healthy_upstream", blame, reply.detail);
}

/** Of the service's port; a workload's own address has none, but where its own tunnel asks. */
function protocolOf({ called, place }: ThroughCall): AppProtocol {
  if (place.side === "inbound") return place.protocol;
  return called.service?.ports.get(called.port)?.protocol ?? "UNKNOWN";
}

/** How long the first bytes are waited for. Where HTTP is said to be spoken a silent client is one that has no request yet. */
function waitFor(protocol: AppProtocol): { readonly timeoutMs: number; readonly wantsName: boolean } {
  if (protocol === "TCP") return { timeoutMs: 0, wantsName: false };
  const wantsName = protocol === "UNKNOWN" || protocol === "TLS";
  return { timeoutMs: wantsName ? servingLimits.detectTimeoutMs : servingLimits.idleTimeoutMs, wantsName };
}

/** What is said to be HTTP is never carried unread: bytes that are none are answered as such. */
function served(protocol: AppProtocol, detected: Detected): "http1" | "http2" | "copy" {
  switch (protocol) {
    case "TCP":
    case "TLS":
      return "copy";
    case "HTTP11":
      return detected === "http2" ? "http2" : "http1";
    case "HTTP2":
    case "GRPC":
      return detected === "http1" ? "http1" : "http2";
    case "UNKNOWN":
      return detected === "http1" || detected === "http2" ? detected : "copy";
  }
}

function downstreamOf(call: ThroughCall, sni: string): Downstream {
  const { called } = call;
  return {
    place: call.place,
    peer: call.peer,
    source: call.source,
    sourceWorkload: call.sourceWorkload,
    destination: { ip: called.ip, port: called.port },
    service: called.service,
    workload: called.workload,
    sni,
    waypoint: call.local,
  };
}
