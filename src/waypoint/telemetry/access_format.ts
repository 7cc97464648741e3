/**
 * Access lines by a format string with Envoy's operators (https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage),
 * for those who have tools that read such lines. Compiled once: a request costs one concatenation.
 */
import { formatSocketAddress } from "../../base/ip.ts";
import { type Fields, field } from "../exchange.ts";
import { destinationName, type RequestRecord } from "./request_record.ts";

type Part = (record: RequestRecord) => string | null;

export type AccessFormat = (record: RequestRecord) => string;

/** Istio's own (`EnvoyTextLogFormat` of `pilot/pkg/model/telemetry_logging.go`), but for what only Envoy has. */
export const istioFormat =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ' +
  '%RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ' +
  '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% %DOWNSTREAM_LOCAL_ADDRESS% ' +
  "%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%";

/** @returns the format, or what is wrong with it and where: the place counts characters from 1. */
export function compileFormat(
  text: string,
): AccessFormat | { readonly message: string; readonly column: number } {
  const parts: (string | Part)[] = [];
  let from = 0;
  for (const match of text.matchAll(/%%|%([A-Z0-9_]+)(?:\(([^)]*)\))?(?::([0-9]+))?%|%/g)) {
    parts.push(text.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[0] === "%%") {
      parts.push("%");
      continue;
    }
    const [, name, argument, length] = match;
    const column = match.index + 1;
    if (name === undefined) return { message: "a % that is not part of an operator is written %%", column };
    const part = operator(name, argument ?? null);
    if (typeof part === "string") return { message: part, column };
    parts.push(length === undefined ? part : (record) => part(record)?.slice(0, Number(length)) ?? null);
  }
  parts.push(text.slice(from));
  const whole = parts.filter((part) => part !== "");
  return (record) => {
    let line = "";
    for (const part of whole) line += typeof part === "string" ? part : clean(part(record) ?? "-");
    return line;
  };
}

/** What a client sends must not begin a line of its own, nor move the cursor of whoever reads it. */
function clean(value: string): string {
  return value.replace(
    /[^ -~\u00a0-\uffff]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

const operators: Readonly<Record<string, Part>> = {
  START_TIME: ({ startedWallMs }) => new Date(startedWallMs).toISOString(),
  PROTOCOL: ({ exchange }) =>
    exchange.request.version === "2" ? "HTTP/2" : `HTTP/${exchange.request.version}`,
  RESPONSE_CODE: ({ status }) => String(status),
  RESPONSE_FLAGS: ({ flags }) => flags,
  RESPONSE_CODE_DETAILS: ({ exchange, detail }) =>
    detail ?? (exchange.response === null ? null : "via_upstream"),
  BYTES_RECEIVED: ({ requestBytes }) => String(requestBytes),
  BYTES_SENT: ({ responseBytes }) => String(responseBytes),
  DURATION: ({ durationMs }) => String(Math.round(durationMs)),
  GRPC_STATUS_NUMBER: ({ grpcStatus }) => grpcStatus,
  UPSTREAM_HOST: ({ exchange: { endpoint } }) => {
    const [ip] = endpoint?.workload.addresses ?? [];
    if (endpoint === null) return null;
    return ip === undefined ? endpoint.workload.hostname : formatSocketAddress({ ip, port: endpoint.port });
  },
  UPSTREAM_CLUSTER: ({ exchange }) => destinationName(exchange),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: ({ exchange }) => String(exchange.attempts),
  DOWNSTREAM_REMOTE_ADDRESS: ({ exchange }) => formatSocketAddress(exchange.downstream.source),
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: ({ exchange }) => exchange.downstream.source.ip.text,
  DOWNSTREAM_LOCAL_ADDRESS: ({ exchange: { downstream } }) => {
    const { ip, port } = downstream.destination;
    return ip === null ? null : formatSocketAddress({ ip, port });
  },
  DOWNSTREAM_LOCAL_PORT: ({ exchange }) => String(exchange.downstream.destination.port),
  DOWNSTREAM_PEER_URI_SAN: ({ exchange }) => exchange.downstream.peer?.uri ?? null,
  REQUESTED_SERVER_NAME: ({ exchange }) => exchange.downstream.sni || null,
  ROUTE_NAME: ({ exchange }) => exchange.rule?.name ?? null,
};

/** @returns what is wrong, in words, for one that there is not. */
function operator(name: string, argument: string | null): Part | string {
  const plain = Object.hasOwn(operators, name) ? operators[name] : undefined;
  if (plain !== undefined) {
    // Envoy's format of a time is strftime's; ISO 8601 is its default.
    return argument === null ? plain : `%${name}% takes no argument here`;
  }
  switch (name) {
    case "REQ":
      return header(name, argument, ({ exchange: { request } }, wanted) => {
        if (wanted === ":method") return request.method;
        if (wanted === ":path") return request.path;
        if (wanted === ":authority" || wanted === "host") return request.authority;
        return wanted === ":scheme" ? request.scheme : field(request.fields, wanted);
      });
    case "RESP":
      return header(name, argument, ({ exchange: { response }, status }, wanted) =>
        wanted === ":status" ? String(status) : field(response?.fields ?? [], wanted),
      );
    case "TRAILER":
      return header(name, argument, ({ exchange: { responseBody } }, wanted) => {
        const trailers: Fields = [...(responseBody?.trailers ?? [])];
        return field(trailers, wanted);
      });
    default:
      return `there is no operator %${name}%`;
  }
}

/** `NAME`, or `NAME?INSTEAD` for when it is absent. */
function header(
  operatorName: string,
  argument: string | null,
  find: (record: RequestRecord, name: string) => string | null,
): Part | string {
  if (argument === null || argument === "")
    return `%${operatorName}% needs the name of a header: %${operatorName}(NAME)%`;
  const [first = "", second] = argument.toLowerCase().split("?", 2);
  return (record) => find(record, first) ?? (second === undefined ? null : find(record, second));
}
