/** A real Open Policy Agent decides for a real waypoint: by peer, path, content and tokens, with changes, and when it is gone. */
import { createHmac } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { Subprocess } from "../../peer/lab/subprocess.ts";
import { peersDirectory, repository } from "../../peer/lab/tools.ts";
import { applicationOf, openSmallStage, type SmallStage } from "../small_stage.ts";

type Tell = (name: string, fault: string | null) => void;

const number = 35;

function documents(port: number): string {
  return `---
apiVersion: fairlead.dev/v1
kind: MeshConfig
metadata: {name: default}
spec:
  extensionProviders:
  - name: opa
    envoyExtAuthzGrpc:
      {service: localhost, port: ${port}, timeout: 2s, includeRequestBodyInCheck: {maxRequestBytes: 1024}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask-opa, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}]
  action: CUSTOM
  provider: {name: opa}
  rules: [{to: [{operation: {notPaths: ["/free/*"]}}]}]
`;
}

/** @returns why it was skipped; null when it was not. */
export async function tryOpa(directory: string, tell: Tell): Promise<string | null> {
  const program = join(peersDirectory, "bin/fairlead-opa");
  if (!existsSync(program)) return "OPA is not built (bun scripts/peers.ts opa)";
  mkdirSync(directory, { recursive: true });
  const argv = [program, join(repository, "conformance/waypoint/opa/policy.rego")];
  const opa = Subprocess.start({ name: "opa", argv, logPath: join(directory, "opa.log") });
  const seen: IncomingMessage[] = [];
  const application = createServer((request, response) => {
    seen.push(request);
    request.resume();
    request.on("end", () => response.end("application"));
  });
  const { address, port } = applicationOf(number);
  application.listen(port, address);
  let stage: SmallStage | null = null;
  try {
    const said = JSON.parse(await opa.waitForLine((line) => line.startsWith("{"), 30_000));
    const options = { number, flags: [], documents: documents(said.port) };
    stage = await openSmallStage(join(directory, "mesh"), options);
    const name = (what: string) => `OPA ${said.version}: ${what}`;
    await decide(stage, seen, (what, fault) => tell(name(what), fault));
    opa.signal("SIGKILL");
    await opa.exited;
    const gone = await fetch(`${stage.url}/public/a`);
    tell(
      name("gone: refused, and what it is not asked about goes on"),
      gone.status === 403 ? null : `${gone.status}`,
    );
    const free = await fetch(`${stage.url}/free/a`);
    tell(name("gone: a path of no CUSTOM rule"), free.status === 200 ? null : `${free.status}`);
  } finally {
    await stage?.stop();
    application.close();
    opa.endInput();
    await opa.stop();
  }
  return null;
}

async function decide({ url }: SmallStage, seen: readonly IncomingMessage[], tell: Tell): Promise<void> {
  const check = async (
    what: string,
    path: string,
    init: RequestInit,
    wanted: (answer: Response, body: string) => boolean,
  ) => {
    const before = seen.length;
    const answer = await fetch(`${url}${path}`, init);
    const body = await answer.text();
    const reached = seen.length > before;
    const isRight = wanted(answer, body) && reached === (answer.status === 200);
    tell(
      what,
      isRight
        ? null
        : `${answer.status} ${JSON.stringify(body)}, the application was ${reached ? "" : "not "}reached`,
    );
  };
  const status = (number: number) => (answer: Response) => answer.status === number;
  await check("a plain yes", "/public/a?x=1", {}, status(200));
  await check("no decision refuses", "/other", {}, status(403));
  await check("the method counts", "/public/a", { method: "DELETE" }, status(403));
  await check(
    "by the peer that is proven, with changes of request and answer",
    "/items/7",
    { headers: { "x-secret": "s", "x-item": "forged" } },
    (answer) => {
      const headers = seen.at(-1)?.headers ?? {};
      return (
        answer.status === 200 &&
        answer.headers.get("x-decided-by") === "opa" &&
        headers["x-item"] === "7" &&
        headers["x-secret"] === undefined
      );
    },
  );
  await check(
    "a denial's own status, header and body",
    "/admin",
    {},
    (answer, body) =>
      answer.status === 401 &&
      answer.headers.get("www-authenticate") === "Basic realm=shop" &&
      body === "who are you?",
  );
  for (const [amount, code] of [
    [99, 200],
    [100, 403],
  ] as const)
    await check(
      `by what is in the content: ${amount}`,
      "/orders",
      { method: "POST", body: JSON.stringify({ amount }) },
      status(code),
    );
  await check("content that is no JSON", "/orders", { method: "POST", body: "amount" }, status(403));
  await check(
    "content beyond the bound is not judged by its part",
    "/orders",
    { method: "POST", body: JSON.stringify({ amount: 1, fill: "x".repeat(2_000) }) },
    status(413),
  );
  for (const [secret, code] of [
    ["not-so-secret", 200],
    ["another", 403],
  ] as const)
    await check(
      `by a token that OPA checks: signed with ${secret}`,
      "/token",
      { headers: { authorization: `Bearer ${token(secret)}` } },
      status(code),
    );
  const answers = await Promise.all(
    Array.from({ length: 100 }, async (_, index) => {
      const isPublic = index % 2 === 0;
      const answer = await fetch(`${url}/${isPublic ? "public" : "other"}/${index}`);
      await answer.text();
      return answer.status === (isPublic ? 200 : 403);
    }),
  );
  const wrong = answers.filter((isRight) => !isRight).length;
  tell(
    "a hundred at one time, each its own answer",
    wrong === 0 ? null : `${wrong} of ${answers.length} are wrong`,
  );
}

function token(secret: string): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: "ann" })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
