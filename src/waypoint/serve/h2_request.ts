/** What a request of HTTP/2 says (RFC 9113 §8.3, RFC 8441), as the waypoint's stages see it. */
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { RequestHead } from "../exchange.ts";

export interface H2Refusal {
  readonly status: 400 | 405 | 417 | 501;
  readonly reason: string;
}

const hostPattern = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?$/;

/** @param headers that the engine found well-formed: pseudo-headers first, each once; `host` agrees with `:authority`. */
export function readH2Request(
  headers: HeaderFields,
  normalise: (path: string) => string | null,
): RequestHead | H2Refusal {
  let method = "";
  let scheme: "http" | "https" = "http";
  let authority: string | null = null;
  let host: string | null = null;
  let path = "";
  let protocol: string | null = null;
  let cookie: string | null = null;
  let hasLength = false;
  const fields: string[] = [];
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? "";
    const value = headers[i + 1] ?? "";
    switch (name) {
      case ":method":
        method = value;
        break;
      case ":scheme":
        scheme = value === "https" ? "https" : "http";
        break;
      case ":authority":
        authority = value;
        break;
      case ":path":
        path = value;
        break;
      case ":protocol":
        protocol = value.toLowerCase();
        break;
      case "host":
        if (host !== null) return refuse(400, "more than one Host");
        host = value;
        break;
      case "cookie":
        // RFC 9113 §8.2.3: crumbs are one field again where HTTP/1.1 or a policy sees them.
        cookie = cookie === null ? value : `${cookie}; ${value}`;
        break;
      case "content-length":
        if (hasLength) return refuse(400, "more than one length");
        hasLength = true;
        fields.push(name, value);
        break;
      case "expect":
        if (value.toLowerCase() !== "100-continue")
          return refuse(417, "an expectation other than 100-continue");
        fields.push(name, value);
        break;
      // A gateway interface that makes environment variables of names (CGI, WSGI) reads these as the ones with a dash.
      case "content_length":
      case "transfer_encoding":
        return refuse(400, "an underscore in a name that frames the message");
      default:
        fields.push(name, value);
    }
  }
  const called = authority ?? host;
  if (called === null || !hostPattern.test(called)) return refuse(400, "a malformed authority");
  if (cookie !== null) fields.push("cookie", cookie);
  if (method === "CONNECT" && protocol === null) return refuse(405, "CONNECT is not served");
  if (protocol !== null && protocol !== "websocket")
    return refuse(501, `the protocol ${protocol} is not served`);
  if (path.includes("#")) return refuse(400, "a fragment in the path");
  const normal = normalise(path);
  if (normal === null) return refuse(400, "a malformed path");
  return {
    // As HTTP/1.1 says an upgrade: stages need to know one form alone.
    method: protocol === null ? method : "GET",
    scheme,
    authority: called,
    path: normal,
    fields,
    version: "2",
    protocol,
  };
}

function refuse(status: H2Refusal["status"], reason: string): H2Refusal {
  return { status, reason };
}
