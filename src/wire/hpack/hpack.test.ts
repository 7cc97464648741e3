import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HpackDecoder } from "./decoder.ts";
import { HpackEncoder } from "./encoder.ts";

const unbounded = Number.POSITIVE_INFINITY;
const hex = (text: string) =>
  Uint8Array.from(text.replaceAll(" ", "").match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

function decode(decoder: HpackDecoder, block: Uint8Array, maxListBytes = unbounded): readonly string[] {
  const fields = decoder.decode(block, 0, block.length, maxListBytes);
  if ("compressionError" in fields) throw new Error(fields.compressionError);
  return fields;
}

function failure(block: string, decoder = new HpackDecoder()): string | null {
  const bytes = hex(block);
  const fields = decoder.decode(bytes, 0, bytes.length, unbounded);
  return "compressionError" in fields ? fields.compressionError : null;
}

function encode(encoder: HpackEncoder, fields: readonly string[]): Uint8Array {
  const target = new Uint8Array(encoder.maxEncodedBytes(fields) + 3);
  const end = encoder.encode(fields, target, 3);
  expect(end).toBeLessThanOrEqual(target.length);
  return target.slice(3, end);
}

const requests = [
  [":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com"],
  [
    ":method",
    "GET",
    ":scheme",
    "http",
    ":path",
    "/",
    ":authority",
    "www.example.com",
    "cache-control",
    "no-cache",
  ],
  [
    ":method",
    "GET",
    ":scheme",
    "https",
    ":path",
    "/index.html",
    ":authority",
    "www.example.com",
    "custom-key",
    "custom-value",
  ],
];
const date = "Mon, 21 Oct 2013 20:13:21 GMT";
const responses = [
  [":status", "302", "cache-control", "private", "date", date, "location", "https://www.example.com"],
  [":status", "307", "cache-control", "private", "date", date, "location", "https://www.example.com"],
  [
    ":status",
    "200",
    "cache-control",
    "private",
    "date",
    "Mon, 21 Oct 2013 20:13:22 GMT",
    "location",
    "https://www.example.com",
    "content-encoding",
    "gzip",
    "set-cookie",
    "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
  ],
];

describe("RFC 7541 Appendix C", () => {
  test.each([
    [
      "C.2.1 literal with indexing",
      "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
      ["custom-key", "custom-header"],
    ],
    ["C.2.2 literal without indexing", "040c 2f73 616d 706c 652f 7061 7468", [":path", "/sample/path"]],
    ["C.2.3 literal never indexed", "1008 7061 7373 776f 7264 0673 6563 7265 74", ["password", "secret"]],
    ["C.2.4 indexed", "82", [":method", "GET"]],
  ])("%s", (_name, block, fields) => {
    expect(decode(new HpackDecoder(), hex(block))).toEqual(fields);
  });

  test.each([
    [
      "C.3 requests without Huffman coding",
      4096,
      requests,
      [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
      ],
    ],
    [
      "C.4 requests with Huffman coding",
      4096,
      requests,
      [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
      ],
    ],
    [
      "C.5 responses without Huffman coding, table of 256",
      256,
      responses,
      [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
      ],
    ],
    [
      "C.6 responses with Huffman coding, table of 256",
      256,
      responses,
      [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
      ],
    ],
  ])("%s", (_name, tableBytes, lists, blocks) => {
    const decoder = new HpackDecoder();
    decoder.setAllowedTableBytes(tableBytes);
    // The examples take the smaller table as given; on the wire it has to be said: 3f e1 01 is "256".
    if (tableBytes === 256) decode(decoder, hex("3fe101"));
    for (const [index, block] of blocks.entries())
      expect(decode(decoder, hex(block))).toEqual(lists[index] ?? []);
  });
});

describe("RFC 7541 §2.3, §4, §5, §6 errors", () => {
  test.each([
    ["index 0", "80"],
    ["an index beyond both tables", "be"],
    ["a name index beyond both tables", "7e 00"],
    ["a truncated integer", "ff"],
    ["an integer with leading zeros for ever", "ff 80 80 80 80 80 00"],
    ["an integer above any sense", "ff ff ff ff ff 0f"],
    ["a string longer than the block", "40 05 61"],
    ["a block that ends before the value", "40 01 61"],
    ["a block that ends before the name", "40"],
    ["a bad Huffman string", "40 81 00 01 61"],
    ["a table size above the limit", "3f e2 1f"],
    ["a table size update after a field", "82 20"],
    ["three table size updates", "20 20 20 82"],
  ])("%s is an error", (_name, block) => {
    expect(failure(block)).not.toBeNull();
  });

  test("§4.2 after we lowered the limit the next block has to begin with an update", () => {
    const decoder = new HpackDecoder();
    decoder.setAllowedTableBytes(100);
    expect(failure("82", decoder)).toBe("table size update missing");
    const other = new HpackDecoder();
    other.setAllowedTableBytes(100);
    expect(failure("3f 45 82", other)).toBeNull();
    expect(failure("82", other)).toBeNull();
  });

  test("§4.4 an entry larger than the table empties it and is still a field", () => {
    const decoder = new HpackDecoder();
    decode(decoder, hex("40 01 61 01 62"));
    expect(decode(decoder, hex("be"))).toEqual(["a", "b"]);
    decode(decoder, hex("3f 19"));
    expect(
      decode(decoder, hex("40 01 61 1a 6162636465666768696a6b6c6d6e6f707172737475767778797a")),
    ).toHaveLength(2);
    expect(failure("be", decoder)).not.toBeNull();
  });
});

describe("header lists", () => {
  test("fields beyond the limit are left out, and the table is still right", () => {
    const encoder = new HpackEncoder({ maxTableBytes: 4096, huffman: false });
    const decoder = new HpackDecoder();
    const fields = ["x-a", "1".repeat(50), "x-b", "2".repeat(50), "x-c", "3".repeat(50)];
    expect(decode(decoder, encode(encoder, fields), 100)).toEqual(["x-a", "1".repeat(50)]);
    expect(decoder.listBytes).toBe(3 * (3 + 50 + 32));
    expect(decode(decoder, encode(encoder, fields))).toEqual(fields);
    // What is exactly as large as it may be is whole; a byte less leaves out the last.
    const exact = 3 * (3 + 50 + 32);
    expect(decode(decoder, encode(encoder, fields), exact)).toEqual(fields);
    expect(decode(decoder, encode(encoder, fields), exact - 1)).toEqual(fields.slice(0, 4));
  });

  test("an HPACK bomb of indexed fields makes no strings beyond the limit", () => {
    const decoder = new HpackDecoder();
    const value = "b".repeat(4000);
    const seed = encode(new HpackEncoder({ maxTableBytes: 1 << 20, huffman: false }), ["x-bomb", value]);
    // The encoder does not index what would fill the table, so the literal is turned into an indexing one by hand.
    expect(seed[0]).toBe(0x00);
    seed[0] = 0x40;
    const block = new Uint8Array(seed.length + 60_000).fill(0xbe);
    block.set(seed);
    const fields = decode(decoder, block, 65_536);
    expect(fields.length / 2).toBeLessThanOrEqual(16);
    expect(decoder.listBytes).toBeGreaterThan(200_000_000);
  });

  test("RFC 9113 §8.2.1 characters are judged, in literals and in what is indexed from them", () => {
    const judge = (fields: string[]) => {
      const decoder = new HpackDecoder();
      const parts = fields.flatMap((text) => [text.length, ...Array.from(text, (c) => c.charCodeAt(0))]);
      decode(decoder, Uint8Array.from([0x40, ...parts]));
      const first = decoder.malformed;
      decode(decoder, hex("be"));
      expect(decoder.malformed).toBe(first);
      return first;
    };
    expect(judge(["x-good", "any \x80\xff text\tinside"])).toBe(false);
    expect(judge(["x-empty", ""])).toBe(false);
    for (const name of ["X-upper", "", "with space", "semi;colon", "new\nline", "high\xe4", ":"]) {
      expect(judge([name, "value"])).toBe(true);
    }
    for (const value of [" lead", "trail ", "\ttab", "nul\0", "cr\r", "lf\n"])
      expect(judge(["x-value", value])).toBe(true);
  });

  test("a good name with a bad value does not spoil the name for later fields", () => {
    const decoder = new HpackDecoder();
    decode(decoder, Uint8Array.from([0x40, 1, 0x61, 2, 0x20, 0x62]));
    expect(decoder.malformed).toBe(true);
    expect(decode(decoder, hex("7e 01 63"))).toEqual(["a", "c"]);
    expect(decoder.malformed).toBe(false);
  });

  test("a bad name is bad with every value that is put to it by its index", () => {
    const decoder = new HpackDecoder();
    decode(decoder, Uint8Array.from([0x40, 1, 0x41, 1, 0x62]));
    expect(decoder.malformed).toBe(true);
    expect(decode(decoder, hex("7e 01 63"))).toEqual(["A", "c"]);
    expect(decoder.malformed).toBe(true);
    expect(decode(decoder, hex("be"))).toEqual(["A", "c"]);
    expect(decoder.malformed).toBe(true);
  });
});

describe("encoder", () => {
  test("static entries, then dynamic ones, make a repeated block one byte a field", () => {
    const encoder = new HpackEncoder({ maxTableBytes: 4096, huffman: false });
    const fields = [":method", "CONNECT", ":authority", "10.0.0.7:8080", "baggage", "k8s.cluster.name=c1"];
    expect(encode(encoder, fields).length).toBeGreaterThan(30);
    expect(encode(encoder, fields)).toEqual(hex("c0 bf be"));
  });

  test("§7.1.3 secrets are sent never-indexed", () => {
    const encoder = new HpackEncoder({ maxTableBytes: 4096, huffman: false });
    for (let round = 0; round < 2; round++) {
      const block = encode(encoder, ["authorization", "Bearer x"]);
      expect((block[0] ?? 0) & 0xf0).toBe(0x10);
      expect(block.length).toBeGreaterThan(8);
    }
  });

  test("what differs on every request does not enter the table", () => {
    const encoder = new HpackEncoder({ maxTableBytes: 4096, huffman: false });
    const first = encode(encoder, ["traceparent", "00-1"]);
    expect((first[0] ?? 0) & 0xf0).toBe(0x00);
    expect(encode(encoder, ["traceparent", "00-1"])).toEqual(first);
  });

  test("a name whose values do not come again leaves the table to the others, whatever it is; it is tried again", () => {
    const encoder = new HpackEncoder({ maxTableBytes: 4096, huffman: false });
    const decoder = new HpackDecoder();
    const said = (id: string) => {
      const fields = ["x-kept", "k".repeat(100), "x-id", id];
      const block = encode(encoder, fields);
      expect(decode(decoder, block)).toEqual(fields);
      return block;
    };
    const blocks = Array.from({ length: 2000 }, (_none, i) => said(`id-${i}`));
    // Its one entry is never pushed out.
    expect(blocks.filter((block) => block.length > 100).length).toBe(1);
    // Behind the other field, which is one byte by now: what is put into the table, sixteen at first and then each 64th.
    const put = blocks.flatMap((block, i) => (i > 0 && ((block[1] ?? 0) & 0xc0) === 0x40 ? i : []));
    expect(put.slice(0, 19)).toEqual([...Array(17).keys()].slice(1).concat(64, 128, 192));
    // By now it is always the same.
    const same = Array.from({ length: 200 }, () => said("same"));
    expect(same.at(-1)?.length).toBe(2);
  });

  test("the last sixteen values of a name are known again", () => {
    const encoder = new HpackEncoder({ maxTableBytes: 4096, huffman: false });
    const length = (value: number) => encode(encoder, ["x-a", `value ${value}`]).length;
    for (let value = 0; value < 17; value++) {
      length(value);
      expect(length(value)).toBe(1);
    }
    expect(length(1)).toBe(1);
    expect(length(0)).toBeGreaterThan(1);
  });

  test("§4.2 a limit that went down and up again is told twice", () => {
    const encoder = new HpackEncoder({ maxTableBytes: 4096, huffman: false });
    const decoder = new HpackDecoder();
    decode(decoder, encode(encoder, ["x-a", "1"]));
    encoder.setPeerTableBytes(0);
    encoder.setPeerTableBytes(2048);
    const block = encode(encoder, ["x-a", "1"]);
    expect(block[0]).toBe(0x20);
    expect(decode(decoder, block)).toEqual(["x-a", "1"]);
    expect(decode(decoder, encode(encoder, ["x-a", "1"]))).toEqual(["x-a", "1"]);
  });

  test("never uses more of the peer's table than its own bound", () => {
    const encoder = new HpackEncoder({ maxTableBytes: 512, huffman: false });
    encoder.setPeerTableBytes(1 << 20);
    const decoder = new HpackDecoder();
    // 3f e1 03: 512.
    expect(encode(encoder, ["x", "y"]).slice(0, 3)).toEqual(hex("3f e1 03"));
    expect(failure("3f e1 03", decoder)).toBeNull();
  });

  test.each(["line\nbreak", "carriage\rreturn", "nul\0", "wide \u0416"])("%j is our bug", (value) => {
    for (const huffman of [false, true]) {
      const encoder = new HpackEncoder({ maxTableBytes: 4096, huffman });
      expect(() => encode(encoder, ["x-a", value])).toThrow("header field");
    }
  });

  test("any sequence of lists, with table sizes moving, arrives as it was", () => {
    const name = fc.oneof(
      fc.constantFrom(":path", "cookie", "x-long-name", "accept", "baggage", "traceparent"),
      fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/),
    );
    const value = fc.oneof(
      fc.constantFrom("", "/", "200", "gzip, deflate", "k8s.cluster.name=c1"),
      fc.stringMatching(/^[!-~\x80-\xff]{0,300}$/),
    );
    const list = fc.array(fc.tuple(name, value), { maxLength: 12 }).map((fields) => fields.flat());
    const step = fc.record({ list, tableBytes: fc.option(fc.constantFrom(0, 64, 200, 4096)) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), fc.boolean(), (steps, huffman) => {
        const encoder = new HpackEncoder({ maxTableBytes: 4096, huffman });
        const decoder = new HpackDecoder();
        for (const { list: fields, tableBytes } of steps) {
          if (tableBytes !== null) {
            encoder.setPeerTableBytes(tableBytes);
            decoder.setAllowedTableBytes(tableBytes);
          }
          expect(decode(decoder, encode(encoder, fields))).toEqual(fields);
          expect(decoder.malformed).toBe(false);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("garbage never throws", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 5 }), (blocks) => {
        const decoder = new HpackDecoder();
        for (const block of blocks) decoder.decode(block, 0, block.length, 10_000);
      }),
      { numRuns: 1000 },
    );
  });
});
