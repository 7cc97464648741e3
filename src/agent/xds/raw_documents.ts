/**
 * Istio's own resources as a control plane has them (MCP over xDS, istiod `pilot/pkg/networking/apigen/apigen.go`):
 * read as far as their names, bodies as bytes.
 */
import { joinLimits } from "../../base/limits/agent.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Delivery, DeltaResource, RejectedResource } from "../../wire/ads/delta.ts";
import { ResourceSchema } from "../../wire/messages/istio_mcp.gen.ts";
import { decodeMessage } from "../../wire/messages/message.ts";
import type { ResourceHandler } from "./resource_handler.ts";

export interface RawDocument {
  /** `networking.istio.io/v1/VirtualService`. */
  readonly type: string;
  readonly namespace: string;
  readonly name: string;
  /** The control plane's; "" when it gives none. */
  readonly version: string;
  /** Milliseconds since the Unix epoch; null when it is not told. Precedence among documents goes by it. */
  readonly createdAtMs: number | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** The type of the message that is the `spec`, without a prefix: `istio.networking.v1alpha3.VirtualService`. */
  readonly bodyType: string;
  /** That message, encoded. */
  readonly body: Uint8Array;
}

interface Held {
  readonly resource: DeltaResource;
  readonly document: RawDocument;
}

export class RawDocuments implements ResourceHandler {
  readonly typeUrl: string;
  readonly #held = new Map<string, Held>();
  readonly #documents = new WatchSource<readonly RawDocument[]>([]);
  #bytes = 0;

  /** @param type without `type.googleapis.com/`: istiod's "api" generator wants it so. */
  constructor(type: string) {
    this.typeUrl = type;
  }

  /** All of this type, told once for each answer of the control plane. */
  get documents(): Watch<readonly RawDocument[]> {
    return this.#documents;
  }

  *resources(): Iterable<DeltaResource> {
    for (const { resource } of this.#held.values()) yield resource;
  }

  apply({ resources, removed }: Delivery): readonly RejectedResource[] {
    const rejected: RejectedResource[] = [];
    for (const name of removed) this.#forget(name);
    for (const resource of resources) {
      const reason = this.#take(resource);
      if (reason !== null) rejected.push({ name: resource.name, reason });
    }
    this.#documents.set([...this.#held.values()].map(({ document }) => document));
    return rejected;
  }

  /** @returns why not; what was held under its name stays then. */
  #take(resource: DeltaResource): string | null {
    const bytes = resource.resource?.value ?? new Uint8Array();
    if (!this.#held.has(resource.name) && this.#held.size >= joinLimits.maxDocuments)
      return `this host holds ${joinLimits.maxDocuments} documents, which is the limit`;
    if (this.#bytes + bytes.length > joinLimits.maxResourceBytes)
      return `this host holds ${this.#bytes} bytes of documents, which is the limit`;
    const document = readDocument(this.typeUrl, bytes);
    if (typeof document === "string") return document;
    this.#forget(resource.name);
    this.#held.set(resource.name, { resource, document });
    this.#bytes += bytes.length;
    return null;
  }

  #forget(name: string): void {
    const held = this.#held.get(name);
    if (held === undefined) return;
    this.#held.delete(name);
    this.#bytes -= held.resource.resource?.value.length ?? 0;
  }
}

/** @returns why it is none. */
function readDocument(type: string, bytes: Uint8Array): RawDocument | string {
  let resource: ReturnType<typeof decodeMessage<typeof ResourceSchema>>;
  try {
    resource = decodeMessage(ResourceSchema, bytes);
  } catch {
    return "the bytes are not an istio.mcp.v1alpha1.Resource";
  }
  const { metadata, body } = resource;
  if (metadata === undefined || body === undefined) return "it lacks metadata or a body";
  // A name of the cluster alone has no namespace.
  const slash = metadata.name.indexOf("/");
  const name = metadata.name.slice(slash + 1);
  if (name === "") return "it has no name";
  const { createTime } = metadata;
  return {
    type,
    namespace: slash === -1 ? "" : metadata.name.slice(0, slash),
    name,
    version: metadata.version,
    createdAtMs:
      createTime === undefined
        ? null
        : Number(createTime.seconds) * 1000 + Math.trunc(createTime.nanos / 1e6),
    labels: metadata.labels,
    annotations: metadata.annotations,
    bodyType: body.typeUrl.slice(body.typeUrl.lastIndexOf("/") + 1),
    body: body.value,
  };
}
