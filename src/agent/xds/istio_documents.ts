/**
 * Istio's own documents from a real istiod, for a waypoint in its mesh (MCP over xDS, `pilot/pkg/networking/apigen/apigen.go`). A body is a
 * message; it is read as the same document in YAML would be, so that one reader judges both. Over a stream of its own: istiod ends one over
 * documents that the caller may not have (ENABLE_XDS_API_GENERATOR_AUTH), and addresses and policies must not end with it.
 */
import { faultOf } from "../../base/errors.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Clock } from "../../host/host.ts";
import type { Delivery, DeltaResource, RejectedResource } from "../../wire/ads/delta.ts";
import { ResourceSchema } from "../../wire/messages/istio_mcp.gen.ts";
import { istioSpec } from "../../wire/messages/istio_specs.ts";
import { decodeMessage, type JsonValue } from "../../wire/messages/message.ts";
import type { HeldDocuments } from "./held_documents.ts";
import type { ResourceHandler } from "./resource_handler.ts";
import { readText } from "./waypoint_documents.ts";

/** What is asked for, in istiod's words (`pkg/config/schema/gvk`). Routes of the Gateway API come as the VirtualServices that it makes of them. */
export const istioDocumentTypes = [
  "security.istio.io/v1/AuthorizationPolicy",
  "security.istio.io/v1/RequestAuthentication",
  "networking.istio.io/v1/VirtualService",
  "networking.istio.io/v1/DestinationRule",
  "networking.istio.io/v1/ServiceEntry",
  "telemetry.istio.io/v1/Telemetry",
] as const;

/** A handler for each type. Nothing is in force before each had its answer: to have no policy is not said by mistake. */
export function istioDocuments(clock: Clock, held: HeldDocuments): readonly ResourceHandler[] {
  const unanswered = new Set<string>(istioDocumentTypes);
  const onApplied = (type: string): void => {
    unanswered.delete(type);
    if (unanswered.size === 0) held.publish();
  };
  return istioDocumentTypes.map((type) => new IstioDocumentResources(type, clock, held, onApplied));
}

class IstioDocumentResources implements ResourceHandler {
  /** Without `type.googleapis.com/`: istiod's generator wants it so. */
  readonly typeUrl: string;
  readonly #clock: Clock;
  readonly #held: HeldDocuments;
  readonly #onApplied: (type: string) => void;

  constructor(type: string, clock: Clock, held: HeldDocuments, onApplied: (type: string) => void) {
    this.typeUrl = type;
    this.#clock = clock;
    this.#held = held;
    this.#onApplied = onApplied;
  }

  resources(): Iterable<DeltaResource> {
    return this.#held.resources(this.typeUrl);
  }

  async apply({ resources, removed }: Delivery): Promise<readonly RejectedResource[]> {
    const slice = new TimeSlice(this.#clock);
    const rejected: RejectedResource[] = [];
    for (const name of removed) this.#held.forget(this.typeUrl, name);
    for (const resource of resources) {
      await slice.giveWay();
      const reason = await this.#take(resource, slice);
      if (reason !== null) rejected.push({ name: resource.name, reason });
    }
    this.#onApplied(this.typeUrl);
    return rejected;
  }

  /** @returns why not; what was good under its name stays then. */
  async #take(resource: DeltaResource, slice: TimeSlice): Promise<string | null> {
    const noRoom = this.#held.refuse(this.typeUrl, resource);
    if (noRoom !== null) return noRoom;
    const source = sourceOf(this.typeUrl, resource);
    const read = typeof source === "string" ? source : await readText(source, source.createdMs, slice);
    if (typeof read !== "string") return this.#held.take(this.typeUrl, resource, read);
    return this.#held.take(this.typeUrl, resource, { ...refusal(this.typeUrl, resource.name), reason: read });
  }
}

interface Source {
  readonly file: string;
  readonly firstLine: number;
  /** JSON is YAML. */
  readonly text: string;
  /** Precedence goes by it; null when it is not told. */
  readonly createdMs: number | null;
}

/** @returns why it cannot be read. */
function sourceOf(type: string, { name, resource }: DeltaResource): Source | string {
  try {
    const { metadata, body } = decodeMessage(ResourceSchema, resource?.value ?? new Uint8Array());
    if (metadata === undefined || body === undefined) return "it lacks metadata or a body";
    if (metadata.name !== name) return `it calls itself ${metadata.name}`;
    const { namespace, own } = split(name);
    const given = istioSpec(body.typeUrl.slice(body.typeUrl.lastIndexOf("/") + 1), body.value);
    const spec = type.endsWith("/ServiceEntry") && own.startsWith("synthetic-") ? ofService(given) : given;
    const { createTime, labels, annotations } = metadata;
    const at = type.lastIndexOf("/");
    const document = {
      apiVersion: type.slice(0, at),
      kind: type.slice(at + 1),
      // What istiod makes of a route of the Gateway API has a name that no document may have.
      metadata: {
        name: own.replace(/[^a-z0-9.-]/g, "-"),
        namespace,
        ...{ labels, annotations: written(annotations) },
      },
      spec,
    };
    return {
      file: `istiod ${type.slice(at + 1)} ${name}`,
      firstLine: 1,
      text: JSON.stringify(document),
      createdMs:
        createTime === undefined
          ? null
          : Number(createTime.seconds) * 1000 + Math.trunc(createTime.nanos / 1e6),
    };
  } catch (thrown) {
    return faultOf(thrown).message;
  }
}

/** What cannot even be taken apart may be about anything in its namespace, if it is of a kind that refuses requests. */
function refusal(type: string, name: string) {
  const kind = type.slice(type.lastIndexOf("/") + 1);
  if (kind !== "AuthorizationPolicy" && kind !== "RequestAuthentication")
    return { document: null, refused: null };
  const { namespace } = split(name);
  const location = { file: `istiod ${kind} ${name}`, line: 1, column: 1 };
  const refused = {
    kind,
    key: `${kind} ${name}`,
    namespace,
    targetRefs: null,
    workloads: null,
    location,
  } as const;
  return { document: null, refused };
}

/**
 * istiod makes a ServiceEntry `synthetic-NAME` of each Service of Kubernetes (`ServiceToServiceEntry`), which is none that an author could
 * have written: ports have no name, protocols are UDP and `UnsupportedProtocol`. What a waypoint asks it for is how ports are called; the
 * service itself is in the mesh.
 */
function ofService(spec: JsonValue): JsonValue {
  const { hosts = [], ports = [] } = spec as {
    readonly hosts?: JsonValue[];
    readonly ports?: { readonly number: number; readonly name?: string; readonly protocol?: string }[];
  };
  const named = ports.flatMap(({ number, name = "", protocol }) =>
    name === "" || protocol === "UDP" ? [] : [{ number, name }],
  );
  return { hosts, ports: named };
}

/** Without what istiod adds of its own, which no author may write. */
function written(annotations: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(annotations).filter(([name]) => !name.startsWith("internal.istio.io/")),
  );
}

function split(name: string): { readonly namespace: string; readonly own: string } {
  const slash = name.indexOf("/");
  return { namespace: slash === -1 ? "" : name.slice(0, slash), own: name.slice(slash + 1) };
}
