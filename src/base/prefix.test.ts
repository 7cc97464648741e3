import { describe, expect, test } from "bun:test";
import { IpAddress } from "./ip.ts";
import {
  byteMask,
  formatNetwork,
  formatPrefix,
  isSingleAddress,
  networkAddress,
  parseIpPrefix,
} from "./prefix.ts";

function prefix(text: string) {
  const parsed = parseIpPrefix(text);
  if (parsed === null) throw new Error(`${text} is a prefix`);
  return parsed;
}

describe("a prefix", () => {
  test("keeps its host bits as text, and loses them as a network", () => {
    const cases: readonly (readonly [string, string, string])[] = [
      ["10.1.2.3/8", "10.1.2.3/8", "10.0.0.0/8"],
      ["10.1.2.3", "10.1.2.3/32", "10.1.2.3/32"],
      ["255.255.255.255/0", "255.255.255.255/0", "0.0.0.0/0"],
      ["172.31.255.255/12", "172.31.255.255/12", "172.16.0.0/12"],
      ["192.0.2.129/25", "192.0.2.129/25", "192.0.2.128/25"],
      ["192.0.2.3/31", "192.0.2.3/31", "192.0.2.2/31"],
      ["2001:db8::ffff/33", "2001:db8::ffff/33", "2001:db8::/33"],
      ["fd00:0:0:1:8000::1/65", "fd00::1:8000:0:0:1/65", "fd00:0:0:1:8000::/65"],
      ["ffff::1/0", "ffff::1/0", "::/0"],
    ];
    for (const [text, written, network] of cases) {
      expect(formatPrefix(prefix(text))).toBe(written);
      expect(formatNetwork(prefix(text))).toBe(network);
    }
  });

  test("of an IPv6 address never becomes one of IPv4 by masking", () => {
    for (let length = 0; length <= 128; length++) {
      const masked = networkAddress({ ip: prefix("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").ip, length });
      expect(masked.isIpv4).toBe(false);
      expect(masked.bytes.reduce((sum, byte) => sum + (byte.toString(2).match(/1/g)?.length ?? 0), 0)).toBe(
        length,
      );
    }
  });

  test("masks each byte by itself", () => {
    expect([0, 1, 2].map((index) => byteMask(12, index))).toEqual([0xff, 0xf0, 0]);
    expect(byteMask(0, 0)).toBe(0);
    expect(byteMask(128, 15)).toBe(0xff);
  });

  test("holds one address when all its bits count", () => {
    expect(["10.0.0.1", "10.0.0.1/32", "::1", "::1/128"].every((text) => isSingleAddress(prefix(text)))).toBe(
      true,
    );
    expect(["10.0.0.1/31", "::1/32", "::1/127"].some((text) => isSingleAddress(prefix(text)))).toBe(false);
  });

  test("is refused with a length that is none", () => {
    const texts = [
      "10.0.0.0/33",
      "::/129",
      "10.0.0.0/08",
      "10.0.0.0/",
      "10.0.0.0/-1",
      "10.0.0.0/8/8",
      "/8",
      "10.0.0/8",
    ];
    for (const text of texts) expect(parseIpPrefix(text)).toBeNull();
    expect(IpAddress.parse("10.0.0.0/8")).toBeNull();
  });
});
