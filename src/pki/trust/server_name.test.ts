import { expect, test } from "bun:test";
import type { Certificate } from "../x509/certificate.ts";
import type { GeneralName } from "../x509/extensions.ts";
import { hasUri, isServerFor, isUri, serverNames } from "./server_name.ts";

const dns = (value: string): GeneralName => ({ kind: "dns", value });
const uri = (value: string): GeneralName => ({ kind: "uri", value });
const ip = (...bytes: readonly number[]): GeneralName => ({
  kind: "ip",
  value: null,
  bytes: Uint8Array.from(bytes),
});
const of = (...subjectAltNames: readonly GeneralName[]) =>
  ({ extensions: { subjectAltNames } }) as unknown as Certificate;

test("a server's names are said in full up to eight of them, whatever kind they are", () => {
  expect(serverNames(of())).toBe("none");
  expect(serverNames(of({ kind: "email", value: null }))).toBe("none");
  expect(serverNames(of(dns("a.example"), uri("spiffe://td/x"), ip(192, 0, 2, 7), ip(1, 2)))).toBe(
    "a.example, spiffe://td/x, 192.0.2.7, an IP address of no known length",
  );
  const many = Array.from({ length: 9 }, (_, index) => dns(`h${index}`));
  expect(serverNames(of(...many.slice(1)))).toBe("h1, h2, h3, h4, h5, h6, h7, h8");
  expect(serverNames(of(...many))).toBe("h0, h1, h2, h3, h4, h5, h6, h7 and 1 more");
});

test("a name has 253 characters at the most", () => {
  const label = "a".repeat(63);
  const longest = `${label}.${label}.${label}.${"b".repeat(61)}`;
  expect(longest).toHaveLength(253);
  expect(isServerFor(of(dns(longest)), longest)).toBe(true);
  expect(isServerFor(of(dns(`${longest}b`)), `${longest}b`)).toBe(false);
});

test("a star is one whole label on the left, above two others", () => {
  for (const [presented, host, isNamed] of [
    ["*.shop.example", "web.shop.example", true],
    ["*.shop.example", "WEB.shop.example.", true],
    ["*.shop.example", "shop.example", false],
    ["*.shop.example", "a.web.shop.example", false],
    ["*.example", "shop.example", false],
    ["*.*.example", "web.shop.example", false],
    ["w*.shop.example", "web.shop.example", false],
    ["*.shop.example", "localhost", false],
    ["*.shop.example", "e", false],
    ["localhost", "localhost", true],
  ] as const)
    expect([presented, host, isServerFor(of(dns(presented)), host)]).toEqual([presented, host, isNamed]);
});

test("an address is compared with addresses, a URI with URIs as it is written", () => {
  expect(isServerFor(of(dns("192.0.2.7")), "192.0.2.7")).toBe(false);
  expect(isServerFor(of(ip(192, 0, 2, 7)), "192.0.2.7")).toBe(true);
  expect(isServerFor(of(dns("192.0.2")), "192.0.2")).toBe(false);
  expect([isUri("spiffe://td/x"), isUri("td")]).toEqual([true, false]);
  expect(hasUri(of(dns("spiffe://td/x"), uri("spiffe://td/y")), "spiffe://td/y")).toBe(true);
  expect(hasUri(of(dns("spiffe://td/x")), "spiffe://td/x")).toBe(false);
});
