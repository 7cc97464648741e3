import { describe, expect, test } from "bun:test";
import { parseSocketAddress, type SocketAddress } from "../base/ip.ts";
import { encodeProxyHeader, encodeProxyLine } from "./proxy_protocol.ts";

function address(text: string): SocketAddress {
  const parsed = parseSocketAddress(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

const prefix = "0d0a0d0a000d0a515549540a21";

describe("PROXY protocol v2 (proxy-protocol.txt §2.2)", () => {
  test("IPv4 with the peer's identity in TLV 0xD0", () => {
    const bytes = encodeProxyHeader(address("10.0.0.1:258"), address("10.0.0.2:80"), "spiffe://a");
    expect(Buffer.from(bytes).toString("hex")).toBe(
      `${prefix}1100190a0000010a00000201020050d0000a${Buffer.from("spiffe://a").toString("hex")}`,
    );
  });

  test("IPv6 without identity", () => {
    const bytes = encodeProxyHeader(address("[2001:db8::1]:1"), address("[2001:db8::2]:2"), null);
    expect(Buffer.from(bytes).toString("hex")).toBe(
      `${prefix}21002420010db800000000000000000000000120010db800000000000000000000000200010002`,
    );
  });

  test("mixed families are written as IPv6", () => {
    const bytes = encodeProxyHeader(address("10.0.0.1:1"), address("[2001:db8::2]:2"), null);
    expect(Buffer.from(bytes.subarray(13, 32)).toString("hex")).toBe(
      "21002400000000000000000000ffff0a000001",
    );
  });
});

test("PROXY protocol v1 (§2.1): families are one, and unknown addresses are said to be", () => {
  const line = (source: string, destination: string | null) =>
    new TextDecoder().decode(
      encodeProxyLine(address(source), destination === null ? null : address(destination)),
    );
  expect(line("10.0.0.1:258", "10.0.0.2:80")).toBe("PROXY TCP4 10.0.0.1 10.0.0.2 258 80\r\n");
  expect(line("[2001:db8::1]:1", "[2001:db8::2]:2")).toBe("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n");
  expect(line("10.0.0.1:1", "[2001:db8::2]:2")).toBe("PROXY TCP6 ::ffff:10.0.0.1 2001:db8::2 1 2\r\n");
  expect(line("10.0.0.1:1", null)).toBe("PROXY UNKNOWN\r\n");
});
