/**
 * A collector of the OpenTelemetry protocol over gRPC: one call, and what its end means (OTLP Specification, "OTLP/gRPC Response"). One
 * connection, made when it is needed; a call that failed by it is not made on it again.
 */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { otlpLimits } from "../../base/limits/otlp.ts";
import type { Host, Socket } from "../../host/host.ts";
import { dial } from "../../transport/dial.ts";
import { H2Link } from "../../transport/h2_link.ts";
import { binaryMetadata, isCustomMetadata } from "../../wire/grpc/call_headers.ts";
import { GrpcClient } from "../../wire/grpc/client.ts";
import { type MethodDescription, messageCodec, rawCodec } from "../../wire/grpc/method.ts";
import { type GrpcCode, type GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import { RetryInfoSchema, StatusSchema } from "../../wire/messages/google_rpc.gen.ts";
import { readHeaderLines } from "../../wire/otlp/header_lines.ts";
import { rejectedItems } from "../../wire/otlp/otlp.ts";
import type { Collector, SendOutcome } from "./collector.ts";

export interface GrpcCollectorOptions {
  readonly host: Pick<Host, "clock" | "net" | "files">;
  readonly signal: CollectorSignal;
  /** `http://collector:4317`: its host and port, and whether TLS is spoken. */
  readonly url: string;
  /** `Name: value` lines, sent as metadata, read for each call: a credential in it may be replaced. Null for none. */
  readonly headersPath: string | null;
  /** TLS for `https`, over a connection that has just been made; the server is verified by the name. */
  readonly secure: (socket: Socket, name: string) => Promise<Socket>;
}

const services = { traces: "trace.v1.Trace", metrics: "metrics.v1.Metrics", logs: "logs.v1.Logs" } as const;

export type CollectorSignal = keyof typeof services;

interface Channel {
  readonly link: H2Link;
  readonly client: GrpcClient;
}

export class GrpcCollector implements Collector {
  readonly encoding = "protobuf";
  readonly #options: GrpcCollectorOptions;
  readonly #method: MethodDescription<Uint8Array, Uint8Array>;
  #channel: Channel | null = null;

  constructor(options: GrpcCollectorOptions) {
    this.#options = options;
    const path = `/opentelemetry.proto.collector.${services[options.signal]}Service/Export`;
    this.#method = { path, request: rawCodec, response: rawCodec };
  }

  get url(): string {
    return this.#options.url;
  }

  async send(body: Uint8Array): Promise<SendOutcome> {
    try {
      const metadata = await this.#metadata();
      const channel = await this.#open();
      const outcome = await this.#call(channel.client, body, metadata);
      // What it was that failed is not known: a connection that hangs must not be asked again.
      if (outcome.kind === "later") this.#leave(channel);
      return outcome;
    } catch (error) {
      return { kind: "later", reason: asMeshError(error, "io", "upstream").message, afterMs: null };
    }
  }

  #call(client: GrpcClient, body: Uint8Array, metadata: HeaderFields): Promise<SendOutcome> {
    return new Promise((resolve, reject) => {
      let rejected = 0;
      const events = {
        onMessage: (message: Uint8Array) => {
          rejected = rejectedItems(message, "protobuf");
        },
        onEnd: (error: GrpcError | null, trailers: HeaderFields) =>
          resolve(error === null ? { kind: "taken", rejected } : judge(error, trailers)),
      };
      try {
        const stream = client.stream(this.#method, events, {
          metadata,
          timeoutMs: otlpLimits.timeoutMs,
          maxResponseBytes: otlpLimits.maxAnswerBytes,
        });
        stream.send(body);
        stream.end();
      } catch (error) {
        reject(error);
      }
    });
  }

  async #metadata(): Promise<HeaderFields> {
    const { host, headersPath } = this.#options;
    if (headersPath === null) return [];
    const lines = readHeaderLines(await host.files.readText(headersPath), headersPath, otlpLimits.maxHeaders);
    return Object.entries(lines).flatMap(([name, value]) => {
      // Its value is not repeated: it is a secret.
      if (!isCustomMetadata(name) || !/^[\x20-\x7e]*$/.test(value))
        throw new MeshError("configuration", "local", `${headersPath}: ${name} cannot be metadata of gRPC`);
      return [name, value];
    });
  }

  async #open(): Promise<Channel> {
    const known = this.#channel;
    if (known?.client.hasRoom === true && !known.link.over) return known;
    if (known !== null) this.#leave(known);
    const { host, secure } = this.#options;
    const { hostname, port, protocol, host: authority } = new URL(this.#options.url);
    const isTls = protocol === "https:";
    const name = hostname.replace(/^\[|\]$/g, "");
    const target = { host: name, port: port === "" ? (isTls ? 443 : 80) : Number(port) };
    const dialled = await dial(host.net, target, otlpLimits.timeoutMs);
    const socket = isTls ? await secure(dialled, name) : dialled;
    const link = new H2Link(host.clock, socket, { role: "client" }, {});
    const scheme = isTls ? "https" : "http";
    const client = new GrpcClient(link.connection, {
      ...{ authority, scheme, clock: host.clock, userAgent: "fairlead" },
    });
    link.start();
    this.#channel = { link, client };
    return this.#channel;
  }

  #leave(channel: Channel): void {
    channel.link.close();
    if (this.#channel === channel) this.#channel = null;
  }
}

/** The specification's table. RESOURCE_EXHAUSTED is one of them only where the collector says when. */
const retryable: ReadonlySet<GrpcCode> = new Set([
  ...[grpcCode.cancelled, grpcCode.deadlineExceeded, grpcCode.aborted, grpcCode.outOfRange],
  ...[grpcCode.unavailable, grpcCode.dataLoss],
]);

function judge(error: GrpcError, trailers: HeaderFields): SendOutcome {
  const name = Object.entries(grpcCode).find(([, code]) => code === error.code)?.[0] ?? error.code;
  const reason = `the collector answers ${name}: ${error.message}`;
  const afterMs = retryDelayMs(trailers);
  if (retryable.has(error.code) || (error.code === grpcCode.resourceExhausted && afterMs !== null))
    return { kind: "later", reason, afterMs };
  return { kind: "refused", reason };
}

const details = messageCodec(StatusSchema);
const retryInfo = messageCodec(RetryInfoSchema);

/** Of `RetryInfo` in the rich form of the status. @returns null when there is none, or none that can be read. */
function retryDelayMs(trailers: HeaderFields): number | null {
  try {
    const bytes = binaryMetadata(trailers, "grpc-status-details-bin");
    const found =
      bytes === null
        ? undefined
        : details.decode(bytes).details.find(({ typeUrl }) => typeUrl.endsWith("/google.rpc.RetryInfo"));
    if (found === undefined) return null;
    const { retryDelay } = retryInfo.decode(found.value);
    if (retryDelay === undefined) return null;
    const delayMs = Number(retryDelay.seconds) * 1000 + retryDelay.nanos / 1e6;
    return Math.min(Math.max(0, delayMs), otlpLimits.maxRetryAfterMs);
  } catch {
    return null;
  }
}
