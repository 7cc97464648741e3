/** Values of headers that documents set, with Envoy's variables filled in (Envoy "Custom request/response headers"). */
import { formatSocketAddress, type IpAddress } from "../../base/ip.ts";
import type { HeaderValue, HeaderVariable } from "../../mesh/traffic/route_plan.ts";
import { type Exchange, field } from "../exchange.ts";

/** @returns null when there is nothing to say: the header is left out then. */
export function headerText(value: HeaderValue, exchange: Exchange): string | null {
  if (typeof value === "string") return value;
  let text = "";
  for (const part of value) text += typeof part === "string" ? part : filled(part, exchange);
  // What comes of a name that a client has sent may be anything but a value that can be sent on.
  const clean = text.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, "").trim();
  return clean === "" ? null : clean;
}

function filled(variable: HeaderVariable, exchange: Exchange): string {
  const text = textOf(variable, exchange) ?? "";
  return variable.maxLength === null ? text : text.slice(0, variable.maxLength);
}

function textOf({ operator, names }: HeaderVariable, exchange: Exchange): string | null {
  const { request, response, downstream, endpoint } = exchange;
  const { source, destination } = downstream;
  switch (operator) {
    case "REQ":
      return first(names, (name) => {
        if (name === ":method") return request.method;
        if (name === ":path") return request.path;
        if (name === ":scheme") return request.scheme;
        return name === ":authority" || name === "host" ? request.authority : field(request.fields, name);
      });
    case "RESP":
      return first(names, (name) =>
        name === ":status" ? String(response?.status ?? "") : field(response?.fields ?? [], name),
      );
    case "RESPONSE_CODE":
      return response === null ? null : String(response.status);
    case "PROTOCOL":
      return request.version === "2" ? "HTTP/2" : `HTTP/${request.version}`;
    case "DOWNSTREAM_REMOTE_ADDRESS":
      return formatSocketAddress(source);
    case "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":
      return source.ip.text;
    case "DOWNSTREAM_LOCAL_ADDRESS":
      return addressOf(destination.ip, destination.port);
    case "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":
      return destination.ip?.text ?? null;
    case "DOWNSTREAM_LOCAL_PORT":
      return String(destination.port);
    case "DOWNSTREAM_PEER_URI_SAN":
      return downstream.peer?.uri ?? null;
    case "REQUESTED_SERVER_NAME":
      return downstream.sni;
    case "UPSTREAM_HOST":
      return endpoint === null ? null : addressOf(endpoint.workload.addresses[0] ?? null, endpoint.port);
  }
}

function addressOf(ip: IpAddress | null, port: number): string | null {
  return ip === null ? null : formatSocketAddress({ ip, port });
}

function first(names: readonly string[], find: (name: string) => string | null): string | null {
  for (const name of names) {
    const value = find(name);
    if (value !== null && value !== "") return value;
  }
  return null;
}
