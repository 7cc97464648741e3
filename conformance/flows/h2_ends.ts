/** HTTP/2 ends for tests of what goes through a waypoint: a client over a connection, and an application. */

import type { Socket } from "../../src/host/host.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import { H2Link } from "../../src/transport/h2_link.ts";
import type { H2Options } from "../../src/wire/h2/connection.ts";
import type { HeaderFields } from "../../src/wire/h2/headers.ts";
import type { H2Stream, H2StreamEvents } from "../../src/wire/h2/stream.ts";

/** What came on one stream; everything is consumed at once, unless `isSlow`. */
export class StreamEnds implements H2StreamEvents {
  stream: H2Stream | null = null;
  headers: HeaderFields = [];
  readonly interim: string[] = [];
  text = "";
  byteCount = 0;
  trailers: HeaderFields | null = null;
  ended = false;
  resetCode: number | null = null;
  isSlow = false;
  onText: ((text: string) => void) | null = null;

  get status(): string | undefined {
    return this.headers[1];
  }

  onHeaders(headers: HeaderFields, endStream: boolean): void {
    if (headers[1]?.startsWith("1") === true) this.interim.push(headers.join(" "));
    else this.headers = headers;
    this.ended ||= endStream;
  }

  onData(bytes: Uint8Array, endStream: boolean): void {
    this.byteCount += bytes.length;
    if (this.byteCount < 100_000) this.text += new TextDecoder().decode(bytes);
    this.ended ||= endStream;
    if (!this.isSlow) this.stream?.consume(bytes.length);
    this.onText?.(this.text);
  }

  onTrailers(headers: HeaderFields): void {
    this.trailers = headers;
    this.ended = true;
  }

  onReset(errorCode: number): void {
    this.resetCode = errorCode;
  }

  onWritable(): void {}
  onClose(): void {}
}

export class H2Client {
  readonly link: H2Link;
  gone = false;
  goAways = 0;

  constructor(host: MemoryHost, client: Recorder, limits: H2Options["limits"] = {}) {
    this.link = new H2Link(
      host.clock,
      client.socket,
      { role: "client", limits },
      {
        onGone: () => {
          this.gone = true;
        },
        onGoAway: () => {
          this.goAways++;
        },
      },
    );
    this.link.start();
  }

  request(
    headers: HeaderFields,
    endStream: boolean,
  ): { readonly stream: H2Stream; readonly said: StreamEnds } {
    const said = new StreamEnds();
    const stream = this.link.connection.request(headers, endStream, said);
    if (stream === null) throw new Error("the connection takes no request");
    said.stream = stream;
    return { stream, said };
  }

  get(path: string, extra: HeaderFields = []) {
    return this.request(
      [":method", "GET", ":scheme", "http", ":authority", "web.shop", ":path", path, ...extra],
      true,
    );
  }
}

export interface H2Call {
  readonly stream: H2Stream;
  readonly headers: HeaderFields;
  readonly said: StreamEnds;
}

/** Serves HTTP/2 on a socket that was accepted. */
export function serveH2(host: MemoryHost, socket: Socket, onCall: (call: H2Call) => void): H2Link {
  const link = new H2Link(
    host.clock,
    socket,
    { role: "server", enableConnectProtocol: true },
    {
      onRequest: (stream, headers, endStream) => {
        const said = new StreamEnds();
        said.stream = stream;
        said.ended = endStream;
        stream.events = said;
        onCall({ stream, headers, said });
      },
    },
  );
  link.start();
  return link;
}
