/** A connection of HTTP/2 through the waypoint, by prior knowledge, the client's side. */
import { MeshError } from "../../base/errors.ts";
import { servingLimits } from "../../base/limits/serving.ts";
import { Roster } from "../../base/roster.ts";
import type { Socket } from "../../host/host.ts";
import { H2Link } from "../../transport/h2_link.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2Stream } from "../../wire/h2/stream.ts";
import type { Downstream } from "../exchange.ts";
import type { Served, Serving } from "../serving.ts";
import { H2Exchange } from "./h2_exchange.ts";
import { readH2Request } from "./h2_request.ts";

export class H2ServedConnection implements Served {
  readonly #serving: Serving;
  readonly #downstream: Downstream;
  readonly #link: H2Link;
  readonly #open = new Roster<H2Exchange>();
  #idleSinceMs: number;

  /** @param onOver exactly once. */
  constructor(
    serving: Serving,
    socket: Socket,
    downstream: Downstream,
    onOver: (error: MeshError | null) => void,
  ) {
    this.#serving = serving;
    this.#downstream = downstream;
    this.#idleSinceMs = serving.clock.now();
    this.#link = new H2Link(
      serving.clock,
      socket,
      { role: "server", limits: servingLimits.h2, enableConnectProtocol: true },
      {
        onRequest: (stream, headers, endStream) => this.#onRequest(stream, headers, endStream),
        onGone: (error) => {
          serving.remove(this);
          onOver(error);
        },
      },
    );
    serving.add(this);
  }

  start(): void {
    this.#link.start();
    if (this.#serving.isDraining) this.#link.drain();
  }

  sweep(now: number): void {
    for (const exchange of [...this.#open])
      if (exchange.isStalled && now - exchange.activeAtMs > servingLimits.stalledMs)
        exchange.cut(new MeshError("idle_timeout", "peer", "the client has stood still for too long"));
    if (this.#link.openStreams > 0) this.#idleSinceMs = now;
    else if (now - this.#idleSinceMs > servingLimits.idleTimeoutMs) this.#link.drain();
  }

  readonly tellsClients = true;

  drain(): void {
    this.#link.drain();
  }

  #onRequest(stream: H2Stream, headers: HeaderFields, endStream: boolean): void {
    const head = readH2Request(headers, this.#serving.normalise);
    if (!("method" in head)) {
      stream.events = ignored;
      stream.sendHeaders([":status", String(head.status), "content-length", "0"], true);
      if (!stream.closed) stream.reset(0);
      return;
    }
    const exchange = new H2Exchange(this.#serving, stream, head, endStream, this.#downstream);
    this.#open.add(exchange);
    exchange.onOver = () => this.#open.delete(exchange);
    stream.events = exchange;
    exchange.start();
  }
}

const ignored: H2Stream["events"] = {
  onHeaders: () => {},
  onData: () => {},
  onTrailers: () => {},
  onReset: () => {},
  onWritable: () => {},
  onClose: () => {},
};
