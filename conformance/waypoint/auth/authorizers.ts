/** External authorizers of other makes: grpcio's server speaking `envoy.service.auth.v3`, and Python's HTTP server. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createBunHost } from "../../../src/host/bun/host.ts";
import type { ExternalAuthorizer } from "../../../src/mesh/documents/security.ts";
import { dial } from "../../../src/transport/dial.ts";
import type { AuthorizerAnswer } from "../../../src/waypoint/auth/authorizer.ts";
import { Authorizers } from "../../../src/waypoint/auth/authorizers.ts";
import { exchangeOf } from "../../../src/waypoint/testing/exchanges.ts";
import { hangMs } from "../../peer/lab/eventually.ts";
import { Subprocess } from "../../peer/lab/subprocess.ts";
import { findPython, repository } from "../../peer/lab/tools.ts";

interface Asked {
  readonly path: string;
  readonly method?: string;
  readonly fields?: readonly string[];
  readonly body?: string;
  readonly isWhole?: boolean;
}

type Ask = (asked: Asked) => Promise<AuthorizerAnswer>;

/** @returns why it was skipped; null when it was not. */
export async function tryAuthorizers(
  directory: string,
  tell: (name: string, fault: string | null) => void,
): Promise<string | null> {
  const python = findPython("grpc");
  if ("missing" in python) return python.missing;
  mkdirSync(directory, { recursive: true });
  const script = join(repository, "conformance/waypoint/auth/authorizer.py");
  const server = Subprocess.start({
    ...{ name: "authorizer", argv: [python.path, script], logPath: join(directory, "authorizer.log") },
  });
  try {
    const ports = JSON.parse(await server.waitForLine((line) => line.startsWith("{"))) as Record<
      "grpc" | "http",
      number
    >;
    const host = createBunHost();
    const authorizers = new Authorizers(host.clock, ({ port }) =>
      dial(host.net, { host: "127.0.0.1", port }, hangMs),
    );
    const asking =
      (authorizer: ExternalAuthorizer): Ask =>
      ({ path, method = "GET", fields = [], body = "", isWhole = true }) => {
        const { request, downstream } = exchangeOf({ request: { path, method, fields: [...fields] } });
        const bytes = new TextEncoder().encode(body);
        return authorizers.ask(authorizer, { downstream, head: request, body: bytes, isWholeBody: isWhole });
      };
    const check = async (
      name: string,
      ask: Promise<AuthorizerAnswer>,
      wanted: (answer: AuthorizerAnswer) => boolean,
    ) => {
      const answer = await ask;
      tell(name, wanted(answer) ? null : JSON.stringify(answer));
    };
    const grpc = { ...base, kind: "grpc", port: ports.grpc } as const;
    await overGrpc(asking(grpc), asking({ ...grpc, timeoutMs: hastyMs }), check);
    const overPlain = { ...base, ...http, kind: "http", port: ports.http } as const;
    await overHttp(asking(overPlain), asking({ ...overPlain, timeoutMs: hastyMs }), check);
    await check(
      "an authorizer that does not listen",
      asking({ ...base, kind: "grpc", port: 1 })({ path: "/allow" }),
      ({ kind }) => kind === "failed",
    );
  } finally {
    server.endInput();
    await server.stop();
  }
  return null;
}

/** For an answer that does not come. */
const hastyMs = 1_000;
const base = {
  ...{ at: { file: "f", line: 1, column: 1 }, name: "judge", service: "judge.example", timeoutMs: hangMs },
  ...{ failOpen: false, statusOnError: 403 },
  body: { maxBytes: 100, allowPartial: true, packAsBytes: false },
};
const http = {
  pathPrefix: "/check",
  includeRequestHeadersInCheck: ["x-token", "x-b3-*"],
  includeAdditionalHeadersInCheck: new Map([["x-mesh", "fairlead"]]),
  headersToUpstreamOnAllow: ["x-user", "x-echo"],
  headersToDownstreamOnAllow: ["set-cookie"],
  headersToDownstreamOnDeny: ["x-other"],
};

type Check = (
  name: string,
  ask: Promise<AuthorizerAnswer>,
  wanted: (answer: AuthorizerAnswer) => boolean,
) => Promise<void>;

async function overGrpc(ask: Ask, askHastily: Ask, check: Check): Promise<void> {
  const said = (name: string) => `grpcio: ${name}`;
  await check(said("OK with changes"), ask({ path: "/allow?a=b" }), (answer) =>
    same(answer, {
      kind: "allowed",
      changes: [
        { name: "x-user", value: "ann", append: false },
        { name: "x-tag", value: "b", append: true },
      ],
      removed: ["x-gone"],
      responseFields: ["x-asked", "yes"],
    }),
  );
  await check(
    said("it is told the request and the peer"),
    ask({ path: "/echo?q", method: "POST", fields: ["x-a", "1", "x-a", "2"], body: "hello" }),
    (answer) => {
      const echo = answer.kind === "allowed" ? JSON.parse(answer.changes[0]?.value ?? "{}") : {};
      return same(echo, {
        body: "hello",
        headers: {
          ":authority": "cart.shop",
          ":method": "POST",
          ":path": "/echo?q",
          ":scheme": "http",
          "x-a": "1,2",
        },
        host: "cart.shop",
        method: "POST",
        path: "/echo?q",
        principal: "spiffe://cluster.local/ns/shop/sa/web",
        raw: "",
        source: "10.0.0.9",
      });
    },
  );
  await check(said("a denial with status, header and body"), ask({ path: "/deny" }), (answer) =>
    same(
      { ...answer, body: text(answer) },
      { kind: "denied", status: 429, fields: ["retry-after", "7"], body: "later" },
    ),
  );
  for (const path of ["/bare", "/success"])
    await check(said(`a denial is 403 where it says nothing better: ${path}`), ask({ path }), (answer) =>
      same({ ...answer, body: text(answer) }, { kind: "denied", status: 403, fields: [], body: "" }),
    );
  for (const path of ["/contradiction", "/abort", "/hang", "/garbage"])
    await check(
      said(`no answer to go by: ${path}`),
      (path === "/hang" ? askHastily : ask)({ path }),
      ({ kind }) => kind === "failed",
    );
  await check(
    said("after all that it is asked again"),
    ask({ path: "/allow" }),
    ({ kind }) => kind === "allowed",
  );
}

async function overHttp(ask: Ask, askHastily: Ask, check: Check): Promise<void> {
  const said = (name: string) => `HTTP: ${name}`;
  await check(said("200 allows, with the headers that are wanted"), ask({ path: "/allow" }), (answer) =>
    same(answer, {
      kind: "allowed",
      changes: [{ name: "x-user", value: "ann", append: false }],
      removed: [],
      responseFields: ["set-cookie", "c=d"],
    }),
  );
  await check(
    said("it sees the headers that it may see"),
    ask({
      path: "/echo?q=1",
      method: "PATCH",
      fields: [
        "authorization",
        "Bearer a",
        "x-token",
        "t",
        "x-b3-id",
        "1",
        "cookie",
        "secret",
        "x-mesh",
        "forged",
      ],
      body: "hi",
      isWhole: false,
    }),
    (answer) => {
      const echo =
        answer.kind === "allowed" ? answer.changes.find(({ name }) => name === "x-echo")?.value : undefined;
      const { headers, ...rest } = JSON.parse(echo ?? "{}");
      return (
        same(rest, { body: "hi", method: "PATCH", path: "/check/echo?q=1" }) &&
        same(headers, {
          ...{ authorization: "Bearer a", connection: "close", "content-length": "2", host: "cart.shop" },
          ...{ "x-b3-id": "1", "x-envoy-auth-partial-body": "true", "x-mesh": "fairlead", "x-token": "t" },
        })
      );
    },
  );
  await check(said("a denial is the client's answer"), ask({ path: "/deny" }), (answer) =>
    same(
      { ...answer, body: text(answer) },
      {
        ...{ kind: "denied", status: 429, fields: ["x-other", "a", "location", "/login"], body: "later" },
      },
    ),
  );
  await check(
    said("a redirect is a denial"),
    ask({ path: "/redirect" }),
    (answer) => answer.kind === "denied" && answer.status === 302,
  );
  await check(said("only 200 allows"), ask({ path: "/created" }), ({ kind }) => kind === "denied");
  await check(said("HEAD"), ask({ path: "/allow", method: "HEAD" }), ({ kind }) => kind === "allowed");
  await check(said("5xx is no answer"), ask({ path: "/broken" }), ({ kind }) => kind === "failed");
  await check(said("late"), askHastily({ path: "/hang" }), ({ kind }) => kind === "failed");
}

function text(answer: AuthorizerAnswer): string {
  return answer.kind === "denied" ? new TextDecoder().decode(answer.body) : "";
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, one]) => [name, sorted(one)]),
  );
}
