/**
 * One difference as responses of bounded size. A part is encoded when it is first sent, and its bytes, nonce included, are the same
 * for every subscriber: a nonce has to tell the responses of one stream apart only, of which one at a time is unanswered.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { DeltaDiscoveryResponseSchema, ResourceSchema } from "../messages/envoy_discovery.gen.ts";

/** What parts are made of: a resource's name is for the client, its field for the wire. */
export interface PartResource {
  readonly name: string;
  readonly field: Uint8Array;
}

const resourcesField = 2;

export function encodeResourceField(
  typeUrl: string,
  name: string,
  version: string,
  value: Uint8Array,
): Uint8Array {
  const resource = create(ResourceSchema, { name, version, resource: { typeUrl, value } });
  const bytes = toBinary(ResourceSchema, resource);
  return new BinaryWriter().tag(resourcesField, WireType.LengthDelimited).bytes(bytes).finish();
}

/** Gives responses their nonces, and says who we are. One for all streams. */
export class ResponseEncoder {
  readonly #identifier: string;
  #sequence = 0;

  /** @param identifier `control_plane.identifier`. */
  constructor(identifier: string) {
    this.#identifier = identifier;
  }

  encode(
    typeUrl: string,
    revision: number,
    resources: readonly PartResource[],
    removed: readonly string[],
  ): EncodedPart {
    this.#sequence++;
    const nonce = this.#sequence.toString(36);
    const response = create(DeltaDiscoveryResponseSchema, {
      systemVersionInfo: String(revision),
      typeUrl,
      nonce,
      removedResources: [...removed],
      controlPlane: { identifier: this.#identifier },
    });
    const head = toBinary(DeltaDiscoveryResponseSchema, response);
    const length = resources.reduce((sum, { field }) => sum + field.length, head.length);
    const bytes = new Uint8Array(length);
    bytes.set(head);
    let offset = head.length;
    for (const { field } of resources) {
      bytes.set(field, offset);
      offset += field.length;
    }
    return { nonce, bytes };
  }
}

export interface EncodedPart {
  readonly nonce: string;
  readonly bytes: Uint8Array;
}

export class ResponsePart {
  readonly typeUrl: string;
  /** What a subscriber has who was given this part and those before it. */
  readonly revision: number;
  readonly resources: readonly PartResource[];
  readonly removed: readonly string[];
  #encoded: EncodedPart | null = null;

  constructor(
    typeUrl: string,
    revision: number,
    resources: readonly PartResource[],
    removed: readonly string[],
  ) {
    this.typeUrl = typeUrl;
    this.revision = revision;
    this.resources = resources;
    this.removed = removed;
  }

  encoded(encoder: ResponseEncoder): EncodedPart {
    this.#encoded ??= encoder.encode(this.typeUrl, this.revision, this.resources, this.removed);
    return this.#encoded;
  }
}

export type ResponseParts = readonly ResponsePart[];

/**
 * Removals come last, so that a thing which moves is not gone in between; at least one part, which may be empty.
 *
 * @param before the revision of a subscriber who was given all but the last part.
 */
export function splitIntoParts(
  typeUrl: string,
  revisions: { readonly before: number; readonly after: number },
  resources: readonly PartResource[],
  removed: readonly string[],
  { maxBytes, responseBytes }: { readonly maxBytes: number; readonly responseBytes: number },
): ResponseParts {
  const groups: { readonly resources: PartResource[]; readonly removed: string[]; bytes: number }[] = [];
  const room = (bytes: number, most: number) => {
    const last = groups.at(-1);
    if (last !== undefined && last.bytes + bytes <= most) {
      last.bytes += bytes;
      return last;
    }
    const next = { resources: [], removed: [], bytes };
    groups.push(next);
    return next;
  };
  for (const resource of resources) room(resource.field.length, maxBytes).resources.push(resource);
  // Names are encoded one by one, so a part never has more of them than a usual response.
  for (const name of removed) room(name.length + 4, Math.min(maxBytes, responseBytes)).removed.push(name);
  if (groups.length === 0) groups.push({ resources: [], removed: [], bytes: 0 });
  return groups.map((group, index) => {
    const revision = index === groups.length - 1 ? revisions.after : revisions.before;
    return new ResponsePart(typeUrl, revision, group.resources, group.removed);
  });
}
