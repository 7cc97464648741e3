/** A request to a server of HTTP/2, and its answer: the other end of `serve.ts`. */
import { MeshError } from "../../base/errors.ts";
import { h2ErrorCode } from "../../wire/h2/error_code.ts";
import { type HeaderFields, headerValue } from "../../wire/h2/headers.ts";
import type { H2Stream, H2StreamEvents } from "../../wire/h2/stream.ts";
import { IncomingBody } from "./incoming_body.ts";

/** What an `H2Connection` of a client is to a request. */
export interface StreamOpener {
  /** Null when no stream can be opened now. */
  request(headers: HeaderFields, endStream: boolean, events: H2StreamEvents): H2Stream | null;
}

export interface HttpCall {
  readonly method: string;
  /** `host:port`, as the client knows the server. */
  readonly authority: string;
  /** With its query. */
  readonly path: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | null;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Headers;
  /** To be read to its end or cancelled. It fails with a MeshError when the answer breaks off. */
  readonly body: ReadableStream<Uint8Array>;
}

/**
 * Resolves with the head of the answer.
 *
 * @param signal gives the request up, whenever it is aborted.
 * @throws MeshError `h2_refused`, or what the connection or the stream ended with.
 */
export function requestHttp(opener: StreamOpener, call: HttpCall, signal: AbortSignal): Promise<HttpAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
  if (signal.aborted) return Promise.reject(abortError(signal));
  const body = new IncomingBody((bytes) => stream?.consume(bytes));
  const abort = (): void => {
    reject(abortError(signal));
    body.fail(abortError(signal));
    stream?.reset(h2ErrorCode.cancel);
  };
  const ended = (): void => {
    signal.removeEventListener("abort", abort);
    body.end();
  };
  const stream: H2Stream | null = opener.request(requestFields(call), call.body === null, {
    onHeaders: (fields, endStream) => {
      const status = Number(headerValue(fields, ":status"));
      // RFC 9110 §15.2: interim answers are for those who wait for them.
      if (status < 200) return;
      resolve({ status, headers: headersOf(fields), body: body.stream });
      if (endStream) ended();
    },
    onData: (bytes, endStream) => {
      // A cancelled body: whatever else was to come is of no use.
      if (!body.push(bytes) && !endStream) stream?.reset(h2ErrorCode.cancel);
      if (endStream) ended();
    },
    onTrailers: ended,
    onReset: (_errorCode, _initiator, error) => {
      signal.removeEventListener("abort", abort);
      reject(error);
      body.fail(error);
    },
    onWritable: () => {},
    onClose: () => {},
  });
  if (stream === null) {
    reject(new MeshError("h2_refused", "upstream", "the server takes no more requests on this connection"));
    return promise;
  }
  signal.addEventListener("abort", abort, { once: true });
  if (call.body !== null) stream.sendData(call.body, true);
  return promise;
}

/** @throws MeshError `limit_reached` (blame upstream) past the bound; the rest is given up. */
export async function readAll(body: ReadableStream<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > maxBytes) {
      await reader.cancel();
      throw new MeshError("limit_reached", "upstream", `the answer is longer than ${maxBytes} bytes`);
    }
    chunks.push(value);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

function requestFields(call: HttpCall): HeaderFields {
  const fields = [
    ":method",
    call.method,
    ":scheme",
    "https",
    ":authority",
    call.authority,
    ":path",
    call.path,
  ];
  for (const [name, value] of Object.entries(call.headers)) fields.push(name, value);
  if (call.body !== null) fields.push("content-length", String(call.body.length));
  return fields;
}

function headersOf(fields: HeaderFields): Headers {
  const headers = new Headers();
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const name = fields[index] ?? "";
    if (!name.startsWith(":")) headers.append(name, fields[index + 1] ?? "");
  }
  return headers;
}

function abortError(signal: AbortSignal): MeshError {
  const { reason } = signal;
  return reason instanceof MeshError ? reason : new MeshError("stopped", "local", "the request was given up");
}
