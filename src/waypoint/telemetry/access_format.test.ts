import { describe, expect, test } from "bun:test";
import { ip, service, workload } from "../../mesh/testing/fixture.ts";
import { exchangeOf, ruleOf } from "../testing/exchanges.ts";
import { compileFormat, istioFormat } from "./access_format.ts";
import { recordOf } from "./request_record.ts";

const began = Date.parse("2026-11-28T10:00:00.500Z");

function record(fields: string[] = []) {
  const exchange = exchangeOf({
    request: { method: "POST", path: "/a?b=1", fields, version: "2" },
    downstream: { sni: "cart.example" },
    startedAtMs: 1000,
  });
  exchange.rule = ruleOf({ name: "cart.http.0" });
  exchange.response = { status: 201, fields: ["x-answer", "yes"] };
  exchange.endpoint = {
    workload: workload("cart-1", { addresses: [ip("10.0.1.1")] }),
    port: 8080,
    service: service("cart", { 80: 8080 }),
    servicePort: 80,
  };
  exchange.attempts = 2;
  return recordOf(exchange, 1012.4, began + 12.4);
}

function line(format: string, fields: string[] = []): string {
  const compiled = compileFormat(format);
  if (typeof compiled !== "function") throw new Error(compiled.message);
  return compiled(record(fields));
}

describe("a format string", () => {
  test("each operator", () => {
    expect(line("%START_TIME% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %DURATION%")).toBe(
      "2026-11-28T10:00:00.500Z HTTP/2 201 - 12",
    );
    expect(line("%REQ(:METHOD)% %REQ(:path)% %REQ(:AUTHORITY)% %REQ(:scheme)%")).toBe(
      "POST /a?b=1 cart.shop http",
    );
    expect(line("%UPSTREAM_HOST% %UPSTREAM_CLUSTER% %UPSTREAM_REQUEST_ATTEMPT_COUNT%")).toBe(
      "10.0.1.1:8080 shop/cart.shop:80 2",
    );
    expect(
      line("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS%"),
    ).toBe("10.0.0.9:4000 10.0.0.9 10.96.0.1:80");
    expect(line("%DOWNSTREAM_PEER_URI_SAN% %REQUESTED_SERVER_NAME% %ROUTE_NAME%")).toBe(
      "spiffe://cluster.local/ns/shop/sa/web cart.example cart.http.0",
    );
    expect(line("%RESP(X-ANSWER)% %RESP(none)% %TRAILER(grpc-status)% %GRPC_STATUS_NUMBER%")).toBe(
      "yes - - -",
    );
    expect(line("%RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%")).toBe("via_upstream 0 0");
  });

  test("another header instead, and a length", () => {
    expect(line("%REQ(X-A?X-B)% %REQ(X-C?X-D)% %REQ(X-B):3%", ["x-b", "12345"])).toBe("12345 - 123");
  });

  test("Istio's own format", () => {
    expect(line(istioFormat, ["user-agent", "curl"])).toBe(
      '[2026-11-28T10:00:00.500Z] "POST /a?b=1 HTTP/2" 201 - via_upstream 0 0 12 "-" "curl" "-" "cart.shop" ' +
        '"10.0.1.1:8080" shop/cart.shop:80 10.96.0.1:80 10.0.0.9:4000 cart.example cart.http.0',
    );
  });

  test("a client cannot begin a line of its own", () => {
    expect(line("%REQ(X-A)%", ["x-a", "a\tb\u009bc"])).toBe("a\\x09b\\x9bc");
  });

  test("a literal percent sign is written twice", () => {
    expect(line("100%% %RESPONSE_CODE%")).toBe("100% 201");
  });

  test("what is wrong is said with its column", () => {
    expect(compileFormat("%RESPONSE_CODE% %NONE%")).toEqual({
      message: "there is no operator %NONE%",
      column: 17,
    });
    expect(compileFormat("50% of")).toMatchObject({ column: 3 });
    expect(compileFormat("%REQ%")).toMatchObject({ column: 1 });
    expect(compileFormat("%START_TIME(%s)%")).toMatchObject({ column: 1 });
  });
});
