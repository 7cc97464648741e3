import { describe, expect, test } from "bun:test";
import { grpcStatusOf, localReply, replyBody, replyHead } from "./local_reply.ts";
import { exchangeOf } from "./testing/exchanges.ts";

const http = (method = "GET") => exchangeOf({ request: { method } });
const grpc = () => exchangeOf({ request: { fields: ["content-type", "application/grpc"] } });

/** gRPC's `http-grpc-status-mapping.md`; what it does not name is UNKNOWN. */
const table: Readonly<Record<number, number>> = {
  ...{ 400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14 },
  ...{ 200: 2, 402: 2, 405: 2, 408: 2, 418: 2, 500: 2, 501: 2, 505: 2 },
};

test.each(Object.entries(table))("HTTP's %s is gRPC's %d", (status, code) => {
  expect(grpcStatusOf(Number(status))).toBe(code);
  const head = replyHead(grpc(), localReply(Number(status), "-", "", "why"));
  expect(head).toEqual({
    status: 200,
    fields: ["content-type", "application/grpc", "grpc-status", String(code)],
  });
});

describe("an answer of our own", () => {
  test("has its status, its fields and how long it is, and its words for the client alone", () => {
    const reply = localReply(429, "RL", "too många", "RateLimit shop/limit");
    const exchange = http();
    expect(replyHead(exchange, { ...reply, fields: [...reply.fields, "retry-after", "3"] })).toEqual({
      status: 429,
      fields: ["content-type", "text/plain", "retry-after", "3", "content-length", "10"],
    });
    expect(replyBody(exchange, reply)?.bytes).toBe(10);
    expect(replyHead(exchange, localReply(503, "UH", "", "no endpoint")).fields).toEqual([
      "content-length",
      "0",
    ]);
    expect(replyBody(exchange, localReply(503, "UH", "", "no endpoint"))).toBeNull();
  });

  test("to HEAD says how long it would be, and has nothing (RFC 9110 §9.3.2)", () => {
    const reply = localReply(403, "-", "RBAC: access denied", "shop/deny");
    const exchange = http("HEAD");
    expect(replyHead(exchange, reply).fields).toContain("19");
    expect(replyBody(exchange, reply)).toBeNull();
  });

  test("to gRPC has its words in the status, percent-encoded, and its other fields beside", () => {
    const reply = localReply(429, "RL", "100% für dich\n", "limit", 8);
    const fields = [...reply.fields, "content-length", "9", "retry-after", "3"];
    expect(replyHead(grpc(), { ...reply, fields }).fields).toEqual([
      "content-type",
      "application/grpc",
      "grpc-status",
      "8",
      "grpc-message",
      "100%25 f%C3%BCr dich%0A",
      "retry-after",
      "3",
    ]);
    expect(replyBody(grpc(), reply)).toBeNull();
  });
});
