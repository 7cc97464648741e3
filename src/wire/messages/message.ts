/** The one door to Protocol Buffers: generated schemas stand beside this file, what is done with them goes through it. */
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { MeshError } from "../../base/errors.ts";

export type { JsonObject, JsonValue, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
export type { Any } from "@bufbuild/protobuf/wkt";

/** A new message; fields that are left out have their default. */
export function newMessage<Desc extends DescMessage>(
  schema: Desc,
  fields?: MessageInitShape<Desc>,
): MessageShape<Desc> {
  return create(schema, fields);
}

/** Fields in the order of their numbers, maps in the order they were filled: equal messages give equal bytes. */
export function encodeMessage<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
): Uint8Array {
  return toBinary(schema, message);
}

/** @throws MeshError `message_malformed`, blame peer. Unknown fields are skipped. */
export function decodeMessage<Desc extends DescMessage>(schema: Desc, bytes: Uint8Array): MessageShape<Desc> {
  try {
    return fromBinary(schema, bytes, { readUnknownFields: false });
  } catch (cause) {
    throw new MeshError("message_malformed", "peer", `the bytes are no ${schema.typeName}`, { cause });
  }
}

/** `type.googleapis.com/<type name>`, as xDS names its types. */
export function typeUrl(schema: DescMessage): string {
  return `type.googleapis.com/${schema.typeName}`;
}

/** `encoded`, already the bytes of a message, as the value of an `Any`. */
export function anyOf(schema: DescMessage, encoded: Uint8Array): Any {
  return create(AnySchema, { typeUrl: typeUrl(schema), value: encoded });
}
