import { describe, expect, test } from "bun:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { adsLimits, grpcLimits } from "../../base/limits/rpc.ts";
import { type DeltaDiscoveryRequest, DeltaDiscoveryRequestSchema } from "../messages/envoy_discovery.gen.ts";
import { JoinRequestSchema, JoinService } from "../messages/fairlead.gen.ts";
import { IstioCertificateRequestSchema, IstioCertificateService } from "../messages/istio_citadel.gen.ts";
import { checkMessage } from "./field_bounds.ts";
import { describeMethod } from "./method.ts";
import { aggregatedDiscovery } from "./services.ts";

const request = (names: number, unsubscribed = 0): DeltaDiscoveryRequest =>
  create(DeltaDiscoveryRequestSchema, {
    node: { id: "ztunnel~10.0.0.1~one~two", metadata: { NAMESPACE: "shop" } },
    typeUrl: "type.example/one",
    resourceNamesSubscribe: Array.from({ length: names }, (_none, at) => `name ${at}`),
    resourceNamesUnsubscribe: Array.from({ length: unsubscribed }, (_none, at) => `name ${at}`),
    initialResourceVersions: { one: "1", two: "2" },
  });

const beyond = (bytes: Uint8Array, most: Readonly<Record<number, number>>) =>
  checkMessage(
    DeltaDiscoveryRequestSchema,
    bytes,
    1_000,
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
      expect([null, 1, 3, "many", "malformed"]).toContain(found);
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

describe("fields of a message, those of messages within it counted", () => {
  const schema = DeltaDiscoveryRequestSchema;
  const hasMoreFields = (...of: Parameters<typeof checkMessage>) => checkMessage(...of) === "many";
  const node = (fields: number) =>
    create(schema, {
      node: {
        id: "one",
        metadata: {
          LABELS: Object.fromEntries(Array.from({ length: fields }, (_none, at) => [`l${at}`, "v"])),
        },
      },
    });

  test("as many as may be, and one more", () => {
    // The node, its id, its metadata, and of that one value with a map of some.
    const few = toBinary(schema, node(1));
    const counts = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].filter((most) => hasMoreFields(schema, few, most));
    const count = counts.length + 1;
    expect(hasMoreFields(schema, few, count)).toBe(false);
    expect(hasMoreFields(schema, few, count - 1)).toBe(true);
    const many = toBinary(schema, node(1_000));
    expect(hasMoreFields(schema, many, 1_000)).toBe(true);
    expect(hasMoreFields(schema, many, 10_000)).toBe(false);
  });

  test("those that have a bound of their own are not among them", () => {
    const bytes = toBinary(schema, request(500));
    expect(hasMoreFields(schema, bytes, 100)).toBe(true);
    expect(hasMoreFields(schema, bytes, 100, { 3: { most: 1_000, refusal: "" } })).toBe(false);
  });

  test("nothing hides behind the start of a group, or in fields that are not known", () => {
    const startOfGroup = Uint8Array.of(((99 << 3) & 0x7f) | 0x83, 0x06);
    const names = toBinary(schema, request(500));
    expect(checkMessage(schema, new Uint8Array([...startOfGroup, ...names]), 10_000)).toBe("malformed");
    expect(beyond(new Uint8Array([...startOfGroup, ...names]), { 3: 1_000 })).toBe("malformed");
    expect(hasMoreFields(schema, new Uint8Array(2_000).fill(0x78), 100)).toBe(true);
  });

  test("a group that begins and ends is refused: a decoder skips it with all that is in it", () => {
    const names = toBinary(schema, request(2));
    const group = new Uint8Array([0x73, ...names, 0x74]);
    expect(fromBinary(schema, group).resourceNamesSubscribe).toEqual([]);
    expect(checkMessage(schema, group, 100)).toBe("malformed");
    expect(checkMessage(schema, new Uint8Array([0x0a, group.length, ...group]), 100)).toBe("malformed");
  });

  test("numbers that are written in more bytes than they need are read as a decoder reads them", () => {
    // resource_names_subscribe with a tag of five bytes, and with a length of five and of ten.
    const tag = [0x9a, 0x80, 0x80, 0x80, 0x00];
    const lengths = [
      [0x81, 0x80, 0x80, 0x80, 0x00],
      [0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
    ];
    for (const length of [[1], ...lengths]) {
      const name = [...tag, ...length, 0x61];
      const bytes = new Uint8Array([...name, ...name]);
      expect(fromBinary(schema, bytes).resourceNamesSubscribe).toEqual(["a", "a"]);
      expect(beyond(bytes, { 3: 2 }), `${length}`).toBeNull();
      expect(beyond(bytes, { 3: 1 }), `${length}`).toBe(3);
    }
    // One byte more than a tag may have, or a length.
    for (const overlong of [
      [0x9a, 0x80, 0x80, 0x80, 0x80, 0x00, 1, 0x61],
      [0x1a, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0x61],
    ]) {
      expect(() => fromBinary(schema, new Uint8Array(overlong))).toThrow();
      expect(checkMessage(schema, new Uint8Array(overlong), 100)).toBe("malformed");
    }
  });

  test("of whatever is taken, a decoder finds as many fields as were counted", () => {
    const lead = fc.constantFrom(0x0a, 0x1a, 0x22, 0x9a, 0x2a, 0x73, 0x74, 0x80, 0x00, 0x01, 0x02, 0x61);
    fc.assert(
      fc.property(fc.array(fc.oneof(lead, fc.nat(255)), { maxLength: 40 }), (list) => {
        const bytes = new Uint8Array(list);
        if (beyond(bytes, { 3: 1 }) !== null) return;
        let names: readonly string[] = [];
        try {
          names = fromBinary(schema, bytes).resourceNamesSubscribe;
        } catch {
          return;
        }
        expect(names.length).toBeLessThanOrEqual(1);
      }),
      { numRuns: 20_000 },
    );
  });

  test("nesting has an end", () => {
    let value: Record<string, unknown> = {};
    for (let depth = 0; depth < 200; depth++) value = { deeper: value };
    const deep = create(schema, { node: { metadata: value as Record<string, string> } });
    expect(checkMessage(schema, toBinary(schema, deep), 1_000_000)).toBe("malformed");
  });

  test("any bytes at all end, and never throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(hasMoreFields(schema, bytes, 20)).toBeBoolean();
        expect(hasMoreFields(IstioCertificateRequestSchema, bytes, 1_000)).toBe(false);
      }),
      { numRuns: 5_000 },
    );
  });

  test("every request is held to a bound, of those that have none of their own too", () => {
    const { decode } = describeMethod(JoinService.method.join).request;
    const label = Uint8Array.of(0x32, 0x00);
    const bytes = new Uint8Array(label.length * (grpcLimits.maxFieldsPerRequest + 1));
    for (let at = 0; at < bytes.length; at += label.length) bytes.set(label, at);
    expect(() => decode(bytes)).toThrow("too many fields in one message");
    expect(() => decode(bytes.subarray(label.length))).not.toThrow();
  });

  test("a field that is written as another type is refused: a decoder would look into it for more", () => {
    const hidden = toBinary(
      IstioCertificateRequestSchema,
      create(IstioCertificateRequestSchema, { csr: "hidden" }),
    );
    // validity_duration, a number, with a length and what is hidden in it.
    const bytes = new Uint8Array([0x1a, hidden.length, ...hidden]);
    expect(fromBinary(IstioCertificateRequestSchema, bytes).csr).toBe("hidden");
    const { decode } = describeMethod(IstioCertificateService.method.createCertificate).request;
    expect(() => decode(bytes)).toThrow("no istio.v1.auth.IstioCertificateRequest");
    for (const wrong of [
      [0x08, 0x01],
      [0x0d, 1, 2, 3, 4],
      [0x20, 0x05],
      [0x19, 1, 2, 3, 4, 5, 6, 7, 8],
    ])
      expect(checkMessage(IstioCertificateRequestSchema, new Uint8Array(wrong), 100), `${wrong}`).toBe(
        "malformed",
      );
    // A map's key that is a number, and its value.
    expect(checkMessage(JoinRequestSchema, new Uint8Array([0x32, 2, 0x08, 0x01]), 100)).toBe("malformed");
    expect(checkMessage(JoinRequestSchema, new Uint8Array([0x32, 2, 0x10, 0x01]), 100)).toBe("malformed");
  });

  test("a field that ends beyond its message is refused: a decoder would read on in what is behind", () => {
    // node { id: 9 bytes, of which the node has two }, and response_nonce behind it.
    const bytes = new Uint8Array([0x0a, 4, 0x0a, 9, 0x61, 0x62, 0x32, 5, 0x31, 0x32, 0x33, 0x34, 0x35]);
    expect(fromBinary(schema, bytes).node?.id).toContain("12345");
    expect(checkMessage(schema, bytes, 100)).toBe("malformed");
    // The same in an entry of a map, and of one whose entries are looked at although it has a bound of its own.
    const label = new Uint8Array([0x32, 4, 0x0a, 9, 0x61, 0x62, 0x32, 5, 0x31, 0x32, 0x33, 0x34, 0x35]);
    expect(checkMessage(JoinRequestSchema, label, 100)).toBe("malformed");
    const versions = new Uint8Array([0x2a, 4, 0x0a, 9, 0x61, 0x62, 0x32, 5, 0x31, 0x32, 0x33, 0x34, 0x35]);
    const bound = { most: 10, refusal: "too many" };
    expect(checkMessage(schema, versions, 100, { 5: { ...bound, entries: true } })).toBe("malformed");
    expect(checkMessage(schema, versions, 100, { 5: bound })).toBeNull();
  });

  test("every message that we write ourselves may be read", () => {
    const metadata = { a: 1.5, b: true, c: null, d: ["x", { e: "f" }] };
    const one = create(schema, { node: { id: "i", metadata }, errorDetail: { code: 3, message: "m" } });
    expect(checkMessage(schema, toBinary(schema, one), 100)).toBeNull();
    const join = create(JoinRequestSchema, { token: "t", labels: { a: "b" }, addresses: ["1", "2"] });
    expect(checkMessage(JoinRequestSchema, toBinary(JoinRequestSchema, join), 100)).toBeNull();
  });
});
