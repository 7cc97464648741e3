import { describe, expect, test } from "bun:test";
import { h1Limits } from "../../base/limits/h1.ts";
import { HttpConnectServer, httpConnectResponse } from "./connect.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("HTTP CONNECT of a proxy client (RFC 9112 §3.2.3)", () => {
  test("byte by byte, with data after the head kept", () => {
    const server = new HttpConnectServer();
    const head = bytes("CONNECT Backend.shop:80 HTTP/1.1\r\nHost: backend.shop:80\r\n\r");
    for (const byte of head) expect(server.receive(Uint8Array.of(byte)).kind).toBe("more");
    const step = server.receive(bytes("\nhello"));
    expect(step).toEqual({
      kind: "connect",
      destination: { host: "backend.shop", port: 80 },
      rest: bytes("hello"),
    });
  });

  test("addresses of both families", () => {
    const step = new HttpConnectServer().receive(bytes("CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n"));
    if (step.kind !== "connect" || !("ip" in step.destination)) throw new Error(step.kind);
    expect(step.destination.ip.text).toBe("2001:db8::1");
  });

  test("what is refused, and with which status", () => {
    const status = (head: string) => {
      const step = new HttpConnectServer().receive(bytes(head));
      return step.kind === "refuse" ? step.status : step.kind;
    };
    expect(status("GET http://a/ HTTP/1.1\r\n\r\n")).toBe(405);
    expect(status("CONNECT a HTTP/1.1\r\n\r\n")).toBe(400);
    expect(status("CONNECT a:99999 HTTP/1.1\r\n\r\n")).toBe(400);
    expect(status("CONNECT a/b:80 HTTP/1.1\r\n\r\n")).toBe(400);
    expect(status("\x16\x03\x01\r\n\r\n")).toBe(400);
    expect(status(`CONNECT a:80 HTTP/1.1\r\nx: ${"y".repeat(9000)}`)).toBe(431);
    expect(status(`CONNECT a:80 HTTP/1.1\r\n${"x: y\r\n".repeat(h1Limits.maxFields + 1)}\r\n`)).toBe(431);
    expect(status("CONNECT a:80 HTTP/1.1\r\nHost : a\r\n\r\n")).toBe(400);
    expect(status("CONNECT a:80 HTTP/1.1\r\nx: a\n\r\n\r\n")).toBe(400);
  });

  test("the answer to success has no body, a refusal explains", () => {
    expect(new TextDecoder().decode(httpConnectResponse(200, ""))).toBe(
      "HTTP/1.1 200 Connection Established\r\n\r\n",
    );
    expect(new TextDecoder().decode(httpConnectResponse(503, "no healthy upstream"))).toContain(
      "\r\n\r\nno healthy upstream\n",
    );
  });
});

test("a request head of just the bound is read, one byte more is 431", () => {
  const start = "CONNECT a.example:80 HTTP/1.1\r\nx: ";
  const head = (length: number) => `${start}${"y".repeat(length - start.length - 4)}\r\n\r\n`;
  const answer = (length: number) => new HttpConnectServer().receive(bytes(head(length)));
  expect(answer(h1Limits.connectHeadBytes).kind).toBe("connect");
  expect(answer(h1Limits.connectHeadBytes + 1)).toMatchObject({ kind: "refuse", status: 431 });
});
