import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { grpcLimits } from "../../base/limits/rpc.ts";
import {
  binaryMetadata,
  encodeBinaryMetadata,
  formatTimeout,
  grpcContent,
  isCustomMetadata,
  percentDecode,
  percentEncode,
  readStatus,
  readTimeoutMs,
  statusFields,
} from "./call_headers.ts";
import { GrpcError, grpcCode } from "./status.ts";

describe("Content-Type", () => {
  test("application/grpc, with proto or without, is ours; another subtype is gRPC all the same; grpc-web is not", () => {
    const content = (value: string) => grpcContent(["content-type", value]);
    for (const value of ["application/grpc", "application/grpc+proto", "Application/gRPC;charset=utf-8"])
      expect(content(value)).toBe("proto");
    expect(content("application/grpc+json")).toBe("other");
    for (const value of ["application/grpc-web", "application/grpcx", "application/json", ""])
      expect(content(value)).toBeNull();
    expect(grpcContent([])).toBeNull();
  });
});

describe("Timeout", () => {
  const read = (value: string) => readTimeoutMs(["grpc-timeout", value]);

  test("all six units", () => {
    expect([read("2H"), read("3M"), read("4S"), read("5m"), read("6u"), read("7n")]).toEqual([
      7_200_000, 180_000, 4_000, 5, 0.006, 0.000007,
    ]);
    expect(readTimeoutMs([])).toBeNull();
  });

  test("nine digits, no digits, no unit and strange units are refused", () => {
    for (const value of ["123456789m", "m", "1", "1s", "-1m", "1.5S", "1 m", ""])
      expect(() => read(value)).toThrow(GrpcError);
  });

  test("what is written has at most eight digits, and is never less than asked for nor more than a unit more", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e14, noNaN: true }), (timeoutMs) => {
        const text = formatTimeout(timeoutMs);
        expect(text).toMatch(/^[0-9]{1,8}[mSMH]$/);
        const back = read(text) ?? -1;
        expect(back).toBeGreaterThanOrEqual(timeoutMs);
        expect(back - timeoutMs).toBeLessThanOrEqual(Math.max(1, timeoutMs * 0.001));
      }),
    );
  });
});

describe("Status-Message", () => {
  test("percent-encoding of UTF-8 comes back, and is printable ASCII", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 200 }), (text) => {
        const encoded = percentEncode(text);
        expect(encoded).toMatch(/^[\x20-\x7e]*$/);
        expect(percentDecode(encoded)).toBe(text.toWellFormed());
      }),
    );
  });

  test("the specification's own rules: space stays, percent and what is beyond ~ do not", () => {
    expect(percentEncode("a b%c\n~é")).toBe("a b%25c%0A~%C3%A9");
  });

  test("decoding never fails: invalid sequences stay as they came", () => {
    expect(percentDecode("100% of %zz %4")).toBe("100% of %zz %4");
  });

  test("a long message is cut at both ends", () => {
    const long = "x".repeat(grpcLimits.maxStatusMessageChars + 1);
    expect(percentEncode(long).length).toBe(grpcLimits.maxStatusMessageChars);
    expect(percentDecode(long).length).toBe(grpcLimits.maxStatusMessageChars);
  });
});

describe("Status", () => {
  test("fields and back", () => {
    const error = new GrpcError(grpcCode.notFound, "nö");
    expect(readStatus(statusFields(error))).toMatchObject({ code: 5, message: "nö" });
    expect(readStatus(statusFields(null))).toBeNull();
    expect(readStatus([])).toBe("missing");
    expect(readStatus(["grpc-status", "99"])).toMatchObject({ code: grpcCode.unknown });
    expect(readStatus(["grpc-status", "+1"])).toMatchObject({ code: grpcCode.unknown });
  });
});

describe("Custom-Metadata", () => {
  test("binary values come back, of padded base64 too, and of several the first", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(binaryMetadata(["x-bin", encodeBinaryMetadata(bytes)], "x-bin")).toEqual(bytes);
      }),
    );
    expect(binaryMetadata(["x-bin", "AAE=,AAI"], "x-bin")).toEqual(Uint8Array.of(0, 1));
    expect(binaryMetadata(["x-bin", "*"], "x-bin")).toBeNull();
    expect(binaryMetadata([], "x-bin")).toBeNull();
  });

  test("names that the protocol writes itself are not the caller's", () => {
    expect(["authorization", "clusterid", "x-a_b.c-bin"].every(isCustomMetadata)).toBe(true);
    expect([":path", "grpc-status", "te", "content-type", "Upper", "", "a b"].some(isCustomMetadata)).toBe(
      false,
    );
  });
});
