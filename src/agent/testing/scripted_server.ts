/** A control plane's end of ADS streams that a test plays by hand. */
import { assert } from "../../base/assert.ts";
import type { MeshError } from "../../base/errors.ts";
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from "../../wire/messages/envoy_discovery.gen.ts";
import { DeltaDiscoveryResponseSchema } from "../../wire/messages/envoy_discovery.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import type { AdsEvents, OpenAdsStream } from "../xds/ads_stream.ts";

export interface Sent {
  readonly name: string;
  readonly version?: string;
  readonly value: Uint8Array;
}

export class ScriptedServer {
  /** Thrown by the next opens. */
  fault: MeshError | null = null;
  /** `control_plane.identifier`. */
  identifier = "istiod-1";
  opened = 0;
  cancelled = 0;
  requests: DeltaDiscoveryRequest[] = [];
  #events: AdsEvents | null = null;
  #nonce = 0;
  isPaused = false;
  /** What came while it was paused. */
  #held: (() => void)[] = [];

  readonly open: OpenAdsStream = async (events) => {
    this.opened++;
    if (this.fault !== null) throw this.fault;
    this.#events = events;
    this.requests = [];
    this.isPaused = false;
    this.#held = [];
    return {
      send: (request) => void this.requests.push(request),
      cancel: () => {
        this.cancelled++;
        this.#held = [];
      },
      pause: () => {
        this.isPaused = true;
      },
      resume: () => {
        this.isPaused = false;
        while (!this.isPaused) {
          const next = this.#held.shift();
          if (next === undefined) break;
          next();
        }
      },
    };
  };

  /** @returns the nonce. */
  push(typeUrl: string, resources: readonly Sent[], removedResources: readonly string[] = []): string {
    const nonce = `n${++this.#nonce}`;
    const { events } = this;
    this.#deliver(() => events.onResponse(this.response(typeUrl, nonce, resources, removedResources)));
    return nonce;
  }

  response(
    typeUrl: string,
    nonce: string,
    resources: readonly Sent[],
    removedResources: readonly string[] = [],
  ): DeltaDiscoveryResponse {
    return newMessage(DeltaDiscoveryResponseSchema, {
      typeUrl,
      nonce,
      controlPlane: { identifier: this.identifier },
      removedResources: [...removedResources],
      resources: resources.map(({ name, version = "1", value }) => ({
        name,
        version,
        resource: { typeUrl, value },
      })),
    });
  }

  /** Of the stream that is open. */
  get events(): AdsEvents {
    assert(this.#events !== null, "a stream is open");
    return this.#events;
  }

  end(error: MeshError | null): void {
    const { events } = this;
    this.#deliver(() => events.onEnd(error));
  }

  #deliver(event: () => void): void {
    if (this.isPaused) this.#held.push(event);
    else event();
  }

  /** The answer to a response: null when there is none yet, "" for an ACK, else what was refused. */
  answer(nonce: string): string | null {
    const request = this.requests.find(({ responseNonce }) => responseNonce === nonce);
    return request === undefined ? null : (request.errorDetail?.message ?? "");
  }
}
