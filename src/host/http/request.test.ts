/** URLs and headers that operators and documents give: what is sent, what is refused. */
import { describe, expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import type { HttpRequest } from "../host.ts";
import { encodeRequest, reachableAddresses, readTarget, serverNameOf } from "./request.ts";

function request(url: string, more: Partial<HttpRequest> = {}): HttpRequest {
  return { method: "GET", url, timeoutMs: 1_000, maxResponseBytes: 1_000, reach: "public", ...more };
}

function encoded(url: string, more: Partial<HttpRequest> = {}): string {
  const asked = request(url, more);
  return new TextDecoder().decode(encodeRequest(asked, readTarget(asked)));
}

function ip(text: string): IpAddress {
  const parsed = IpAddress.parse(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

describe("where it goes", () => {
  for (const [url, hostname, port, authority, path] of [
    ["https://issuer.example/keys?a=b#c", "issuer.example", 443, "issuer.example", "/keys?a=b"],
    ["HTTP://Issuer.Example:8080", "issuer.example", 8080, "issuer.example:8080", "/"],
    ["https://[2001:DB8::1]:8443/", "2001:db8::1", 8443, "[2001:db8::1]:8443", "/"],
    ["https://0x7f.1/", "127.0.0.1", 443, "127.0.0.1", "/"],
    ["https://2852039166/", "169.254.169.254", 443, "169.254.169.254", "/"],
    ["https://[::ffff:127.0.0.1]/", "::ffff:7f00:1", 443, "[::ffff:7f00:1]", "/"],
  ] as const)
    test(url, () => {
      expect(readTarget(request(url))).toMatchObject({ hostname, port, authority, path });
    });

  test("what is no such URL is configuration, blame local, and no secret of it is repeated", () => {
    for (const url of [
      "",
      "keys",
      "ftp://secret.example/",
      "file:///etc/secret",
      "https://user:secret@a.example/",
      "https://a.example:0/secret",
      "https://secret@a.example/",
    ])
      try {
        readTarget(request(url));
        expect.unreachable(url);
      } catch (error) {
        expect(error).toMatchObject({ code: "configuration", blame: "local" });
        expect(String(error)).not.toContain("secret");
      }
  });

  test("an address is no server name; a trailing dot is not part of one", () => {
    const nameOf = (url: string) => serverNameOf(readTarget(request(url)));
    expect(nameOf("https://127.0.0.1/")).toBeNull();
    expect(nameOf("https://[::1]/")).toBeNull();
    expect(nameOf("https://a.example./")).toBe("a.example");
  });
});

describe("which addresses are dialled", () => {
  test("public ones; the others of a name are left out", () => {
    const found = [ip("10.0.0.1"), ip("8.8.8.8"), ip("::1"), ip("2606:4700::1")];
    const of = (reach: "public" | "any") =>
      reachableAddresses(request("https://a.example/", { reach }), "a.example", found).map(
        ({ text }) => text,
      );
    expect(of("public")).toEqual(["8.8.8.8", "2606:4700::1"]);
    expect(of("any")).toHaveLength(4);
  });

  test("a name that is only private is address_forbidden, saying what it is", () => {
    for (const text of ["127.0.0.1", "169.254.169.254", "::ffff:10.1.2.3", "fd00::1"])
      expect(() => reachableAddresses(request("https://a.example/"), "a.example", [ip(text)])).toThrow(
        expect.objectContaining({ code: "address_forbidden", blame: "upstream" }),
      );
  });
});

describe("bytes", () => {
  test("head and body", () => {
    const body = new TextEncoder().encode("{}");
    expect(encoded("https://a.example/x", { method: "POST", body, headers: { "X-Vault-Token": "t" } })).toBe(
      "POST /x HTTP/1.1\r\nHost: a.example\r\nX-Vault-Token: t\r\nConnection: close\r\nAccept-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
    );
    expect(encoded("https://a.example/x", { method: "LIST" })).toStartWith("LIST /x HTTP/1.1\r\n");
    expect(encoded("https://a.example/x", { method: "PUT" })).toContain("Content-Length: 0\r\n");
  });

  test("line breaks in a path are encoded or gone, never sent", () => {
    expect(encoded("https://a.example/a\r\nX: y/b c")).toStartWith("GET /aX:%20y/b%20c HTTP/1.1\r\n");
  });

  for (const [name, value] of [
    ["a b", "x"],
    ["", "x"],
    ["a", "x\r\nb: c"],
    ["a", "x\ny"],
    ["a", "\0"],
    ["Host", "other"],
    ["content-length", "0"],
    ["Transfer-Encoding", "chunked"],
    ["Connection", "keep-alive"],
    ["Accept-Encoding", "gzip"],
  ] as const)
    test(`the header ${JSON.stringify(name)}: ${JSON.stringify(value)} is refused`, () => {
      expect(() => encoded("https://a.example/", { headers: { [name]: value } })).toThrow(
        expect.objectContaining({ code: "configuration", blame: "local" }),
      );
    });
});
