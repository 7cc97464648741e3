/** The stream under the xDS client, as the client sees it: messages one way, messages and one end the other. */
import type { MeshError } from "../../base/errors.ts";
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from "../../wire/messages/envoy_discovery.gen.ts";

export interface AdsEvents {
  onResponse(response: DeltaDiscoveryResponse): void;
  /** Once, last; null when the server ended the stream in order. Not after `cancel`. */
  onEnd(error: MeshError | null): void;
}

export interface AdsStream {
  send(request: DeltaDiscoveryRequest): void;
  /** No event until `resume`; the server is held up by flow control. */
  pause(): void;
  resume(): void;
  cancel(): void;
}

/** Opens a stream on a connection that is there or is made. @throws MeshError what keeps it from being made. */
export type OpenAdsStream = (events: AdsEvents) => Promise<AdsStream>;
