/** What istiod's "api" generator puts into a resource's body, as the `spec` of the same document in YAML. */
import { type DescMessage, fromBinary, type JsonValue, toJson } from "@bufbuild/protobuf";
import { MeshError } from "../../base/errors.ts";
import {
  DestinationRuleSchema,
  ServiceEntrySchema,
  VirtualServiceSchema,
  WorkloadEntrySchema,
} from "./istio_networking.gen.ts";
import {
  AuthorizationPolicySchema,
  PeerAuthenticationSchema,
  RequestAuthenticationSchema,
} from "./istio_security.gen.ts";
import { TelemetrySchema } from "./istio_telemetry.gen.ts";

const schemas: ReadonlyMap<string, DescMessage> = new Map<string, DescMessage>(
  [
    ...[VirtualServiceSchema, DestinationRuleSchema, ServiceEntrySchema, WorkloadEntrySchema],
    ...[AuthorizationPolicySchema, RequestAuthenticationSchema, PeerAuthenticationSchema, TelemetrySchema],
  ].map((schema) => [schema.typeName, schema]),
);

/** In JSON 64 bits are a text, which no document says a number by. */
const numbers: ReadonlySet<string> = new Set(["minimumRingSize", "tableSize"]);

/**
 * @param type of the message, `istio.networking.v1alpha3.VirtualService`.
 * @throws MeshError `message_malformed` for a type that is not known here, and for a field that is not: a policy must not lose a part.
 */
export function istioSpec(type: string, bytes: Uint8Array): JsonValue {
  const schema = schemas.get(type);
  if (schema === undefined) throw malformed(`a ${type} is not known to this version`);
  let message: ReturnType<typeof fromBinary>;
  try {
    message = fromBinary(schema, bytes);
  } catch {
    throw malformed(`the bytes are no ${type}`);
  }
  const unknown = unknownField(message);
  if (unknown !== null) throw malformed(`field ${unknown} of ${type} is not known to this version`);
  return withNumbers(toJson(schema, message));
}

/** @returns the number of the first one, in its message. */
function unknownField(value: unknown): number | null {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return null;
  for (const [name, inner] of Object.entries(value)) {
    if (name === "$unknown") {
      const [first] = inner as readonly { readonly no: number }[];
      if (first !== undefined) return first.no;
      continue;
    }
    const found = unknownField(inner);
    if (found !== null) return found;
  }
  return null;
}

function withNumbers(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(withNumbers);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      numbers.has(name) && typeof inner === "string" ? Number(inner) : withNumbers(inner),
    ]),
  );
}

function malformed(message: string): MeshError {
  return new MeshError("message_malformed", "peer", message);
}
