import { expect, test } from "bun:test";
import { authLimits } from "../../base/limits/auth.ts";
import type { Socket } from "../../host/host.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { askOverHttp } from "./authorizer_http.ts";

const authorizer = {
  ...{ kind: "http", name: "authz", timeoutMs: 1_000, pathPrefix: "/check", body: null },
  ...{ includeRequestHeadersInCheck: [], includeAdditionalHeadersInCheck: new Map<string, string>() },
  ...{ headersToUpstreamOnAllow: [], headersToDownstreamOnAllow: [], headersToDownstreamOnDeny: [] },
} as unknown as Parameters<typeof askOverHttp>[0];

/** What the authorizer said comes of a refusal with so many bytes of a page. */
async function asked(bytes: number) {
  let receive = (_bytes: Uint8Array): void => {};
  const written: string[] = [];
  const socket = {
    write: (piece: Uint8Array) => {
      written.push(new TextDecoder().decode(piece));
      return piece.length;
    },
    setHandler: (handler: { onData(bytes: Uint8Array): void }) => {
      receive = (piece) => handler.onData(piece);
    },
    ...{ close: () => {}, reset: () => {}, end: () => {}, pause: () => {}, resume: () => {} },
  } as unknown as Socket;
  const head = { method: "GET", path: "/a", authority: "cart.shop", scheme: "http", fields: [] };
  const question = { head, body: new Uint8Array(0), isWholeBody: true };
  const answer = askOverHttp(
    authorizer,
    question as unknown as Parameters<typeof askOverHttp>[1],
    socket,
    new FakeClock(0),
  );
  receive(new TextEncoder().encode(`HTTP/1.1 403 Forbidden\r\ncontent-length: ${bytes}\r\n\r\n`));
  for (let left = bytes; left > 0; left -= 65_536) receive(new Uint8Array(Math.min(left, 65_536)));
  return { answer: await answer, written };
}

test("an authorizer's page is handed on up to its bound, and one byte more is no answer", async () => {
  const { maxAuthorizerAnswerBytes } = authLimits;
  const { answer, written } = await asked(maxAuthorizerAnswerBytes);
  expect(written.join("")).toStartWith("GET /check/a HTTP/1.1\r\n");
  expect(answer).toMatchObject({ kind: "denied", status: 403 });
  expect(answer.kind === "denied" ? answer.body.length : 0).toBe(maxAuthorizerAnswerBytes);
  expect((await asked(maxAuthorizerAnswerBytes + 1)).answer).toEqual({
    kind: "failed",
    reason: "authz's answer is too long",
  });
});
