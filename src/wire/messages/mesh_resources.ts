/** The resources of ambient xDS between bytes and generated messages, for those who know what they mean: `mesh/`. */
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { anyPack, anyUnpack } from "@bufbuild/protobuf/wkt";
import {
  type AuditHead,
  AuditHeadSchema,
  type Document,
  DocumentSchema,
  LabelsSchema,
  type Origin,
  OriginSchema,
  type TrustBundle,
  TrustBundleSchema,
} from "./fairlead.gen.ts";
import { type Authorization, AuthorizationSchema } from "./istio_authorization.gen.ts";
import { type Address, AddressSchema, type Extension } from "./istio_workload.gen.ts";

export type AddressFields = MessageInitShape<typeof AddressSchema>;
export type AuthorizationFields = Omit<
  Exclude<MessageInitShape<typeof AuthorizationSchema>, Authorization>,
  "extensions"
>;
export type OriginFields = MessageInitShape<typeof OriginSchema>;
export type AuditHeadFields = MessageInitShape<typeof AuditHeadSchema>;
export type DocumentFields = MessageInitShape<typeof DocumentSchema>;
export type TrustBundleFields = MessageInitShape<typeof TrustBundleSchema>;

const originName = "fairlead.dev/origin";
const labelsName = "fairlead.dev/labels";

export function encodeAddressMessage(fields: AddressFields): Uint8Array {
  return toBinary(AddressSchema, create(AddressSchema, fields));
}

/** @throws Error when the bytes are no such message. */
export function decodeAddressMessage(bytes: Uint8Array): Address {
  return fromBinary(AddressSchema, bytes);
}

/** @param origin null: it is not known where it was written. */
export function encodeAuthorizationMessage(
  fields: AuthorizationFields,
  origin: OriginFields | null,
): Uint8Array {
  const config = origin === null ? null : anyPack(OriginSchema, create(OriginSchema, origin));
  const extensions = config === null ? [] : [{ name: originName, config }];
  return toBinary(AuthorizationSchema, create(AuthorizationSchema, { ...fields, extensions }));
}

/** @throws Error when the bytes are no such message. */
export function decodeAuthorizationMessage(bytes: Uint8Array): Authorization {
  return fromBinary(AuthorizationSchema, bytes);
}

/** @returns null when there is none, or one that cannot be read: a place is for people, not for decisions. */
export function originOf(extensions: readonly Extension[]): Origin | null {
  const config = extensions.find(({ name }) => name === originName)?.config;
  if (config === undefined) return null;
  try {
    return anyUnpack(config, OriginSchema) ?? null;
  } catch {
    return null;
  }
}

/** Of a workload. @param labels sorted by name. */
export function labelsExtension(labels: readonly { readonly name: string; readonly value: string }[]) {
  const config = anyPack(LabelsSchema, create(LabelsSchema, { labels: [...labels] }));
  return { name: labelsName, config };
}

/** Empty when there are none. @throws Error when they cannot be read: what a subset is must not be guessed. */
export function labelsOf(extensions: readonly Extension[]): ReadonlyMap<string, string> {
  const config = extensions.find(({ name }) => name === labelsName)?.config;
  const message = config === undefined ? undefined : anyUnpack(config, LabelsSchema);
  return new Map((message?.labels ?? []).map(({ name, value }) => [name, value]));
}

export function encodeTrustBundleMessage(fields: TrustBundleFields): Uint8Array {
  return toBinary(TrustBundleSchema, create(TrustBundleSchema, fields));
}

/** @throws Error when the bytes are no such message. */
export function decodeTrustBundleMessage(bytes: Uint8Array): TrustBundle {
  return fromBinary(TrustBundleSchema, bytes);
}

export function encodeAuditHeadMessage(fields: AuditHeadFields): Uint8Array {
  return toBinary(AuditHeadSchema, create(AuditHeadSchema, fields));
}

/** @throws Error when the bytes are no such message. */
export function decodeAuditHeadMessage(bytes: Uint8Array): AuditHead {
  return fromBinary(AuditHeadSchema, bytes);
}

export function encodeDocumentMessage(fields: DocumentFields): Uint8Array {
  return toBinary(DocumentSchema, create(DocumentSchema, fields));
}

/** @throws Error when the bytes are no such message. */
export function decodeDocumentMessage(bytes: Uint8Array): Document {
  return fromBinary(DocumentSchema, bytes);
}
