/**
 * Values of the model as JSON and back: addresses, identities, maps and bytes, which JSON does not have, are objects of one key that
 * begins with `$`. Both ends are one program, so what a value means is the program's; what is checked is that it is one.
 */
import { assert } from "../base/assert.ts";
import { MeshError } from "../base/errors.ts";
import { IpAddress } from "../base/ip.ts";
import { workerLimits } from "../base/limits/host.ts";
import { SpiffeId } from "../mesh/identity.ts";

/** @returns what `JSON.stringify` writes as it is. */
export function writeValue(value: unknown): unknown {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") {
    assert(Number.isFinite(value), "a number that JSON has");
    return value;
  }
  assert(typeof value === "object", "a value, and nothing that runs");
  if (Array.isArray(value)) return value.map(writeValue);
  if (value instanceof IpAddress) return { $ip: value.text };
  if (value instanceof SpiffeId) return { $id: [value.trustDomain, value.namespace, value.serviceAccount] };
  if (value instanceof Uint8Array) return { $bytes: value.toBase64() };
  if (value instanceof Map) return { $map: [...value].map(([key, of]) => [writeValue(key), writeValue(of)]) };
  return writeObject(value);
}

function writeObject(value: object): object {
  assert(Object.getPrototypeOf(value) === Object.prototype, `${value.constructor.name} has a written form`);
  const written: [string, unknown][] = [];
  let isTagged = false;
  for (const [key, of] of Object.entries(value)) {
    if (of === undefined) continue;
    if (key.startsWith("$") || key === "__proto__") isTagged = true;
    written.push([key, writeValue(of)]);
  }
  return isTagged ? { $object: written } : Object.fromEntries(written);
}

/** @param read what `JSON.parse` gave. @throws MeshError `message_malformed`. */
export function readValue(read: unknown): unknown {
  return readWithin(read, workerLimits.maxDepth);
}

function readWithin(read: unknown, depth: number): unknown {
  if (typeof read !== "object" || read === null) return read;
  if (depth === 0) throw malformed("values within values");
  const inner = (of: unknown): unknown => readWithin(of, depth - 1);
  if (Array.isArray(read)) return read.map(inner);
  const entries = Object.entries(read);
  const [first] = entries;
  if (first?.[0].startsWith("$") === true) {
    if (entries.length > 1) throw malformed(first[0]);
    return readTagged(first[0], first[1], inner);
  }
  return Object.fromEntries(entries.map(([key, of]) => [key, inner(of)]));
}

function readTagged(tag: string, of: unknown, inner: (of: unknown) => unknown): unknown {
  switch (tag) {
    case "$ip": {
      const ip = typeof of === "string" ? IpAddress.parse(of) : null;
      if (ip !== null) return ip;
      break;
    }
    case "$id": {
      const [trustDomain, namespace, serviceAccount] = Array.isArray(of) ? of : [];
      if (
        typeof trustDomain === "string" &&
        typeof namespace === "string" &&
        typeof serviceAccount === "string"
      )
        return new SpiffeId(trustDomain, namespace, serviceAccount);
      break;
    }
    case "$bytes":
      if (typeof of === "string") return bytesOf(of);
      break;
    case "$map":
      return new Map(pairsOf(tag, of, inner));
    case "$object":
      return Object.fromEntries(
        pairsOf(tag, of, inner).map(([key, value]) => {
          if (typeof key !== "string") throw malformed(tag);
          return [key, value];
        }),
      );
    default:
  }
  throw malformed(tag);
}

function bytesOf(text: string): Uint8Array {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    throw malformed("$bytes");
  }
}

function pairsOf(tag: string, of: unknown, inner: (of: unknown) => unknown): [unknown, unknown][] {
  if (!Array.isArray(of)) throw malformed(tag);
  return of.map((pair: unknown) => {
    if (!Array.isArray(pair) || pair.length !== 2) throw malformed(tag);
    return [inner(pair[0]), inner(pair[1])];
  });
}

export function malformed(what: string): MeshError {
  return new MeshError("message_malformed", "peer", `a frame of a worker cannot be read: ${what}`);
}
