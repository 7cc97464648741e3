import { expect, test } from "bun:test";
import { IpAddress } from "../../src/base/ip.ts";
import { rewriteToIpv6 } from "./ipv6_text.ts";

/** Built here, so that it is no address in the text of this file, which is rewritten too. */
const dotted = (...parts: readonly number[]) => parts.join(".");
const [host, service] = [dotted(10, 0, 0, 1), dotted(10, 88, 0, 2)];

test("an address is rewritten wherever it stands, and a port behind it is told from it", () => {
  expect(rewriteToIpv6(`["${host}", "${service}:5432"]`)).toBe('["fd10::1", "[fd10:88::2]:5432"]');
  expect(rewriteToIpv6(`${host}:8080=${service}:80`)).toBe("[fd10::1]:8080=[fd10:88::2]:80");
  expect(rewriteToIpv6(`${host}:\${port}`)).toBe(`[fd10::1]:\${port}`);
  expect(rewriteToIpv6(`spec: {address: ${host}, addresses: [${dotted(10, 88, 0, 0)}/24]}`)).toBe(
    "spec: {address: fd10::1, addresses: [fd10:88::/120]}",
  );
  expect(rewriteToIpv6(`/^for="${host.replaceAll(".", "\\.")}:\\d+"/`)).toBe('/^for="\\[fd10::1\\]:\\d+"/');
});

test("the address of this host may stay as it is", () => {
  const loopback = dotted(127, 0, 0, 1);
  expect(rewriteToIpv6(`${loopback}:80 ${host}`, true)).toBe(`${loopback}:80 fd10::1`);
});

test("what is no address stays as it is", () => {
  for (const text of ["version 1.2.3", `x${host}`, `${host}.example`, "1.2.3.4.5", "HTTP/1.1"])
    expect(rewriteToIpv6(text)).toBe(text);
});

test("addresses that are not the same are not the same afterwards, and are written as the program writes them", () => {
  const all = [0, 1, 9, 88, 255].flatMap((b) =>
    [0, 2, 9].flatMap((c) => [1, 77].map((d) => dotted(10, b, c, d))),
  );
  const others = [dotted(127, 0, 0, 1), dotted(0, 0, 0, 0), dotted(192, 0, 2, 9), dotted(169, 254, 169, 254)];
  const rewritten = [...all, ...others].map((text) => rewriteToIpv6(text));
  expect(new Set(rewritten).size).toBe(rewritten.length);
  for (const text of rewritten) expect(IpAddress.parse(text)?.text).toBe(text);
});
