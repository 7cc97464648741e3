/** SOCKS5 and HTTP CONNECT as entries: what each tells its client of a failure. */
import type { MeshError } from "../../base/errors.ts";
import { HttpConnectServer, httpConnectResponse } from "../../wire/h1/connect.ts";
import { type Socks5Reply, Socks5Server, socks5Reply } from "../../wire/socks5.ts";
import type { EntryProtocol } from "./entry.ts";

const nothing = new Uint8Array(0);

export function socks5Entry(): EntryProtocol {
  const server = new Socks5Server();
  return {
    receive: (bytes) => server.receive(bytes),
    answer: (error) => Socks5Server.reply(error === null ? socks5Reply.succeeded : socks5Code(error)),
  };
}

export function httpConnectEntry(): EntryProtocol {
  const server = new HttpConnectServer();
  return {
    receive: (bytes) => {
      const step = server.receive(bytes);
      if (step.kind !== "refuse") return { ...step, answer: nothing };
      return {
        kind: "refuse",
        answer: httpConnectResponse(step.status, step.message),
        message: step.message,
      };
    },
    answer: (error) =>
      error === null
        ? httpConnectResponse(200, "")
        : httpConnectResponse(httpStatus(error), `${error.code}: ${error.message}`),
  };
}

/** RFC 1928 §6 has few words; the access log has the rest. */
function socks5Code(error: MeshError): Socks5Reply {
  switch (error.code) {
    case "connect_refused":
      return socks5Reply.connectionRefused;
    case "connect_timeout":
      return socks5Reply.ttlExpired;
    case "connect_unreachable":
      return socks5Reply.networkUnreachable;
    case "no_route":
    case "name_not_found":
    case "no_healthy_upstream":
      return socks5Reply.hostUnreachable;
    case "hbone_status":
    case "policy_denied":
    case "policy_missing":
    case "self_call":
      return socks5Reply.notAllowed;
    default:
      return socks5Reply.generalFailure;
  }
}

function httpStatus(error: MeshError): 403 | 502 | 503 | 504 {
  switch (error.code) {
    case "connect_timeout":
      return 504;
    case "no_healthy_upstream":
    case "limit_reached":
    case "draining":
      return 503;
    case "policy_denied":
    case "policy_missing":
    case "self_call":
      return 403;
    default:
      return 502;
  }
}
