/**
 * A delta request whose `initial_resource_versions` are many: whoever comes back to a large mesh names all it has, and a decoder would make an
 * object of each in one turn. They are read into a Map in steps, the rest of the request as always.
 */
import { adsLimits } from "../../base/limits/rpc.ts";
import { type DeltaDiscoveryRequest, DeltaDiscoveryRequestSchema } from "../messages/envoy_discovery.gen.ts";
import { type FieldBounds, FieldReader } from "./field_bounds.ts";
import { checkFields, type MessageCodec, messageCodec } from "./method.ts";

/** As it is decoded: with many of them, `initialResourceVersions` is empty and this has them. */
export type DeltaRequestMessage = DeltaDiscoveryRequest & {
  heldVersions?: ReadonlyMap<string, string>;
};

/** Names to subscribe to and no longer to, and the versions that a client holds. */
const bounds: FieldBounds = {
  3: { most: adsLimits.maxNamesPerStream, refusal: "too many names on one stream" },
  4: { most: adsLimits.maxNamesPerStream, refusal: "too many names on one stream" },
  5: { most: adsLimits.maxInitialVersions, refusal: "too many initial versions" },
};
const versionsField = 5;
/** Below a millisecond. */
const entriesPerStep = 500;

/** In steps each entry is looked at when it is read. */
const whole = messageCodec(DeltaDiscoveryRequestSchema, {
  ...bounds,
  5: { most: adsLimits.maxInitialVersions, refusal: "too many initial versions", entries: true },
});

export const deltaRequestCodec: MessageCodec<DeltaRequestMessage> = { ...whole, decodeInSteps };

function* decodeInSteps(bytes: Uint8Array): Generator<void, DeltaRequestMessage> {
  checkFields(DeltaDiscoveryRequestSchema, bytes, bounds);
  yield;
  const heldVersions = new Map<string, string>();
  const others: Uint8Array[] = [];
  const reader = new FieldReader(bytes);
  let count = 0;
  let othersFrom = 0;
  while (reader.next()) {
    if (reader.field !== versionsField || reader.wireType !== 2) continue;
    if (!reader.isWhole) throw new Error("the message ends within a field");
    if (othersFrom < reader.from) others.push(bytes.subarray(othersFrom, reader.from));
    othersFrom = reader.at;
    readEntry(bytes.subarray(reader.valueAt, reader.at), heldVersions);
    if (++count % entriesPerStep === 0) yield;
  }
  others.push(bytes.subarray(othersFrom));
  const request: DeltaRequestMessage = whole.decode(joined(others));
  request.heldVersions = heldVersions;
  return request;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function readEntry(entry: Uint8Array, into: Map<string, string>): void {
  let name = "";
  let version = "";
  const reader = new FieldReader(entry);
  while (reader.next()) {
    // As `whole` says of it: a name that is written as a number is no name, and not the empty one.
    const isPart = reader.field === 1 || reader.field === 2;
    if (!reader.isPlain || (isPart && reader.wireType !== 2))
      throw new Error("a field of an entry is malformed");
    if (!isPart) continue;
    const value = entry.subarray(reader.valueAt, reader.at);
    if (reader.field === 1) name = utf8.decode(value);
    else version = utf8.decode(value);
  }
  into.set(name, version);
}

const utf8 = new TextDecoder("utf-8", { fatal: true });
