import { describe, expect, test } from "bun:test";
import { IpAddress } from "./ip.ts";
import { specialAddress } from "./special_addresses.ts";

function what(text: string): string | null {
  const ip = IpAddress.parse(text);
  if (ip === null) throw new Error(`${text} is not an address`);
  return specialAddress(ip);
}

describe("what is not on the public Internet", () => {
  // First and last address of each range.
  for (const [first, last] of [
    ["0.0.0.0", "0.255.255.255"],
    ["10.0.0.0", "10.255.255.255"],
    ["100.64.0.0", "100.127.255.255"],
    ["127.0.0.0", "127.255.255.255"],
    ["169.254.0.0", "169.254.255.255"],
    ["172.16.0.0", "172.31.255.255"],
    ["192.0.0.0", "192.0.0.255"],
    ["192.168.0.0", "192.168.255.255"],
    ["198.18.0.0", "198.19.255.255"],
    ["224.0.0.0", "255.255.255.255"],
    ["::", "::1"],
    ["64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"],
    ["fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ["fe80::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ["ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ["2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"],
    ["2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ["3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ["4000::", "5fff::"],
  ] as const)
    test(`${first} to ${last}`, () => {
      expect(what(first)).not.toBeNull();
      expect(what(last)).not.toBeNull();
    });

  test("the metadata service, however it is written", () => {
    for (const text of ["169.254.169.254", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe"])
      expect(what(text)).toBe("link-local (RFC 3927)");
    expect(what("64:ff9b::169.254.169.254")).toBe("translated to 169.254.169.254, link-local (RFC 3927)");
    expect(what("::169.254.169.254")).toBe("IPv4-compatible (RFC 4291 §2.5.5.1)");
    expect(what("2002:a9fe:a9fe::")).toBe("6to4 (RFC 3056)");
    expect(what("fd00:ec2::254")).toBe("unique local (RFC 4193)");
  });

  test("what is beside the ranges is public", () => {
    for (const text of [
      "1.0.0.0",
      "9.255.255.255",
      "11.0.0.0",
      "100.63.255.255",
      "100.128.0.0",
      "126.255.255.255",
      "128.0.0.0",
      "172.15.255.255",
      "172.32.0.0",
      "192.0.1.0",
      "192.167.255.255",
      "192.169.0.0",
      "198.17.255.255",
      "198.20.0.0",
      "223.255.255.255",
      "::ffff:8.8.8.8",
      "64:ff9b::8.8.8.8",
      "2001:200::",
      "2001:db9::",
      "2003::",
      "2606:4700::1111",
      "3ffe:ffff::",
    ])
      expect([text, what(text)]).toEqual([text, null]);
  });
});
