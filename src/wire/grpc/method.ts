/** What a call needs to know of a method: where it is, and how its messages become bytes. */

import type { DescMessage, DescMethod, MessageShape } from "@bufbuild/protobuf";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { grpcLimits } from "../../base/limits/rpc.ts";
import { checkMessage, type FieldBounds } from "./field_bounds.ts";
import { GrpcError, grpcCode } from "./status.ts";

export interface MessageCodec<T> {
  encode(message: T): Uint8Array;
  /** @throws Error when the bytes are no such message; a GrpcError, to be told to its sender, when it is beyond a bound. */
  decode(bytes: Uint8Array): T;
  /** The same, of a message that may be large, in steps between which others have their turn. */
  decodeInSteps?(bytes: Uint8Array): Generator<void, T>;
}

export interface MethodDescription<Req, Res> {
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly request: MessageCodec<Req>;
  readonly response: MessageCodec<Res>;
}

/** Fields that are not known here would only cost memory: nothing is passed on as it came. */
const readOptions = { readUnknownFields: false } as const;

/** Protocol Buffers, of a generated schema. Fields are written in the order of their numbers: equal messages give equal bytes. */
export function messageCodec<Desc extends DescMessage>(
  schema: Desc,
  bounds: FieldBounds | null = null,
): MessageCodec<MessageShape<Desc>> {
  return {
    encode: (message) => toBinary(schema, message),
    decode: (bytes) => {
      if (bounds !== null) checkFields(schema, bytes, bounds);
      return fromBinary(schema, bytes, readOptions);
    },
  };
}

/** What a decoder makes of a message it makes in one turn. @throws GrpcError for one that holds more than that; Error for one that is none. */
export function checkFields(schema: DescMessage, bytes: Uint8Array, bounds: FieldBounds): void {
  const found = checkMessage(schema, bytes, grpcLimits.maxFieldsPerRequest, bounds);
  if (found === "malformed") throw new Error(`the bytes are no ${schema.typeName}`);
  if (found === "many") throw new GrpcError(grpcCode.invalidArgument, "too many fields in one message");
  if (found !== null)
    throw new GrpcError(grpcCode.invalidArgument, bounds[found]?.refusal ?? "too much of one field");
}

/** Bytes as they are, for tests and for messages that somebody else encodes. */
export const rawCodec: MessageCodec<Uint8Array> = {
  encode: (message) => message,
  decode: (bytes) => bytes,
};

/** Of a generated service: `describeMethod(Health.method.check)`. */
export function describeMethod<Input extends DescMessage, Output extends DescMessage>(
  method: DescMethod & { readonly input: Input; readonly output: Output },
  requestBounds: FieldBounds = {},
): MethodDescription<MessageShape<Input>, MessageShape<Output>> {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    request: messageCodec(method.input, requestBounds),
    response: messageCodec(method.output),
  };
}
