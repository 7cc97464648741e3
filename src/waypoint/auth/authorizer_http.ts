/**
 * An external authorizer over HTTP/1.1, as Envoy asks it (`ext_authz`, `raw_http_client`): the request's own method and path, the headers that
 * it may see; 200 allows, 5xx is no answer, anything else is what the client gets.
 */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { authLimits } from "../../base/limits/auth.ts";
import type { Clock, Socket } from "../../host/host.ts";
import type { ExternalAuthorizer } from "../../mesh/documents/security.ts";
import { H1ClientMachine } from "../../wire/h1/client_machine.ts";
import { encodeRequest } from "../../wire/h1/message_writer.ts";
import type { Fields } from "../exchange.ts";
import { type AuthorizerAnswer, type AuthorizerQuestion, safeHeader } from "./authorizer.ts";
import { joinedField } from "./request_facts.ts";

type HttpAuthorizer = ExternalAuthorizer & { readonly kind: "http" };

interface Answer {
  readonly status: number;
  readonly fields: Fields;
  readonly body: Uint8Array;
}

/** @param socket connected to the authorizer; over after it. */
export async function askOverHttp(
  authorizer: HttpAuthorizer,
  question: AuthorizerQuestion,
  socket: Socket,
  clock: Clock,
): Promise<AuthorizerAnswer> {
  const { head, body } = question;
  if (head === null) return { kind: "failed", reason: "it is asked about HTTP requests alone" };
  const path = `${authorizer.pathPrefix}${head.path}`;
  const content = authorizer.body === null ? new Uint8Array(0) : body;
  const bytes = encodeRequest(head.method, path, head.authority, sentFields(authorizer, question), [
    ...["content-length", String(content.length), "connection", "close"],
  ]);
  if (bytes === null) {
    socket.close();
    return { kind: "failed", reason: "the request cannot be said in HTTP/1.1" };
  }
  try {
    return judge(authorizer, await exchange(socket, [bytes, content], head.method, clock, authorizer));
  } catch (thrown) {
    return { kind: "failed", reason: asMeshError(thrown, "http_protocol", "upstream").message };
  }
}

/** What it sees without being told to (Istio `includeRequestHeadersInCheck`): of the rest nothing that is not named. */
const alwaysSent = ["authorization"];
/** Ours to say of this connection. */
const neverSent = [
  "host",
  "content-length",
  "transfer-encoding",
  "connection",
  "te",
  "trailer",
  "upgrade",
  "expect",
];

function sentFields(authorizer: HttpAuthorizer, { head, isWholeBody, body }: AuthorizerQuestion): Fields {
  const sent: Fields = [];
  const { includeRequestHeadersInCheck, includeAdditionalHeadersInCheck } = authorizer;
  const fields = head?.fields ?? [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? "";
    const isWanted = alwaysSent.includes(name) || isNamed(includeRequestHeadersInCheck, name);
    if (isWanted && !neverSent.includes(name) && !includeAdditionalHeadersInCheck.has(name))
      sent.push(name, fields[i + 1] ?? "");
  }
  for (const [name, value] of includeAdditionalHeadersInCheck)
    if (!neverSent.includes(name)) sent.push(name, value);
  if (authorizer.body !== null && body.length > 0)
    sent.push("x-envoy-auth-partial-body", isWholeBody ? "false" : "true");
  return sent;
}

/** `x-*` is a prefix, `*-id` a suffix. */
function isNamed(names: readonly string[], name: string): boolean {
  return names.some((pattern) => {
    if (pattern === "*") return true;
    if (pattern.startsWith("*")) return name.endsWith(pattern.slice(1));
    return pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
  });
}

function judge(authorizer: HttpAuthorizer, { status, fields, body }: Answer): AuthorizerAnswer {
  if (status >= 500) return { kind: "failed", reason: `it answered ${status}` };
  const { headersToUpstreamOnAllow, headersToDownstreamOnAllow, headersToDownstreamOnDeny } = authorizer;
  if (status === 200) {
    const names = new Set(namesOf(fields).filter((name) => isNamed(headersToUpstreamOnAllow, name)));
    const changes = [...names].flatMap((name) => {
      const value = joinedField(fields, name) ?? "";
      return safeHeader(name, value) ? [{ name, value, append: false }] : [];
    });
    return {
      kind: "allowed",
      changes,
      removed: [],
      responseFields: only(fields, headersToDownstreamOnAllow),
    };
  }
  // Without a list the client gets all of them (Istio `headersToDownstreamOnDeny`); with one, these as well.
  const named =
    headersToDownstreamOnDeny.length === 0 ? ["*"] : [...headersToDownstreamOnDeny, ...alwaysTold];
  return { kind: "denied", status, fields: only(fields, named), body };
}

const alwaysTold = ["www-authenticate", "location", "content-type"];

function namesOf(fields: Fields): readonly string[] {
  return fields.filter((_, index) => index % 2 === 0);
}

function only(fields: Fields, names: readonly string[]): Fields {
  const kept: Fields = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const [name = "", value = ""] = [fields[i], fields[i + 1]];
    if (isNamed(names, name) && safeHeader(name, value)) kept.push(name, value);
  }
  return kept;
}

/** One request, one answer. @throws MeshError */
function exchange(
  socket: Socket,
  output: readonly Uint8Array[],
  method: string,
  clock: Clock,
  { name, timeoutMs }: HttpAuthorizer,
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const content: Uint8Array[] = [];
  let length = 0;
  let status = 0;
  let fields: Fields = [];
  const fail = (
    code: "http_protocol" | "limit_reached" | "connect_timeout" | "connection_closed",
    why: string,
  ) => {
    reject(new MeshError(code, "upstream", why));
    timer.cancel();
    socket.reset();
  };
  const timer = clock.setTimer(timeoutMs, () =>
    fail("connect_timeout", `${name} gave no answer in ${timeoutMs} ms`),
  );
  const machine = new H1ClientMachine({
    onInterim: () => {},
    onAnswer: (head) => {
      status = head.status;
      fields = [...head.fields];
    },
    onContent: (bytes) => {
      length += bytes.length;
      if (length > authLimits.maxAuthorizerAnswerBytes) fail("limit_reached", `${name}'s answer is too long`);
      else content.push(bytes);
    },
    onAnswerEnd: () => {
      timer.cancel();
      resolve({ status, fields, body: joined(content, length) });
      socket.close();
    },
    onFault: ({ reason }) => fail("http_protocol", `${name}: ${reason}`),
  });
  machine.request(method, false);
  let queue = output.filter((bytes) => bytes.length > 0);
  const write = () => {
    for (let bytes = queue[0]; bytes !== undefined; bytes = queue[0]) {
      const taken = socket.write(bytes);
      if (taken < bytes.length) {
        queue = [bytes.subarray(taken), ...queue.slice(1)];
        return;
      }
      queue = queue.slice(1);
    }
  };
  const ended = () => {
    if (machine.receiveEnd()) fail("connection_closed", `${name} ended the connection before its answer did`);
  };
  socket.setHandler({
    onData: (bytes) => machine.receive(bytes),
    onDrain: write,
    onEnd: ended,
    onClose: ended,
  });
  write();
  return promise;
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
