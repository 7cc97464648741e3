/** Each extension that decides something, written element by element. */
import { describe, expect, test } from "bun:test";
import { contextTag, DerReader, derTag } from "../der/der.ts";
import { encodeDer, fromHex } from "../der/encode.ts";
import { keyUsageBit, readCertificateExtensions, readExtensionList } from "./extensions.ts";
import { encodeExtension } from "./signed_der.ts";

const sequence = (...parts: readonly Uint8Array[]): Uint8Array => encodeDer(derTag.sequence, ...parts);

function read(oid: string, value: Uint8Array, criticality: "critical" | "optional" = "optional") {
  const list = readExtensionList(new DerReader(encodeExtension(oid, value, criticality)));
  return readCertificateExtensions(list);
}

const altName = (...names: readonly string[]) =>
  read("551d11", sequence(...names.map(fromHex))).subjectAltNames;

describe("names", () => {
  test("that matter have their value, the others their kind alone", () => {
    expect(
      altName(
        "860161",
        "820162",
        "87040a000001",
        "810163",
        "a4023000",
        "a0020500",
        "a3020500",
        "a5020500",
        "880129",
      ),
    ).toEqual([
      { kind: "uri", value: "a" },
      { kind: "dns", value: "b" },
      { kind: "ip", value: null, bytes: fromHex("0a000001") },
      { kind: "email", value: null },
      { kind: "directory", value: null },
      { kind: "other", value: null },
      { kind: "other", value: null },
      { kind: "other", value: null },
      { kind: "other", value: null },
    ]);
    expect(() => altName("890161")).toThrow("general name with tag 137");
    expect(() => altName()).toThrow();
  });

  test("that are permitted and excluded, each where it is", () => {
    const subtree = (name: string, more = "") => sequence(fromHex(name + more));
    const permitted = encodeDer(contextTag(0, true), subtree("820161"), subtree("820162"));
    const excluded = encodeDer(contextTag(1, true), subtree("820163"));
    const constraints = (...parts: readonly Uint8Array[]) =>
      read("551d1e", sequence(...parts)).nameConstraints;
    const dns = (value: string) => ({ kind: "dns", value }) as const;
    expect(constraints(permitted)).toEqual({ permitted: [dns("a"), dns("b")], excluded: [] });
    expect(constraints(excluded)).toEqual({ permitted: null, excluded: [dns("c")] });
    expect(constraints(permitted, excluded)).toEqual({
      permitted: [dns("a"), dns("b")],
      excluded: [dns("c")],
    });
    expect(() => constraints()).toThrow("without a subtree");
    expect(() => constraints(encodeDer(contextTag(0, true), subtree("820161", "800101")))).toThrow(
      "trailing bytes",
    );
  });
});

describe("what a certificate may do", () => {
  test("a CA says so, and how many may be below it", () => {
    const constraints = (content: string) => read("551d13", fromHex(content)).basicConstraints;
    expect(constraints("3000")).toEqual({ isCa: false, pathLength: null });
    expect(constraints("30030101ff")).toEqual({ isCa: true, pathLength: null });
    expect(constraints("30060101ff020103")).toEqual({ isCa: true, pathLength: 3 });
    expect(() => constraints("3003020103")).toThrow("path length without CA");
    expect(() => constraints("3006010100020103")).toThrow("path length without CA");
  });

  test("uses are bits, the first one the highest, up to the ninth", () => {
    const usage = (bits: string) => read("551d0f", encodeDer(derTag.bitString, fromHex(bits))).keyUsage;
    expect(usage("0780")).toBe(1 << keyUsageBit.digitalSignature);
    expect(usage("0204")).toBe(1 << keyUsageBit.keyCertSign);
    expect(usage("0106")).toBe((1 << keyUsageBit.keyCertSign) | (1 << keyUsageBit.cRLSign));
    expect(usage("070080")).toBe(1 << 8);
    expect(usage("000001")).toBe(1 << 15);
    for (const none of ["00", "0700", "00000080", "0000000080"])
      expect(() => usage(none)).toThrow("without a usage");
  });

  test("purposes in their order, one at the least", () => {
    const purposes = (content: string) => read("551d25", fromHex(content)).extendedKeyUsage;
    expect(purposes("301406082b0601050507030106082b06010505070302")).toEqual([
      "1.3.6.1.5.5.7.3.1",
      "1.3.6.1.5.5.7.3.2",
    ]);
    expect(() => purposes("3000")).toThrow();
  });

  test("key identifiers, of which the issuer's may be left out", () => {
    expect(read("551d0e", fromHex("0402abcd")).subjectKeyId).toBe("abcd");
    expect(read("551d23", fromHex("30048002abcd")).authorityKeyId).toBe("abcd");
    expect(read("551d23", fromHex("3000")).authorityKeyId).toBeNull();
  });
});

describe("a list of extensions", () => {
  test("has each once, and one at the least", () => {
    const one = encodeExtension("551d13", fromHex("3000"), "critical");
    expect(() => readExtensionList(new DerReader(new Uint8Array([...one, ...one])))).toThrow(
      "2.5.29.19 comes twice",
    );
    expect(() => readExtensionList(new DerReader(new Uint8Array()))).toThrow("empty list");
    expect(readExtensionList(new DerReader(one))).toEqual([
      { id: "2.5.29.19", critical: true, value: fromHex("3000") },
    ]);
  });

  test("names what is critical and not understood: key identifiers among it, what is understood not", () => {
    const unknown = (oid: string, value: string, criticality: "critical" | "optional") =>
      read(oid, fromHex(value), criticality).unknownCritical;
    expect(unknown("551d0e", "0402abcd", "critical")).toEqual(["2.5.29.14"]);
    expect(unknown("551d0e", "0402abcd", "optional")).toEqual([]);
    expect(unknown("551d13", "3000", "critical")).toEqual([]);
    expect(unknown("551d63", "3000", "critical")).toEqual(["2.5.29.99"]);
  });
});
