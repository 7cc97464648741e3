import { describe, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { IpAddress } from "../base/ip.ts";
import { workerLimits } from "../base/limits/host.ts";
import { SpiffeId } from "../mesh/identity.ts";
import { convert, document } from "../mesh/testing/convert_text.ts";
import { ip, service, workload } from "../mesh/testing/fixture.ts";
import { FrameReader, writeFrame } from "./frames.ts";
import { readSaid, readTold } from "./messages.ts";
import { readValue, writeValue } from "./values.ts";

function again(value: unknown): unknown {
  return readValue(JSON.parse(JSON.stringify(writeValue(value))));
}

describe("values", () => {
  test("workloads, services and policies come back as they were, classes and places in files included", () => {
    const { policies } = convert([
      document(
        "AuthorizationPolicy",
        "shop/p",
        '{rules: [{from: [{source: {ipBlocks: ["10.0.0.0/8"]}}], to: [{operation: {ports: ["80"]}}]}]}',
      ),
    ]);
    expect(policies).toHaveLength(1);
    for (const value of [workload("cart"), service("db", {}), ...policies]) {
      const read = again(value);
      expect(read).toEqual(value);
      expect(JSON.stringify(read)).toBe(JSON.stringify(value));
    }
    expect(again(ip("2001:db8::1"))).toBeInstanceOf(IpAddress);
    expect(again(new SpiffeId("mesh", "a", "b"))).toBeInstanceOf(SpiffeId);
  });

  test("maps, bytes, keys like ours and undefined", () => {
    const value = new Map<unknown, unknown>([
      [80, { bytes: new Uint8Array([0, 255, 7]) }],
      ["$ip", [null, true, -1.5, ""]],
    ]);
    expect(again(value)).toEqual(value);
    expect(again({ $map: "mine", a: undefined })).toEqual({ $map: "mine" });
    const proto = again(JSON.parse('{"__proto__": {"x": 1}}'));
    expect([Object.getPrototypeOf(proto), Object.keys(proto as object)]).toEqual([
      Object.prototype,
      ["__proto__"],
    ]);
  });

  test("what runs, or has no written form, is a bug of ours", () => {
    for (const value of [() => {}, new Date(), Number.NaN, Symbol("s")])
      expect(() => writeValue({ value })).toThrow();
  });

  test("tags that mean nothing are refused", () => {
    for (const text of [
      '{"$ip": "10.0.0.256"}',
      '{"$ip": "10.0.0.1", "more": 1}',
      '{"$id": ["a"]}',
      '{"$bytes": 7}',
      '{"$map": [[1]]}',
      '{"$map": {}}',
      '{"$object": [[1, 2]]}',
      '{"$what": 1}',
    ])
      expect(() => readValue(JSON.parse(text))).toThrow(MeshError);
  });

  test("values within values: at the bound, and one more", () => {
    const { maxDepth } = workerLimits;
    const nested = (depth: number): unknown => JSON.parse("[".repeat(depth) + "]".repeat(depth));
    expect(readValue(nested(maxDepth))).toEqual(nested(maxDepth));
    expect(() => readValue(nested(maxDepth + 1))).toThrow("values within values");
  });
});

describe("frames", () => {
  const values = [{ a: 1 }, "two", null, { long: "x".repeat(5_000) }, []];
  const whole = Uint8Array.from(values.flatMap((value) => [...writeFrame(value)]));

  test("however they are cut", () => {
    for (const size of [1, 2, 3, 5, 7, 1_000, whole.length]) {
      const reader = new FrameReader();
      const read: unknown[] = [];
      for (let at = 0; at < whole.length; at += size)
        read.push(...reader.receive(whole.slice(at, at + size)));
      expect(read).toEqual(values);
    }
  });

  test("of more than the bound are refused by their head, and not written", () => {
    const { maxFrameBytes } = workerLimits;
    const head = (length: number): Uint8Array => {
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setUint32(0, length);
      return bytes;
    };
    expect([...new FrameReader().receive(head(maxFrameBytes))]).toEqual([]);
    expect(() => [...new FrameReader().receive(head(maxFrameBytes + 1))]).toThrow(
      `${maxFrameBytes + 1} bytes`,
    );
    expect(() => writeFrame("x".repeat(maxFrameBytes))).toThrow("bytes");
    expect(writeFrame("x".repeat(maxFrameBytes - 2))).toHaveLength(maxFrameBytes + 4);
  });

  test("of no JSON, or of no UTF-8, are refused", () => {
    for (const body of [[0x7b], [0x22, 0xff, 0x22], []])
      expect(() => [...new FrameReader().receive(new Uint8Array([0, 0, 0, body.length, ...body]))]).toThrow(
        "no JSON",
      );
  });
});

describe("messages", () => {
  test("of a worker are read strictly: each speaks with strangers", () => {
    const id = new SpiffeId("mesh", "shop", "cart");
    const record = { kind: "record", wallMs: 1, level: "info", message: "m", fields: { a: 1, b: null } };
    for (const good of [
      { kind: "done", seq: 1, answer: { any: "thing" } },
      { kind: "want", id },
      { kind: "failed", code: "io", message: "m" },
      record,
    ])
      expect(readSaid(good)).toEqual(good as ReturnType<typeof readSaid>);
    for (const bad of [
      null,
      "done",
      { kind: "done", seq: -1 },
      { kind: "done", seq: 1.5 },
      { kind: "want", id: "spiffe://mesh/ns/shop/sa/cart" },
      { kind: "failed", code: 1, message: "m" },
      { ...record, level: "loud" },
      { ...record, fields: { a: {} } },
      { ...record, fields: null },
      { kind: "serve" },
    ])
      expect(() => readSaid(bad)).toThrow(MeshError);
  });

  test("of the node have a number and a kind", () => {
    expect(readTold({ seq: 1, told: { kind: "serve" } })).toEqual({ seq: 1, told: { kind: "serve" } });
    for (const bad of [
      {},
      { seq: 1 },
      { seq: "1", told: { kind: "serve" } },
      { seq: 1, told: { kind: "sing" } },
    ])
      expect(() => readTold(bad)).toThrow(MeshError);
  });
});
