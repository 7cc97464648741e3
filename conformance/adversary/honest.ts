/** Callers that mean well, at both doors, again and again: what they see while somebody else attacks. */
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "../../src/base/log.ts";
import { H2Link } from "../../src/transport/h2_link.ts";
import { RpcChannel } from "../../src/transport/rpc/channel.ts";
import { addressType, wildcardName } from "../../src/wire/ads/delta.ts";
import { aggregatedDiscovery } from "../../src/wire/grpc/services.ts";
import type { H2StreamEvents } from "../../src/wire/h2/stream.ts";
import { connectHeaders } from "../../src/wire/hbone.ts";
import { DeltaDiscoveryRequestSchema } from "../../src/wire/messages/envoy_discovery.gen.ts";
import { hangMs } from "../peer/lab/eventually.ts";
import { type DoorName, host, type Stage } from "./stage.ts";

export interface Seen {
  readonly served: number;
  /** Of those: over a connection that was new. */
  readonly newConnections: number;
  readonly refused: readonly string[];
  readonly slowestMs: number;
}

/** One call after the other, every other one over a new connection. */
export class HonestCaller {
  readonly #stage: Stage;
  readonly #door: DoorName;
  #link: H2Link | null = null;
  #stopping = false;
  #served = 0;
  #newConnections = 0;
  #slowestMs = 0;
  readonly #refused: string[] = [];
  readonly #done: Promise<void>;

  constructor(stage: Stage, door: DoorName) {
    this.#stage = stage;
    this.#door = door;
    this.#done = this.#run();
  }

  async stop(): Promise<Seen> {
    this.#stopping = true;
    await this.#done;
    this.#link?.close();
    return {
      served: this.#served,
      newConnections: this.#newConnections,
      refused: this.#refused,
      slowestMs: this.#slowestMs,
    };
  }

  async #run(): Promise<void> {
    for (let turn = 0; !this.#stopping; turn++) {
      const startedMs = performance.now();
      try {
        if (this.#door === "node") await this.#callApplication(turn % 2 === 0);
        else await this.#readMesh();
        this.#served++;
      } catch (error) {
        this.#refused.push(error instanceof Error ? error.message : String(error));
      }
      this.#slowestMs = Math.max(this.#slowestMs, performance.now() - startedMs);
      await Bun.sleep(20);
    }
  }

  /** Through the node to the application, and back. */
  async #callApplication(isNew: boolean): Promise<void> {
    if (isNew || this.#link === null || this.#link.over) {
      this.#link?.close();
      const socket = await this.#stage.tls("node", this.#stage.member);
      this.#link = new H2Link(host.clock, socket, { role: "client" }, {});
      this.#link.start();
      this.#newConnections++;
    }
    const authority = `127.0.0.1:${this.#stage.ports.application}`;
    const text = await echo(this.#link, authority);
    if (text !== "hello") throw new Error(`the application answered ${JSON.stringify(text)}`);
  }

  /** A whole xDS stream: connection, token, subscription, the first answer. */
  async #readMesh(): Promise<void> {
    this.#newConnections++;
    const channel = new RpcChannel({
      host,
      logger: silentLogger,
      target: { host: "127.0.0.1", port: this.#stage.ports.control },
      tls: () => ({
        credentials: { certificateChainPem: "", privateKeyPem: "", trustedRootsPem: "" },
        serverName: "127.0.0.1",
        verify: async () => {},
      }),
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const metadata = ["authorization", `Bearer ${await this.#stage.token()}`];
    const timer = setTimeout(() => reject(new Error("no answer")), hangMs);
    try {
      const events = {
        onMessage: () => resolve(),
        onEnd: (status: unknown) => reject(new Error(`the stream ended: ${JSON.stringify(status)}`)),
        onHeaders() {},
        onWritable() {},
      };
      const stream = await channel.stream(aggregatedDiscovery.delta, events, { metadata });
      stream.send(
        create(DeltaDiscoveryRequestSchema, {
          node: { id: "ztunnel~127.0.0.1~honest.shop~shop.svc.cluster.local" },
          typeUrl: addressType,
          resourceNamesSubscribe: [wildcardName],
        }),
      );
      await promise;
    } finally {
      clearTimeout(timer);
      channel.close();
    }
  }
}

function echo(link: H2Link, authority: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const timer = setTimeout(() => reject(new Error("no answer")), hangMs);
  const events: H2StreamEvents = {
    onHeaders(headers) {
      if (headers[1] === "200") stream?.sendData(new TextEncoder().encode("hello"), false);
      else reject(new Error(`answered ${headers[1]}`));
    },
    onData(bytes) {
      stream?.consume(bytes.length);
      resolve(new TextDecoder().decode(bytes));
      stream?.reset(0);
    },
    onTrailers() {},
    onWritable() {},
    onClose: () => reject(new Error("the stream ended")),
    onReset: (_code, _initiator, error) => reject(error),
  };
  const headers = connectHeaders({
    authority,
    baggage: null,
    forwarded: null,
    traceparent: null,
    forwardedNetwork: null,
  });
  const stream = link.connection.request(headers, false, events);
  if (stream === null) reject(new Error("the tunnel takes no more"));
  return promise.finally(() => clearTimeout(timer));
}
