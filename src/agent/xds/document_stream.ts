/** The stream that brings a waypoint its documents: from a control plane of ours as they were written, from a real istiod as its resources. */
import { controlPlanePrefix, type DeltaResource, documentType, layer7Field } from "../../wire/ads/delta.ts";
import type { HeldDocuments } from "./held_documents.ts";
import { istioDocuments } from "./istio_documents.ts";
import type { ResourceHandler } from "./resource_handler.ts";
import { WaypointDocumentResources } from "./waypoint_documents.ts";
import { XdsClient, type XdsClientOptions } from "./xds_client.ts";
import type { NodeKind } from "./xds_node.ts";

export interface DocumentStreamOptions {
  /** @param more metadata of the node. */
  readonly stream: (
    more: Readonly<Record<string, string>>,
    kind?: NodeKind,
  ) => Pick<XdsClientOptions, "clock" | "random" | "logger" | "open" | "server" | "node">;
  readonly held: HeldDocuments;
  /** `namespace/name`: the documents are for this workload, whose tunnel has the application inside; null for a waypoint. */
  readonly forWorkload: string | null;
  readonly onChange: () => void;
}

export class DocumentStream {
  readonly #options: DocumentStreamOptions;
  readonly #ours: XdsClient;
  readonly #istio: XdsClient;
  /** What is held, for what is kept from one run to the next. */
  readonly handlers: readonly ResourceHandler[];
  #followed: XdsClient | null = null;

  constructor(options: DocumentStreamOptions) {
    this.#options = options;
    const { stream, held, forWorkload, onChange } = options;
    const { clock } = stream({});
    const ours = [new WaypointDocumentResources(clock, held)];
    const theirs = istioDocuments(clock, held);
    this.handlers = [...ours, ...theirs];
    const more = forWorkload === null ? {} : { [layer7Field]: forWorkload };
    const subject = "documents";
    this.#ours = new XdsClient({ ...stream(more), subject, handlers: ours, onChange });
    // As who is no ztunnel: istiod works out which services a node may see for every kind but that one, and the whole istiod ends
    // (a nil pointer in `APIGenerator.Generate`) when a ztunnel asks for ServiceEntries.
    const asWaypoint = stream({ GENERATOR: "api" }, "waypoint");
    this.#istio = new XdsClient({ ...asWaypoint, subject, handlers: theirs, onChange });
  }

  /** As an earlier run has kept them. */
  async restore(kept: (typeUrl: string) => readonly DeltaResource[] | undefined): Promise<void> {
    for (const { typeUrl } of this.handlers) {
      const resources = kept(typeUrl);
      if (resources === undefined) continue;
      const client = typeUrl === documentType ? this.#ours : this.#istio;
      await client.restore(typeUrl, resources);
    }
  }

  /** Once it is known who the control plane is; after that it stays what it was. @param identifier what it calls itself. */
  follow(identifier: string): void {
    if (this.#followed !== null) return;
    const isOurs = identifier.startsWith(controlPlanePrefix);
    const { forWorkload, stream } = this.#options;
    if (!isOurs && forWorkload !== null) {
      // Which documents select the workload goes by its labels, which istiod tells no tunnel.
      const message = `--l7 ${forWorkload} needs documents of fairlead control, or in files`;
      stream({}).logger.log("error", "xds", message, { control: identifier });
      return;
    }
    this.#followed = isOurs ? this.#ours : this.#istio;
    this.#followed.start();
  }

  reconnect(): void {
    this.#followed?.reconnect();
  }

  close(): void {
    this.#ours.close();
    this.#istio.close();
  }
}
