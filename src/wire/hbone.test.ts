import { describe, expect, test } from "bun:test";
import { rejectionOf } from "../base/testing/rejection.ts";
import { answerHeaders, connectHeaders, isEndOfData, parseAnswer, parseConnect, resetCode } from "./hbone.ts";

const request = {
  authority: "10.0.0.7:8080",
  baggage: "k8s.namespace.name=shop",
  forwarded: 'for="10.0.0.1:4711"',
  traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
  forwardedNetwork: "west",
};

describe("a CONNECT", () => {
  test("says each of its headers by its own name, and is read as it was said", () => {
    const fields = connectHeaders(request);
    expect(fields).toEqual([
      ":method",
      "CONNECT",
      ":authority",
      "10.0.0.7:8080",
      "baggage",
      "k8s.namespace.name=shop",
      "forwarded",
      'for="10.0.0.1:4711"',
      "traceparent",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
      "x-forwarded-network",
      "west",
    ]);
    expect(parseConnect(fields)).toEqual(request);
  });

  test("says nothing of what is not known", () => {
    const bare = {
      authority: "a:1",
      ...{ baggage: null, forwarded: null, traceparent: null, forwardedNetwork: null },
    };
    expect(connectHeaders(bare)).toEqual([":method", "CONNECT", ":authority", "a:1"]);
    expect(connectHeaders({ ...bare, baggage: "" }).length).toBe(4);
    expect(parseConnect(connectHeaders(bare))).toEqual(bare);
  });

  test("baggage of several lines is one", () => {
    const fields = [...connectHeaders(request), "baggage", "service.name=cart"];
    expect(parseConnect(fields)).toMatchObject({ baggage: "k8s.namespace.name=shop,service.name=cart" });
  });

  test.each([
    [[":method", "GET", ":authority", "a:1"], "method GET is not CONNECT"],
    [[":authority", "a:1"], "method missing is not CONNECT"],
    [[":method", "CONNECT", ":protocol", "websocket", ":authority", "a:1"], "extended CONNECT is not HBONE"],
    [[":method", "CONNECT"], "CONNECT without an authority"],
    [[":method", "CONNECT", ":authority", ""], "CONNECT without an authority"],
    [[":method", "CONNECT", ":authority", "a"], "the authority is not host:port"],
  ])("%p is refused: %s", (fields, message) =>
    expect(parseConnect(fields)).toEqual({ status: 400, message }),
  );
});

describe("an answer", () => {
  test("tells who answers where the tunnel is open, and never beside a refusal", () => {
    expect(answerHeaders(200, "service.name=cart")).toEqual([
      ":status",
      "200",
      "baggage",
      "service.name=cart",
    ]);
    for (const status of [400, 401, 503] as const)
      expect(answerHeaders(status, "service.name=cart")).toEqual([":status", String(status)]);
    for (const nothing of [null, ""]) expect(answerHeaders(200, nothing)).toEqual([":status", "200"]);
  });

  test("200 alone opens the tunnel; of each other its meaning is said", async () => {
    expect(parseAnswer([":status", "200", "baggage", "a=1", "baggage", "b=2"])).toEqual({
      status: 200,
      baggage: "a=1,b=2",
    });
    for (const [status, meaning] of [
      ["400", "the tunnel answered 400: it does not take this destination"],
      ["401", "the tunnel answered 401: its policy refuses us"],
      ["503", "the tunnel answered 503: the application cannot be reached"],
      ["204", "the tunnel answered 204"],
    ] as const)
      expect(await rejectionOf((async () => parseAnswer([":status", status]))())).toMatchObject({
        ...{ code: "hbone_status", blame: "upstream", message: meaning },
      });
  });
});

test("a reset with NO_ERROR or CANCEL is the end of the data, any other is a fault", () => {
  const ends = Object.entries(resetCode).filter(([, code]) => isEndOfData(code));
  expect(ends.map(([name]) => name)).toEqual(["noError", "cancel"]);
});
