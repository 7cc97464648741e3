/** Where keys are read from: what is asked for, and what is not even asked. */
import { expect, test } from "bun:test";
import { tokenLimits } from "../../base/limits/pki.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { MemoryFiles } from "../testing/memory_files.ts";
import { FakeHttp, keySet, testKey } from "../testing/token_issuer.ts";
import { isHttps, type JwksSource, readJwks } from "./jwks_source.ts";

const issuer = "https://issuer.example";
const wellKnown = `${issuer}/.well-known/openid-configuration`;

function read(http: FakeHttp, source: JwksSource, files = new MemoryFiles(), of = issuer) {
  return readJwks({ http, files }, of, source);
}

test("a discovery document is an object of this issuer with an address, and each fault is told", async () => {
  const discovery = { kind: "discovery", reach: "public", rootsPath: null } as const;
  for (const [document, said] of [
    ["null", "the discovery document is no object"],
    ["[]", "the discovery document is no object"],
    [JSON.stringify({ issuer: `${issuer}/` }), "the discovery document is of another issuer"],
    [JSON.stringify({ issuer }), "the discovery document names no jwks_uri"],
    [
      JSON.stringify({ issuer, jwks_uri: ["https://issuer.example/keys"] }),
      "the discovery document names no jwks_uri",
    ],
  ] as const) {
    const http = new FakeHttp();
    http.put(wellKnown, document);
    expect(await rejectionOf(read(http, discovery))).toMatchObject({
      code: "configuration",
      blame: "upstream",
      message: said,
    });
  }
  const http = new FakeHttp();
  http.put(
    `${issuer}/a/.well-known/openid-configuration`,
    JSON.stringify({ issuer: `${issuer}/a/`, jwks_uri: issuer }),
  );
  http.put(issuer, keySet(await testKey("one")));
  expect((await read(http, discovery, new MemoryFiles(), `${issuer}/a/`)).size).toBe(1);
});

test("what is no https address is not asked, though somebody would answer there", async () => {
  const keys = keySet(await testKey("one"));
  for (const uri of [
    "http://issuer.example/keys",
    "https://me@issuer.example/keys",
    "https://:secret@issuer.example/keys",
    "no address",
  ]) {
    const http = new FakeHttp();
    http.put(uri, keys);
    const refused = await rejectionOf(read(http, { kind: "uri", uri, reach: "any", rootsPath: null }));
    expect([uri, String(refused)]).toEqual([uri, expect.stringContaining("keys are fetched by https alone")]);
    expect([http.requests.length, isHttps(uri)]).toEqual([0, false]);
  }
});

test("hosts that are named may be inside and plain, by name and port or by name alone; others may not", async () => {
  const keys = keySet(await testKey("one"));
  const uri = "http://keys.inside:8443/keys";
  const reachOf = async (privateHosts: readonly string[], address = uri): Promise<string> => {
    const http = new FakeHttp();
    http.put(address, keys);
    const reading = read(http, { kind: "uri", uri: address, reach: "public", rootsPath: null, privateHosts });
    await reading.catch(() => {});
    return http.requests[0]?.reach ?? "not asked";
  };
  expect(await reachOf(["keys.inside:8443"])).toBe("any");
  expect(await reachOf(["keys.inside"])).toBe("any");
  expect(await reachOf(["keys.inside:443"])).toBe("not asked");
  expect(await reachOf([])).toBe("not asked");
  expect(await reachOf(["keys.inside"], "https://keys.outside/keys")).toBe("public");
  expect(await reachOf(["keys.inside"], "no address")).toBe("not asked");
});

test("a file holds as many bytes as the limit says, and not one more", async () => {
  const keys = keySet(await testKey("one"));
  const files = new MemoryFiles();
  files.put("/full.json", keys.padEnd(tokenLimits.maxJwksBytes));
  files.put("/over.json", keys.padEnd(tokenLimits.maxJwksBytes + 1));
  const from = (path: string) => read(new FakeHttp(), { kind: "file", path }, files);
  expect((await from("/full.json")).size).toBe(1);
  expect(await rejectionOf(from("/over.json"))).toMatchObject({
    code: "configuration",
    blame: "local",
    message: "/over.json is larger than a set of keys may be",
  });
});
