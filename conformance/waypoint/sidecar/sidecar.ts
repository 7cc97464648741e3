/** Sidecar mode by outside peers: curl and grpcio call through ambient hosts and through tunnels that have the application inside. */
import { join } from "node:path";
import { keySet, signToken, testKey } from "../../../src/pki/testing/token_issuer.ts";
import { comesTrue } from "../../peer/lab/eventually.ts";
import { repository } from "../../peer/lab/tools.ts";
import { addresses, type HostName, openSidecarStage, ports, type SidecarStage } from "./stage.ts";

type Tell = (name: string, fault: string | null) => void;

const issuer = "https://issuer.example";

/** @returns why it was skipped; null when it was not. */
export async function trySidecars(directory: string, tell: Tell): Promise<string | null> {
  const stage = await openSidecarStage(directory);
  if ("missing" in stage) return stage.missing;
  try {
    await routes(stage, tell);
    await policies(stage, tell);
    await grpc(stage, tell);
    await waypoints(stage, tell);
    await changes(stage, tell);
  } finally {
    await stage.stop();
  }
  return null;
}

interface Answer {
  readonly status: number;
  readonly host: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

async function curl(
  from: HostName,
  service: keyof typeof ports,
  ...words: readonly string[]
): Promise<Answer> {
  const [path = "/", ...more] = words;
  const url = `http://${addresses[from]}:${ports[service]}${path}`;
  const child = Bun.spawn(["curl", "-s", "-m", "10", "-w", "\n%{http_code}", ...more, url], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const text = await new Response(child.stdout).text();
  await child.exited;
  const at = text.lastIndexOf("\n");
  const body = text.slice(0, at);
  const seen = body.startsWith("{") ? JSON.parse(body) : { host: null, headers: {} };
  return { status: Number(text.slice(at + 1)), host: seen.host, headers: seen.headers };
}

const status = ({ status: came }: Answer, wanted: number): string | null =>
  came === wanted ? null : `${came}, not ${wanted}`;

async function routes(stage: SidecarStage, tell: Tell): Promise<void> {
  const tester = await curl("client", "web", "/a", "-H", "x-tester: yes");
  tell(
    "the client's tunnel routes by a header, to an ambient host",
    tester.host === "plain" ? null : JSON.stringify(tester),
  );
  const usual = await curl("client", "web", "/a");
  tell(
    "and all else to the subset that the rule names",
    usual.host === "inside" ? null : JSON.stringify(usual),
  );
  tell("it tries again what failed", status(await curl("client", "web", "/flaky"), 200));
  const http2 = await curl("client", "web", "/a", "--http2-prior-knowledge");
  tell("HTTP/2 by prior knowledge", http2.host === "inside" ? null : JSON.stringify(http2));
  const seen = new Set<string | null>();
  for (let i = 0; i < 20; i++) seen.add((await curl("ambient", "web", "/a", "-H", "x-tester: yes")).host);
  tell("an ambient host's calls are not routed", seen.size === 2 ? null : [...seen].join());
  const { headers } = usual;
  const wanted = `By=spiffe://cluster.local/ns/shop/sa/inside;URI=spiffe://cluster.local/ns/shop/sa/client`;
  const told = headers["x-forwarded-client-cert"];
  tell("the application is told who calls", told === wanted ? null : `${told}`);
  const attempts = stage.requests("client").map(({ attempts: made }) => made);
  tell("attempts are on the client's record", attempts.includes(2) ? null : attempts.join());
}

const policy = (name: string, spec: string) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: shop}
spec: ${spec}
---
`;

async function policies({ control }: SidecarStage, tell: Tell): Promise<void> {
  const key = await testKey("one", "RS256");
  await control.apply(
    `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: users, namespace: shop}
spec: {selector: {matchLabels: {version: v1}}, jwtRules: [{issuer: "${issuer}", jwks: '${keySet(key)}'}]}
---
` +
      policy(
        "admin-users",
        '{selector: {matchLabels: {version: v1}}, action: DENY, rules: [{from: [{source: {notRequestPrincipals: ["*"]}}], to: [{operation: {paths: ["/admin*"]}}]}]}',
      ) +
      policy(
        "no-posts",
        '{selector: {matchLabels: {version: v1}}, action: DENY, rules: [{to: [{operation: {methods: [POST], paths: ["/a*"]}}]}]}',
      ),
  );
  const token = await signToken(key, Date.now(), { iss: issuer, sub: "ann" });
  const bearer = (text: string) => ["-H", `Authorization: Bearer ${text}`];
  const inForce = await comesTrue(async () => (await curl("client", "web", "/admin")).status === 403);
  for (const from of ["client", "ambient"] as const) {
    // An ambient caller reaches both versions; what is asked of the other is that host's.
    const ask = async (...words: readonly string[]): Promise<Answer> => {
      for (let i = 0; i < 40; i++) {
        const answer = await curl(from, "web", ...words);
        if (answer.host !== "plain") return answer;
      }
      return { status: 0, host: null, headers: {} };
    };
    const name = (what: string) => `from ${from === "client" ? "a sidecar" : "an ambient host"}: ${what}`;
    tell(name("without a token"), inForce ? status(await ask("/admin"), 403) : "the policy never came");
    tell(name("with a token"), status(await ask("/admin", ...bearer(token)), 200));
    tell(
      name("with a spoilt token"),
      status(await ask("/admin", ...bearer(`${token.slice(0, -6)}AAAAAA`)), 401),
    );
    tell(name("with a spoilt token where none is needed"), status(await ask("/a", ...bearer("a.b.c")), 401));
    tell(name("a method that is denied"), status(await ask("/a", "-X", "POST"), 403));
    tell(name("the same, spelt otherwise"), status(await ask("/x/../a", "--path-as-is", "-X", "POST"), 403));
    tell(name("a method that is not"), status(await ask("/a"), 200));
  }
}

async function grpc({ control, python }: SidecarStage, tell: Tell): Promise<void> {
  await control.apply(
    policy(
      "no-set",
      '{selector: {matchLabels: {grpc: "yes"}}, action: DENY, rules: [{to: [{operation: {paths: ["/shop.Stock/Set"]}}]}]}',
    ),
  );
  const call = async (from: HostName, method: string): Promise<Record<string, unknown>> => {
    const script = join(repository, "conformance/waypoint/sidecar/grpc_ends.py");
    const child = Bun.spawn([python, script, "call", `${addresses[from]}:${ports.grpc}`, method], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const text = await new Response(child.stdout).text();
    return text.startsWith("{") ? JSON.parse(text) : { status: text };
  };
  const inForce = await comesTrue(async () => (await call("client", "Set")).status !== "OK");
  for (const from of ["client", "ambient"] as const) {
    const name = (what: string) =>
      `gRPC from ${from === "client" ? "a sidecar" : "an ambient host"}: ${what}`;
    const got = await call(from, "Get");
    const wanted = `{"said": "hello", "peer": "By=spiffe://cluster.local/ns/shop/sa/inside;URI=spiffe://cluster.local/ns/shop/sa/${from}"}`;
    const isWhole = String(got.answers) === wanted && JSON.stringify(got.trailers).includes("said");
    tell(name("unary, with trailers"), isWhole ? null : JSON.stringify(got));
    const watched = await call(from, "Watch");
    tell(
      name("a stream of answers"),
      String(watched.answers) === "w 0,w 1,w 2" ? null : JSON.stringify(watched),
    );
    const chat = await call(from, "Chat");
    tell(name("streams both ways"), String(chat.answers) === "to one,to two" ? null : JSON.stringify(chat));
    const denied = await call(from, "Set");
    const fault = denied.status === "PERMISSION_DENIED" && inForce ? null : JSON.stringify(denied);
    tell(name("a method that is denied"), fault);
  }
}

/** Policies of a service that has a waypoint are its waypoint's, whoever calls; and it is asked once. */
async function waypoints(stage: SidecarStage, tell: Tell): Promise<void> {
  await stage.control.apply(
    policy(
      "shelf",
      "{targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: shelf}], action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}",
    ),
  );
  const before = stage.requests("client").length;
  for (const from of ["client", "ambient"] as const) {
    const isDenied = await comesTrue(
      async () => (await curl(from, "shelf", "/b", "-X", "POST")).status === 403,
    );
    tell(`a service with a waypoint, from ${from}: denied there`, isDenied ? null : "it was not");
    tell(
      `a service with a waypoint, from ${from}: let through there`,
      status(await curl(from, "shelf", "/b"), 200),
    );
  }
  const own = stage.requests("client").length - before;
  tell("and the client's tunnel had no part in it", own === 0 ? null : `${own} requests on its record`);
  const served = await comesTrue(async () => stage.requests("waypoint").length >= 4);
  tell("each request is on the waypoint's record", served ? null : `${stage.requests("waypoint").length}`);
}

/** Beside ambient hosts under one control plane: a change reaches each. */
async function changes({ control }: SidecarStage, tell: Tell): Promise<void> {
  await control.must("delete", "--yes", "AuthorizationPolicy", "shop/no-posts");
  const isAllowed = await comesTrue(
    async () => (await curl("client", "web", "/a", "-X", "POST")).status === 200,
  );
  tell("a policy that goes is enforced no more", isAllowed ? null : "it is");
  await control.apply(
    `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web.shop.mesh], http: [{route: [{destination: {host: web.shop.mesh, subset: v2}}]}]}
`,
  );
  const isMoved = await comesTrue(async () => (await curl("client", "web", "/a")).host === "plain");
  tell("a route that changes is followed", isMoved ? null : "it is not");
  await control.apply(
    policy(
      "only-get",
      "{selector: {matchLabels: {app: web}}, rules: [{to: [{operation: {methods: [GET]}}]}]}",
    ),
  );
  const isStrict = await comesTrue(async () => (await curl("client", "web", "/a")).status === 503);
  tell("an ambient host lets nothing pass by a rule that it cannot enforce", isStrict ? null : "it does");
  await control.must("delete", "--yes", "VirtualService", "shop/web");
  const isRouted = await comesTrue(async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => curl("ambient", "web", "/a")));
    return answers.some(({ host }) => host === "inside");
  });
  tell("the tunnel with the application inside does", isRouted ? null : "it does not");
}

if (import.meta.main) {
  const { cleanUpOnExit, scratchDirectory } = await import("../../peer/lab/cleanup.ts");
  cleanUpOnExit();
  let failed = 0;
  const tell: Tell = (name, fault) => {
    if (fault !== null) failed++;
    console.log(`${fault === null ? "ok  " : "FAIL"} ${name}${fault === null ? "" : `: ${fault}`}`);
  };
  const missing = await trySidecars(scratchDirectory("sidecar"), tell);
  if (missing !== null) console.log(`skipped: ${missing}`);
  process.exit(failed === 0 ? 0 : 1);
}
