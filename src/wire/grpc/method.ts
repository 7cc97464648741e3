/** What a call needs to know of a method: where it is, and how its messages become bytes. */

import type { DescMessage, DescMethod, MessageShape } from "@bufbuild/protobuf";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type FieldBounds, fieldBeyondBounds } from "./field_bounds.ts";
import { GrpcError, grpcCode } from "./status.ts";

export interface MessageCodec<T> {
  encode(message: T): Uint8Array;
  /** @throws Error when the bytes are no such message; a GrpcError, to be told to its sender, when it is beyond a bound. */
  decode(bytes: Uint8Array): T;
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
      const beyond = bounds === null ? null : fieldBeyondBounds(bytes, bounds);
      if (beyond !== null)
        throw new GrpcError(grpcCode.invalidArgument, bounds?.[beyond]?.refusal ?? "too much of one field");
      return fromBinary(schema, bytes, readOptions);
    },
  };
}

/** Bytes as they are, for tests and for messages that somebody else encodes. */
export const rawCodec: MessageCodec<Uint8Array> = {
  encode: (message) => message,
  decode: (bytes) => bytes,
};

/** Of a generated service: `describeMethod(Health.method.check)`. */
export function describeMethod<Input extends DescMessage, Output extends DescMessage>(
  method: DescMethod & { readonly input: Input; readonly output: Output },
  requestBounds: FieldBounds | null = null,
): MethodDescription<MessageShape<Input>, MessageShape<Output>> {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    request: messageCodec(method.input, requestBounds),
    response: messageCodec(method.output),
  };
}
