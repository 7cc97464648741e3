/** An xDS server with streams that a test holds both ends of. */
import { assert } from "../../../base/assert.ts";
import { silentLogger } from "../../../base/log.ts";
import { WatchSource } from "../../../base/watch.ts";
import { nodeNamespace, SpiffeId } from "../../../mesh/identity.ts";
import { MeshStore } from "../../../mesh/store/store.ts";
import { ip } from "../../../mesh/testing/fixture.ts";
import type { TrustBundle } from "../../../pki/trust/trust_bundle.ts";
import type { MethodDescription } from "../../../wire/grpc/method.ts";
import type { ServerStream, StreamEvents, StreamHandler } from "../../../wire/grpc/server_stream.ts";
import { aggregatedDiscovery } from "../../../wire/grpc/services.ts";
import type { GrpcError } from "../../../wire/grpc/status.ts";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from "../../../wire/messages/envoy_discovery.gen.ts";
import { type MessageInitShape, newMessage } from "../../../wire/messages/message.ts";
import type { CallPeer } from "../../identity/call_credentials.ts";
import type { Caller } from "../../identity/caller.ts";
import { XdsServer, type XdsServerOptions } from "../server.ts";
import { ManualClock } from "./manual_clock.ts";

type Request = DeltaDiscoveryRequest;
type Response = DeltaDiscoveryResponse;

export class XdsLab {
  readonly clock: ManualClock;
  readonly store: MeshStore;
  readonly bundle = new WatchSource<TrustBundle>({ rootsPem: "root 1", crls: [] });
  readonly server: XdsServer;
  /** What the authenticator says; a rejection refuses. */
  authenticate: (authorization: string | null) => Promise<Caller> = async (name) =>
    nodeCaller(name ?? "edge-1");
  #handler: StreamHandler<Request, Response, CallPeer> | null = null;

  constructor(options: Partial<XdsServerOptions> & { readonly clock?: ManualClock } = {}) {
    this.clock = options.clock ?? new ManualClock();
    this.store = options.store ?? new MeshStore();
    this.server = new XdsServer({
      clock: this.clock,
      logger: silentLogger,
      store: this.store,
      bundle: this.bundle,
      authenticator: { authenticate: ({ authorization }) => this.authenticate(authorization) },
      version: "test",
      ...options,
    });
    this.server.register({
      stream: (_method: unknown, handler: unknown) => {
        this.#handler = handler as StreamHandler<Request, Response, CallPeer>;
        return undefined as never;
      },
    });
  }

  /** From now on each slice of long work is over at once, until `finish` lets the work come to its end. */
  slices(): { finish(): Promise<void> } {
    this.clock.costOfLookMs = 10;
    return {
      finish: async () => {
        this.clock.costOfLookMs = 0;
        for (let round = 0; round < 10; round++) {
          this.clock.advance(0);
          await settle();
        }
      },
    };
  }

  /** Opens a stream. @param name what the authenticator is shown. */
  open(name: string, address = "10.0.0.1"): LabStream {
    assert(this.#handler !== null, "the server registered no stream");
    return new LabStream(this.#handler, name, address);
  }
}

export class LabStream implements ServerStream<Request, Response, CallPeer> {
  readonly peer: CallPeer;
  readonly metadata: string[];
  readonly deadlineMs = null;
  readonly cancelled = new AbortController().signal;
  readonly method: MethodDescription<Request, Response> = aggregatedDiscovery.delta;
  aboveHighWater = false;
  /** Responses that the client has not taken yet. */
  readonly responses: Uint8Array[] = [];
  /** Null while it is open, or when it ended without one. */
  error: GrpcError | null = null;
  ended = false;
  readonly #events: StreamEvents<Request>;
  readonly #held: Request[] = [];
  #paused = false;

  constructor(handler: StreamHandler<Request, Response, CallPeer>, name: string, address: string) {
    this.peer = { remote: { ip: ip(address), port: 1 }, chain: [] };
    this.metadata = ["authorization", name];
    this.#events = handler(this);
  }

  /** The client sends. */
  request(fields: MessageInitShape<typeof DeltaDiscoveryRequestSchema>): void {
    const request = newMessage(DeltaDiscoveryRequestSchema, fields);
    if (this.#paused) this.#held.push(request);
    else if (!this.ended) this.#events.onMessage(request);
  }

  /** The client has taken the oldest response. */
  take(): Response | null {
    const bytes = this.responses.shift();
    return bytes === undefined ? null : this.method.response.decode(bytes);
  }

  room(): void {
    this.aboveHighWater = false;
    if (!this.ended) this.#events.onWritable();
  }

  /** The connection is lost. */
  lose(): void {
    if (this.ended) return;
    this.ended = true;
    this.#events.onClose();
  }

  send(message: Response): boolean {
    return this.sendEncoded(this.method.response.encode(message));
  }

  sendEncoded(bytes: Uint8Array): boolean {
    this.responses.push(bytes);
    return !this.aboveHighWater;
  }

  end(error?: GrpcError): void {
    if (this.ended) return;
    this.ended = true;
    this.error = error ?? null;
    this.#events.onClose();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    for (const request of this.#held.splice(0)) if (!this.ended) this.#events.onMessage(request);
  }
}

export function nodeCaller(node: string): Caller {
  const registration = {
    ...{ node, binding: { kind: "node", node }, addresses: [], network: "", labels: {} },
    ...{ joinedAtMs: 0, lastSeenMs: 0, tokenId: null, revokedAtMs: null, revokeReason: null },
  };
  return {
    kind: "node",
    id: new SpiffeId("cluster.local", nodeNamespace, node),
    node,
    registration: registration as never,
    serialNumber: "01",
    credential: "valid",
  };
}

export function nodeOf(name: string, metadata: Readonly<Record<string, string>> = {}) {
  return { id: `ztunnel~10.0.0.1~${name}.~.svc.cluster.local`, metadata: { NODE_NAME: name, ...metadata } };
}

/** Lets promises that are settled be heard of. */
export async function settle(): Promise<void> {
  for (let round = 0; round < 10; round++) await Promise.resolve();
}
