import { expect, test } from "bun:test";
import { websocketAccept, websocketKey } from "./websocket.ts";

test("the accept of RFC 6455 §1.3", () => {
  expect(websocketAccept("dGhlIHNhbXBsZSBub25jZQ==")).toBe("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
});

test("a key is 16 bytes, and its seed's", () => {
  expect(atob(websocketKey("a")).length).toBe(16);
  expect(websocketKey("a")).not.toBe(websocketKey("b"));
});
