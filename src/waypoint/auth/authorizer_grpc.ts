/** An external authorizer over gRPC: `envoy.service.auth.v3.Authorization/Check`, as OPA and others serve it. */

import { describeMethod } from "../../wire/grpc/method.ts";
import {
  Authorization,
  type CheckRequest,
  CheckRequestSchema,
  type CheckResponse,
  type HeaderValueOption,
} from "../../wire/messages/envoy_ext_authz.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import type { Downstream, Fields, RequestHead } from "../exchange.ts";
import {
  type AuthorizerAnswer,
  type AuthorizerQuestion,
  type HeaderChange,
  safeHeader,
} from "./authorizer.ts";
import { joinedField } from "./request_facts.ts";

export const checkMethod = describeMethod(Authorization.method.check);

/** @param asBytes the content as bytes rather than text. @param nowMs since the Unix epoch. */
export function checkRequest(question: AuthorizerQuestion, asBytes: boolean, nowMs: number): CheckRequest {
  const { downstream, head } = question;
  const { peer, source, destination, waypoint, sni } = downstream;
  const seconds = Math.floor(nowMs / 1000);
  return newMessage(CheckRequestSchema, {
    attributes: {
      source: { address: address(source.ip.text, source.port), principal: peer?.uri ?? "" },
      destination: {
        address: address(destination.ip?.text ?? "", destination.port),
        principal: waypoint.identity.uri,
      },
      request: {
        time: { seconds: BigInt(seconds), nanos: Math.floor((nowMs - seconds * 1000) * 1e6) },
        ...(head === null ? {} : { http: httpRequest(question, head, asBytes) }),
      },
      contextExtensions: extensions(downstream),
      ...(sni === "" ? {} : { tlsSession: { sni } }),
    },
  });
}

function httpRequest({ body }: AuthorizerQuestion, head: RequestHead, asBytes: boolean) {
  const headers: Record<string, string> = Object.create(null);
  headers[":method"] = head.method;
  headers[":path"] = head.path;
  headers[":authority"] = head.authority;
  headers[":scheme"] = head.scheme;
  for (let i = 0; i < head.fields.length; i += 2) {
    const name = head.fields[i] ?? "";
    headers[name] ??= joinedField(head.fields, name) ?? "";
  }
  const content = asBytes ? { rawBody: body } : { body: new TextDecoder().decode(body) };
  const length = joinedField(head.fields, "content-length");
  return {
    id: joinedField(head.fields, "x-request-id") ?? "",
    method: head.method,
    headers,
    // With the query, as Envoy has it; `query` stays empty.
    path: head.path,
    host: head.authority,
    scheme: head.scheme,
    size: length !== null && /^[0-9]{1,15}$/.test(length) ? BigInt(length) : -1n,
    protocol: head.version === "2" ? "HTTP/2" : `HTTP/${head.version}`,
    ...content,
  };
}

function extensions({ service }: Downstream): Record<string, string> {
  return service === null ? {} : { service: `${service.namespace}/${service.hostname}` };
}

function address(text: string, port: number) {
  return {
    address: {
      case: "socketAddress" as const,
      value: { address: text, portSpecifier: { case: "portValue" as const, value: port } },
    },
  };
}

/** gRPC's OK allows, whatever else is in it; any other code denies. */
export function readCheckResponse({ status, httpResponse }: CheckResponse): AuthorizerAnswer {
  const ok = httpResponse.case === "okResponse" ? httpResponse.value : null;
  if ((status?.code ?? 0) === 0) {
    // A denial under an OK is no answer to go by.
    if (httpResponse.case === "deniedResponse")
      return { kind: "failed", reason: "it allowed and denied at once" };
    return {
      kind: "allowed",
      changes: (ok?.headers ?? []).flatMap(changeOf),
      removed: (ok?.headersToRemove ?? [])
        .map((name) => name.toLowerCase())
        .filter((name) => safeHeader(name, "")),
      responseFields: (ok?.responseHeadersToAdd ?? []).flatMap((option) => {
        const [change] = changeOf(option);
        return change === undefined ? [] : [change.name, change.value];
      }),
    };
  }
  const denied = httpResponse.case === "deniedResponse" ? httpResponse.value : null;
  const said = denied?.status?.code ?? 403;
  const fields: Fields = (denied?.headers ?? []).flatMap((option) => {
    const [change] = changeOf(option);
    return change === undefined ? [] : [change.name, change.value];
  });
  return {
    kind: "denied",
    // What is no status of an answer, and what would be a success, is a refusal all the same.
    status: said >= 300 && said <= 599 ? said : 403,
    fields,
    body: new TextEncoder().encode(denied?.body ?? ""),
  };
}

/** `append_action` of the API: appended only where it is said. */
function changeOf({ header, append }: HeaderValueOption): readonly HeaderChange[] {
  if (header === undefined) return [];
  const name = header.key.toLowerCase();
  const value = header.rawValue.length > 0 ? new TextDecoder("latin1").decode(header.rawValue) : header.value;
  return safeHeader(name, value) ? [{ name, value, append: append ?? false }] : [];
}
