/**
 * Istio's own documents from a real istiod, for the waypoint, which takes its routes and policies from there when its mesh is not
 * ours. A stream of its own: istiod ends one over a type that the caller may not have
 * (ENABLE_XDS_API_GENERATOR_AUTH), and addresses and policies must not end with it.
 */
import type { Watch } from "../../base/watch.ts";
import type { Node } from "../../wire/messages/envoy_core.gen.ts";
import { type RawDocument, RawDocuments } from "./raw_documents.ts";
import { XdsClient, type XdsClientOptions } from "./xds_client.ts";
import type { XdsStatus } from "./xds_status.ts";

/** What a waypoint may want, in istiod's words (`pkg/config/schema/gvk`). */
export const waypointDocumentTypes = [
  "networking.istio.io/v1/VirtualService",
  "networking.istio.io/v1/DestinationRule",
  "networking.istio.io/v1/ServiceEntry",
  "networking.istio.io/v1/Gateway",
  "security.istio.io/v1/AuthorizationPolicy",
  "security.istio.io/v1/RequestAuthentication",
  "security.istio.io/v1/PeerAuthentication",
  "telemetry.istio.io/v1/Telemetry",
  "networking.istio.io/v1alpha3/EnvoyFilter",
  "extensions.istio.io/v1alpha1/WasmPlugin",
] as const;

export type DocumentClientOptions = Pick<
  XdsClientOptions,
  "clock" | "random" | "logger" | "open" | "server"
> & {
  /** With `GENERATOR: api` in its metadata. */
  readonly node: () => Node;
  readonly types: readonly string[];
};

export class DocumentClient {
  /** When every type had an answer. Never for a caller that may not have them: see `status`. */
  readonly ready: Promise<void>;
  readonly #client: XdsClient;
  readonly #types: ReadonlyMap<string, RawDocuments>;

  constructor({ types, ...options }: DocumentClientOptions) {
    this.#types = new Map(types.map((type) => [type, new RawDocuments(type)]));
    this.#client = new XdsClient({
      ...options,
      subject: "documents",
      handlers: [...this.#types.values()],
    });
    this.ready = this.#client.ready;
  }

  start(): void {
    this.#client.start();
  }

  /** Null for a type that was not asked for. */
  documents(type: string): Watch<readonly RawDocument[]> | null {
    return this.#types.get(type)?.documents ?? null;
  }

  status(): XdsStatus {
    return this.#client.status();
  }

  close(): void {
    this.#client.close();
  }
}
