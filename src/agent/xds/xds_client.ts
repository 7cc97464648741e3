/**
 * Keeps one delta ADS stream to a control plane: asks for what the handlers take, hands each response whole to its handler, answers
 * it, and begins again when the stream ends. What was taken stays while the control plane is away.
 */

import { backoffMs } from "../../base/backoff.ts";
import { MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import type { Logger } from "../../base/log.ts";
import { describeVersionSkew, versionSkew } from "../../base/version_skew.ts";
import type { Clock, Random, Timer } from "../../host/host.ts";
import { DeltaClient } from "../../wire/ads/client.ts";
import {
  controlPlanePrefix,
  type DeltaRequest,
  type DeltaResource,
  type RejectedResource,
} from "../../wire/ads/delta.ts";
import type { Node } from "../../wire/messages/envoy_core.gen.ts";
import {
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from "../../wire/messages/envoy_discovery.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import type { AdsStream, OpenAdsStream } from "./ads_stream.ts";
import type { ResourceHandler } from "./resource_handler.ts";
import { describeTypes, type XdsStatus } from "./xds_status.ts";

export interface XdsClientOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly open: OpenAdsStream;
  /** `HOST:PORT`, for people. */
  readonly server: string;
  /** What it brings, for people; the mesh. */
  readonly subject?: string;
  readonly node: () => Node;
  /** In the order they are asked for: policies before the workloads that name them. */
  readonly handlers: readonly ResourceHandler[];
  /** Asked for once the server has said that it is one of ours; another would end the stream over a type it does not know. */
  readonly ownHandlers?: readonly ResourceHandler[];
  /** After each response that changed what is held. */
  readonly onChange?: () => void;
  /** When a stream has brought its first answer. @param identifier what the server calls itself; "" when it does not say. */
  readonly onConnected?: (identifier: string) => void;
}

export class XdsClient {
  /** When every type of `handlers` had an answer that could be used, or was restored. */
  readonly ready: Promise<void>;
  readonly #options: XdsClientOptions;
  readonly #client: DeltaClient;
  readonly #handlers = new Map<string, ResourceHandler>();
  /** Types asked for, in order. */
  readonly #asked = new Set<string>();
  readonly #answered = new Set<string>();
  /** Types that the stream of now has brought something of. */
  readonly #heard = new Set<string>();
  readonly #becomeReady: () => void;
  #isReady = false;
  #stream: AdsStream | null = null;
  /** Counts streams: what comes late from one that is gone is known by it. */
  #generation = 0;
  #openedAt = 0;
  #timer: Timer | null = null;
  #failures = 0;
  #told = false;
  #closed = false;
  #restored = false;
  #status: Omit<XdsStatus, "types" | "current" | "ready"> = {
    connected: false,
    sinceMs: null,
    lastAnswerMs: null,
    identifier: null,
    error: null,
    attempts: 0,
  };

  constructor(options: XdsClientOptions) {
    this.#options = options;
    for (const handler of [...options.handlers, ...(options.ownHandlers ?? [])])
      this.#handlers.set(handler.typeUrl, handler);
    this.#client = new DeltaClient(
      options.handlers.map(({ typeUrl }) => ({ typeUrl, mode: "wildcard" as const })),
    );
    for (const { typeUrl } of options.handlers) this.#asked.add(typeUrl);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#becomeReady = resolve;
  }

  /**
   * Takes resources of an earlier time as if they had just been accepted: the server is told of them and sends what differs. Before
   * `start`, and one type after the other in the order of `handlers`.
   */
  async restore(typeUrl: string, resources: readonly DeltaResource[]): Promise<readonly RejectedResource[]> {
    const handler = this.#handlers.get(typeUrl);
    if (handler === undefined) return [];
    // Not connected: the request this gives is not sent.
    this.#addType(typeUrl);
    const delivery = this.#client.onResponse({ typeUrl, nonce: "", resources, removedResources: [] });
    if (delivery === null) return [];
    const rejected = await handler.apply(delivery, false);
    this.#client.acknowledge(delivery, rejected);
    this.#restored = true;
    this.#markAnswered(handler);
    return rejected;
  }

  start(): void {
    this.#client.disconnect();
    void this.#connect();
  }

  /** Takes nothing more of the stream until a delivery that takes a while is in force here. */
  holdUp(until: Promise<unknown>): void {
    const stream = this.#stream;
    stream?.pause();
    // One turn of promises later: what waits for the same has answered by then.
    void until.then(() => Promise.resolve()).then(() => stream?.resume());
  }

  close(): void {
    this.#closed = true;
    this.#generation++;
    this.#timer?.cancel();
    this.#stream?.cancel();
    this.#stream = null;
  }

  /** Ends the stream, if there is one, and begins another at once: with other credentials, say. */
  reconnect(): void {
    this.#stream?.cancel();
    this.#ended(null, "our own wish");
  }

  status(): XdsStatus {
    return {
      ...this.#status,
      ready: this.#isReady,
      current: this.#client.current && this.#status.connected,
      types: describeTypes(this.#client, [...this.#asked]),
    };
  }

  async #connect(): Promise<void> {
    const generation = ++this.#generation;
    const isOurs = (): boolean => generation === this.#generation && !this.#closed;
    this.#status = { ...this.#status, attempts: this.#status.attempts + 1 };
    this.#openedAt = this.#options.clock.now();
    this.#timer = this.#options.clock.setTimer(joinLimits.firstAnswerTimeoutMs, () => {
      if (!isOurs()) return;
      this.#stream?.cancel();
      this.#ended(new MeshError("connect_timeout", "upstream", "it did not answer in time"));
    });
    try {
      const stream = await this.#options.open({
        onResponse: (response) => {
          if (isOurs()) this.#receive(response, isOurs);
        },
        onEnd: (error) => {
          if (isOurs()) this.#ended(error);
        },
      });
      if (!isOurs()) {
        stream.cancel();
        return;
      }
      this.#stream = stream;
      for (const request of this.#client.connect()) this.#send(request, true);
    } catch (thrown) {
      // A bug is not something to come back to every few seconds.
      if (!(thrown instanceof MeshError)) throw thrown;
      if (isOurs()) this.#ended(thrown);
    }
  }

  #ended(error: MeshError | null, why: "theirs" | "our own wish" = "theirs"): void {
    const { clock, random } = this.#options;
    this.#generation++;
    this.#timer?.cancel();
    this.#stream = null;
    this.#heard.clear();
    const wasConnected = this.#status.connected;
    this.#client.disconnect();
    this.#status = {
      ...this.#status,
      connected: false,
      sinceMs: wasConnected ? clock.wallMs() : (this.#status.sinceMs ?? clock.wallMs()),
      error: error?.message ?? (wasConnected ? null : "it ended the stream without an answer"),
    };
    // A server that closes in order after it has served (its own drain, a limit of age) is come back to at once, as ztunnel does.
    const steady = wasConnected && clock.now() - this.#openedAt >= joinLimits.steadyMs;
    this.#failures = steady || why === "our own wish" ? 1 : this.#failures + 1;
    const delayMs = backoffMs(this.#failures, joinLimits, random.float());
    if (why === "theirs") this.#tellLost(error, wasConnected);
    if (!this.#closed) this.#timer = clock.setTimer(delayMs, () => void this.#connect());
  }

  /** Once when it goes away, not once a try; the status has the newest reason. */
  #tellLost(error: MeshError | null, wasConnected: boolean): void {
    const { logger, server, subject = "mesh" } = this.#options;
    const reason = error?.message ?? "it ended the stream";
    const fields = { server, reason };
    if (this.#told) {
      logger.log("debug", "xds", "there is still no stream to the control plane", {
        ...fields,
        tries: this.#failures,
      });
      return;
    }
    this.#told = true;
    const meaning = this.#isReady
      ? `the control plane is away; the last ${subject} from it stays in force; trying again`
      : "the control plane cannot be reached yet; trying again";
    logger.log(wasConnected && error === null ? "info" : "warn", "xds", meaning, fields);
  }

  #receive(response: DeltaDiscoveryResponse, isOurs: () => boolean): void {
    this.#markConnected(response);
    const handler = this.#handlers.get(response.typeUrl);
    const delivery = this.#client.onResponse(response);
    if (handler === undefined || delivery === null) {
      this.#options.logger.log("warn", "xds", "the control plane sent a type that was not asked for", {
        type: response.typeUrl,
      });
      this.#send(this.#client.acknowledgeUnknown(response), false);
      return;
    }
    const answer = (rejected: readonly RejectedResource[]): void => {
      // Of a stream that is gone nothing is acknowledged: the next one is told the versions held before, and sends it again.
      if (!isOurs()) return;
      this.#send(this.#client.acknowledge(delivery, rejected), false);
      for (const { name, reason } of rejected.slice(0, joinLimits.maxRefusalsLogged))
        this.#options.logger.log(
          "warn",
          "xds",
          "a resource was refused; the rest of its response is in force",
          {
            type: response.typeUrl,
            resource: name,
            reason: reason.slice(0, joinLimits.maxReasonChars),
          },
        );
      this.#markAnswered(handler);
      this.#options.onChange?.();
    };
    const isFirst = !this.#heard.has(handler.typeUrl);
    this.#heard.add(handler.typeUrl);
    const result = handler.apply(delivery, isFirst);
    // Most are in force when `apply` returns; only then are two responses of one turn answered in their order.
    if (result instanceof Promise) void result.then(answer);
    else answer(result);
  }

  #markConnected(response: DeltaDiscoveryResponse): void {
    const { clock, logger, server, ownHandlers = [] } = this.#options;
    const nowMs = clock.wallMs();
    const identifier = response.controlPlane?.identifier ?? "";
    this.#status = { ...this.#status, lastAnswerMs: nowMs };
    if (this.#status.connected) return;
    this.#timer?.cancel();
    logger.log("info", "xds", "connected to the control plane", { server, identifier });
    this.#told = false;
    this.#status = { ...this.#status, connected: true, sinceMs: nowMs, identifier, error: null };
    this.#options.onConnected?.(identifier);
    this.#tellOfSkew(identifier);
    if (!identifier.startsWith(controlPlanePrefix)) {
      for (const { typeUrl } of ownHandlers) {
        this.#client.removeType(typeUrl);
        this.#asked.delete(typeUrl);
      }
      return;
    }
    for (const { typeUrl } of ownHandlers) {
      const request = this.#addType(typeUrl);
      if (request !== null) this.#send(request, true);
    }
  }

  #tellOfSkew(identifier: string): void {
    const { logger, node } = this.#options;
    if (!identifier.startsWith(controlPlanePrefix)) return;
    const { case: kind, value = "" } = node().userAgentVersionType;
    const own = kind === "userAgentVersion" ? value : "";
    const control = identifier.slice(controlPlanePrefix.length);
    const apart = versionSkew(control, own);
    if (apart !== null) logger.log("error", "xds", describeVersionSkew(own, control, apart));
  }

  #addType(typeUrl: string): DeltaRequest | null {
    this.#asked.add(typeUrl);
    return this.#client.addType({ typeUrl, mode: "wildcard" });
  }

  /** With refused resources too: a workload that cannot be read is not reached, and a policy has its stand-in. */
  #markAnswered(handler: ResourceHandler): void {
    this.#answered.add(handler.typeUrl);
    if (this.#isReady || !this.#options.handlers.every(({ typeUrl }) => this.#answered.has(typeUrl))) return;
    this.#isReady = true;
    if (!this.#restored)
      this.#options.logger.log(
        "info",
        "xds",
        `everything was received from the control plane (${this.#options.subject ?? "mesh"})`,
        {
          server: this.#options.server,
        },
      );
    this.#becomeReady();
  }

  /** @param first of its type on this stream: the node goes with it (ztunnel `construct_initial_request`). */
  #send(request: DeltaRequest, first: boolean): void {
    const node = first ? { node: this.#options.node() } : {};
    this.#stream?.send(newMessage(DeltaDiscoveryRequestSchema, { ...withoutUndefined(request), ...node }));
  }
}

function withoutUndefined({ errorDetail, ...request }: DeltaRequest) {
  return errorDetail === undefined ? request : { ...request, errorDetail };
}
