import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { tokenLimits } from "../../base/limits/pki.ts";
import { silentLogger } from "../../base/log.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { encodePem } from "../der/pem.ts";
import { Forge, type Forged } from "../testing/forge.ts";
import { MemoryFiles } from "../testing/memory_files.ts";
import { keySet, signToken, type TestKey, testKey } from "../testing/token_issuer.ts";
import { parseJwtIssuer } from "./token_issuer.ts";
import { TokenVerifier } from "./token_verifier.ts";

/** An issuer on loopback, as it is met: over TLS, by the host's own HTTP client. */
let server: ReturnType<typeof Bun.serve>;
let root: Forged;
let key: TestKey;
let asked: string[] = [];

beforeAll(async () => {
  const forge = new Forge(runtimeProvider(), Date.now());
  root = await forge.ca();
  key = await testKey("one");
  const leaf = await forge.leaf(root, { uris: [], ipAddresses: ["127.0.0.1"] });
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", leaf.keys.privateKey));
  server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    tls: { cert: leaf.pem, key: encodePem("PRIVATE KEY", pkcs8) },
    fetch: (request) => answer(new URL(request.url).pathname),
  });
});

afterAll(() => server.stop(true));

async function answer(path: string): Promise<Response> {
  asked.push(path);
  const base = `https://127.0.0.1:${server.port}`;
  if (path === "/keys") return new Response(keySet(key));
  if (path === "/redirect") return Response.redirect(`${base}/keys`, 302);
  if (path === "/huge") return new Response("x".repeat(tokenLimits.maxJwksBytes + 1));
  if (path === "/endless") return new Response(endless());
  if (path === "/good/.well-known/openid-configuration")
    return Response.json({ issuer: `${base}/good`, jwks_uri: `${base}/keys` });
  if (path === "/away/.well-known/openid-configuration")
    return Response.json({ issuer: `${base}/away`, jwks_uri: "https://10.255.255.1/keys" });
  return new Response("no", { status: 404 });
}

/** One byte now and then, so that only the whole answer's time-out ends it. */
function endless(): ReadableStream {
  return new ReadableStream({
    async pull(controller) {
      await Bun.sleep(50);
      controller.enqueue(new TextEncoder().encode(" "));
    },
  });
}

async function outcome(path: string, allowPrivateAddresses: boolean, discovery = false): Promise<string> {
  const host = createBunHost();
  const files = new MemoryFiles();
  files.put("/roots.pem", root.pem);
  const base = `https://127.0.0.1:${server.port}`;
  const issuer = discovery ? `${base}${path}` : "https://issuer.example";
  const verifier = new TokenVerifier({
    rootNamespace: "istio-system",
    clock: host.clock,
    http: host.http,
    files,
    logger: silentLogger,
    trustDomain: "cluster.local",
    issuers: [
      parseJwtIssuer({
        issuer,
        allowPrivateAddresses,
        rootsFile: "/roots.pem",
        ...(discovery ? {} : { jwksUri: `${base}${path}` }),
      }),
    ],
  });
  asked = [];
  const result = await verifier.verify(await signToken(key, Date.now(), { iss: issuer }));
  return result.kind === "refused" ? `${result.reason}: ${result.detail}` : result.kind;
}

describe("the keys of an issuer over HTTPS", () => {
  test("inside are fetched only when that is allowed", async () => {
    expect(await outcome("/keys", true)).toBe("workload");
    expect(await outcome("/keys", false)).toStartWith("keys_unavailable: ");
    expect(asked).toEqual([]);
    expect(await outcome("/good", true, true)).toBe("workload");
    expect(await outcome("/good", false, true)).toStartWith("keys_unavailable: ");
    expect(asked).toEqual([]);
  });

  test("are not looked for where an answer points to", async () => {
    expect(await outcome("/redirect", true)).toContain("answered 302");
    expect(asked).toEqual(["/redirect"]);
  });

  test("that are huge are not read to their end", async () => {
    expect(await outcome("/huge", true)).toStartWith("keys_unavailable: ");
  });

  // By themselves they go on for ever.
  test("that never end are given up", async () => {
    expect(await outcome("/endless", true)).toStartWith("keys_unavailable: ");
  }, 300_000);
});
