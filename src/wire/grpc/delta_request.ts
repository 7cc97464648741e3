/**
 * A delta request whose `initial_resource_versions` are many: whoever comes back to a large mesh names all it has, and a decoder would make an
 * object of each in one turn. In steps they are looked through, and stay as they are but for the odd ones; the rest of the request is read as always.
 */
import { adsLimits } from "../../base/limits/rpc.ts";
import { type DeltaDiscoveryRequest, DeltaDiscoveryRequestSchema } from "../messages/envoy_discovery.gen.ts";
import { HeldEntries, type HeldEntry, plainEntry } from "../messages/held_entries.ts";
import { type FieldBounds, FieldReader } from "./field_bounds.ts";
import { checkFields, type MessageCodec, messageCodec } from "./method.ts";

/** As it is decoded: with many of them, `initialResourceVersions` is empty and this has them. */
export type DeltaRequestMessage = DeltaDiscoveryRequest & {
  heldEntries?: HeldEntries;
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
  const found: number[] = [];
  const odd = new Map<number, HeldEntry>();
  const others: Uint8Array[] = [];
  const reader = new FieldReader(bytes);
  let count = 0;
  let othersFrom = 0;
  while (reader.next()) {
    if (reader.field !== versionsField || reader.wireType !== 2) continue;
    if (!reader.isWhole) throw new Error("the message ends within a field");
    if (othersFrom < reader.from) others.push(bytes.subarray(othersFrom, reader.from));
    othersFrom = reader.at;
    const { valueAt, at } = reader;
    if (!isPlainText(bytes, valueAt, at)) odd.set(count, readEntry(bytes.subarray(valueAt, at)));
    found.push(valueAt, at);
    if (++count % entriesPerStep === 0) yield;
  }
  others.push(bytes.subarray(othersFrom));
  const request: DeltaRequestMessage = whole.decode(joined(others));
  request.heldEntries = new HeldEntries(bytes, Uint32Array.from(found), odd);
  return request;
}

/** Whether it is written as usual, and in ASCII: whoever reads it later finds no fault with it. */
function isPlainText(bytes: Uint8Array, from: number, to: number): boolean {
  if (plainEntry(bytes, from, to) === null) return false;
  // A length in two bytes has that bit, too, and is read now.
  let all = 0;
  for (let at = from; at < to; at++) all |= bytes[at] ?? 0;
  return all < 0x80;
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

function readEntry(entry: Uint8Array): HeldEntry {
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
  return [name, version];
}

const utf8 = new TextDecoder("utf-8", { fatal: true });
