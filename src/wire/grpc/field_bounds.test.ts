import { expect, test } from "bun:test";
import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { adsLimits } from "../../base/limits/rpc.ts";
import { type DeltaDiscoveryRequest, DeltaDiscoveryRequestSchema } from "../messages/envoy_discovery.gen.ts";
import { fieldBeyondBounds } from "./field_bounds.ts";
import { aggregatedDiscovery } from "./services.ts";

const request = (names: number, unsubscribed = 0): DeltaDiscoveryRequest =>
  create(DeltaDiscoveryRequestSchema, {
    node: { id: "ztunnel~10.0.0.1~one~two", metadata: { NAMESPACE: "shop" } },
    typeUrl: "type.example/one",
    resourceNamesSubscribe: Array.from({ length: names }, (_none, at) => `name ${at}`),
    resourceNamesUnsubscribe: Array.from({ length: unsubscribed }, (_none, at) => `name ${at}`),
    initialResourceVersions: { one: "1", two: "2" },
  });

const beyond = (bytes: Uint8Array, most: Readonly<Record<number, number>>): number | null =>
  fieldBeyondBounds(
    bytes,
    Object.fromEntries(
      Object.entries(most).map(([field, count]) => [field, { most: count, refusal: "too many" }]),
    ),
  );

test("a message with as many as may be, and with one more", () => {
  const bytes = toBinary(DeltaDiscoveryRequestSchema, request(5, 3));
  expect(beyond(bytes, { 3: 5, 4: 3, 5: 2 })).toBeNull();
  expect(beyond(bytes, { 3: 4 })).toBe(3);
  expect(beyond(bytes, { 4: 2 })).toBe(4);
  expect(beyond(bytes, { 5: 1 })).toBe(5);
});

test("any bytes at all end, and never throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const found = beyond(bytes, { 1: 0, 3: 2 });
      expect(found === null || found === 1 || found === 3).toBe(true);
    }),
    { numRuns: 5_000 },
  );
});

test("delta xDS takes the names that a stream may have, and decodes no request with more", () => {
  const { decode, encode } = aggregatedDiscovery.delta.request;
  const most = adsLimits.maxNamesPerStream;
  expect(decode(encode(request(most))).resourceNamesSubscribe.length).toBe(most);
  expect(() => decode(encode(request(most + 1)))).toThrow("too many names on one stream");
});
