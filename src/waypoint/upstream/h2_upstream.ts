/** A connection of HTTP/2 to an endpoint, for many requests at one time. */
import { MeshError } from "../../base/errors.ts";
import { servingLimits } from "../../base/limits/serving.ts";
import { websocketAccept } from "../../base/websocket.ts";
import type { Clock, Socket } from "../../host/host.ts";
import { H2Link } from "../../transport/h2_link.ts";
import { h2ErrorCode } from "../../wire/h2/error_code.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2Stream, H2StreamEvents, ResetInitiator } from "../../wire/h2/stream.ts";
import type { Body, BodySink } from "../body.ts";
import { field, type RequestHead } from "../exchange.ts";
import { addFields, withoutConnectionFields } from "../h2_fields.ts";
import type { PendingOutcome } from "./pending_outcome.ts";

export class H2Upstream {
  readonly #link: H2Link;
  #isRetired = false;
  /** Whether the endpoint has said what it takes. */
  #hasSettings = false;
  #waiting: PendingOutcome[] = [];
  readonly madeAtMs: number;
  /** Requests that it has carried. */
  uses = 0;
  idleSinceMs = 0;

  /** @param onGone exactly once. */
  constructor(
    clock: Clock,
    socket: Socket,
    keepAlive: { readonly intervalMs: number; readonly timeoutMs: number } | null,
    onGone: (upstream: H2Upstream) => void,
  ) {
    this.madeAtMs = clock.now();
    this.#link = new H2Link(
      clock,
      socket,
      { role: "client", limits: servingLimits.h2, keepAlive },
      {
        onOver: () => {
          for (const attempt of this.#waiting.splice(0))
            attempt.fail(
              new MeshError("connection_closed", "upstream", "the connection ended before it was used"),
              "UC",
              false,
            );
          onGone(this);
        },
        onRemoteSettings: () => this.#onSettings(),
      },
    );
    this.#link.start();
  }

  get hasRoom(): boolean {
    const { connection, over } = this.#link;
    return (
      !over &&
      !this.#isRetired &&
      connection.acceptsRequests &&
      connection.openStreams < connection.remoteMaxConcurrentStreams
    );
  }

  get openStreams(): number {
    return this.#link.openStreams;
  }

  /** @returns false when there is no room after all; nothing was done. */
  send(attempt: PendingOutcome): boolean {
    const { request, body } = attempt.exchange;
    if (request.protocol !== null && !this.#hasSettings) {
      // RFC 8441 §3: not before the endpoint has said that it takes them.
      this.#waiting.push(attempt);
      return true;
    }
    if (request.protocol !== null && !this.#link.connection.remoteSettings.enableConnectProtocol) {
      attempt.fail(
        new MeshError("unsupported", "upstream", "the endpoint takes no WebSocket over HTTP/2"),
        "UPE",
        false,
      );
      return true;
    }
    // A rewrite may have put there what no path has: it is this request's fault, and not the end of a connection that others share.
    if (
      !sendablePath.test(request.path) ||
      (request.authority !== "" && !sendablePath.test(request.authority)) ||
      !methodName.test(request.method)
    ) {
      const error = new MeshError(
        "http_protocol",
        "local",
        "the request has a path or a name that HTTP/2 cannot say",
      );
      attempt.fail(error, "UPE", false);
      return true;
    }
    const call = new H2UpstreamCall(attempt);
    const stream = this.#link.connection.request(requestHeaders(request), body === null, call);
    if (stream === null) return false;
    this.uses++;
    call.start(stream);
    return true;
  }

  /** No new requests. */
  close(): void {
    this.#isRetired = true;
    this.#link.drain();
  }

  #onSettings(): void {
    this.#hasSettings = true;
    for (const attempt of this.#waiting.splice(0))
      if (attempt.cancelled === null && !this.send(attempt))
        attempt.fail(
          new MeshError("h2_refused", "upstream", "the endpoint has no room for a stream"),
          "UR",
          false,
        );
  }
}

const sendablePath = /^[\x21-\x7e\x80-\xff]+$/;
const methodName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

class H2UpstreamCall implements H2StreamEvents, BodySink {
  readonly #attempt: PendingOutcome;
  #stream: H2Stream | null = null;
  #body: Body | null = null;
  #heldBytes = 0;

  constructor(attempt: PendingOutcome) {
    this.#attempt = attempt;
  }

  start(stream: H2Stream): void {
    this.#stream = stream;
    this.#attempt.onCancel = () => stream.reset(h2ErrorCode.cancel);
    const { body, request } = this.#attempt.exchange;
    // What a client of an upgraded connection says comes after the answer.
    if (request.protocol === null) body?.pipe(this);
  }

  write(bytes: Uint8Array): boolean {
    const stream = this.#stream;
    if (stream === null || stream.closed || stream.localEnded) return true;
    stream.sendData(bytes, false);
    return !stream.aboveHighWater;
  }

  end(trailers: HeaderFields | null): void {
    const stream = this.#stream;
    if (stream === null || stream.closed || stream.localEnded) return;
    if (trailers === null || trailers.length === 0) stream.sendData(new Uint8Array(0), true);
    else stream.sendTrailers(withoutConnectionFields(trailers));
  }

  fail(error: MeshError): void {
    this.#stream?.reset(h2ErrorCode.cancel);
    this.#attempt.fail(error, "UR", true);
  }

  onHeaders(headers: HeaderFields, endStream: boolean): void {
    const status = Number(headers[1]);
    const fields = headers.slice(2);
    if (status < 200) {
      this.#attempt.interim({ status, fields });
      return;
    }
    const { exchange } = this.#attempt;
    const isUpgraded = exchange.request.protocol !== null && status >= 200 && status < 300;
    const source = endStream
      ? null
      : {
          onResume: () => this.#release(),
          onCancel: () => {
            if (this.#stream?.closed === false) this.#stream.reset(h2ErrorCode.cancel);
            this.#release();
          },
        };
    if (isUpgraded && exchange.request.version !== "2") {
      // RFC 8441 §5: HTTP/2 has no key to accept, and the client's HTTP/1.1 has.
      const key = field(exchange.request.fields, "sec-websocket-key");
      if (key !== null) fields.push("sec-websocket-accept", websocketAccept(key));
    }
    this.#body = this.#attempt.answered({ status: isUpgraded ? 101 : status, fields }, source);
    if (isUpgraded) exchange.body?.pipe(this);
  }

  onData(bytes: Uint8Array, endStream: boolean): void {
    if (bytes.length > 0) {
      this.#heldBytes += bytes.length;
      if (this.#body === null || this.#body.push(bytes)) this.#release();
    }
    if (endStream) this.#body?.finish(null);
  }

  onTrailers(headers: HeaderFields): void {
    this.#body?.finish(headers);
  }

  onReset(errorCode: number, initiator: ResetInitiator, error: MeshError): void {
    this.#attempt.onCancel = null;
    if (initiator === "user") return;
    // RFC 9113 §8.1: after a whole answer NO_ERROR says that the rest of the request is not wanted.
    if (errorCode === h2ErrorCode.noError && this.#body?.isEnded === true) return;
    const isUnread = errorCode === h2ErrorCode.refusedStream;
    this.#attempt.fail(error, initiator === "remote" ? "UR" : "UC", !isUnread);
  }

  onWritable(): void {
    this.#attempt.exchange.body?.resume();
  }

  onClose(): void {
    this.#attempt.onCancel = null;
  }

  #release(): void {
    const held = this.#heldBytes;
    this.#heldBytes = 0;
    if (held > 0) this.#stream?.consume(held);
  }
}

function requestHeaders(request: RequestHead): HeaderFields {
  const headers =
    request.protocol === null
      ? [
          ":method",
          request.method,
          ":scheme",
          request.scheme,
          ":authority",
          request.authority,
          ":path",
          request.path,
        ]
      : [
          ":method",
          "CONNECT",
          ":protocol",
          request.protocol,
          ":scheme",
          request.scheme,
          ":authority",
          request.authority,
          ":path",
          request.path,
        ];
  if (request.protocol === null) return addFields(headers, request.fields);
  const fields = withoutConnectionFields(request.fields);
  for (let i = 0; i + 1 < fields.length; i += 2)
    if (fields[i] !== "sec-websocket-key") headers.push(fields[i] ?? "", fields[i + 1] ?? "");
  return headers;
}
