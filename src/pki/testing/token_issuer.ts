/** An issuer of tokens for tests: keys of every kind, tokens good and bad, and its keys behind an HTTP client that can misbehave. */
import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from "jose";
import { MeshError } from "../../base/errors.ts";
import type { HttpClient, HttpRequest, HttpResponse } from "../../host/host.ts";

export interface TestKey {
  readonly kid: string;
  readonly algorithm: string;
  readonly privateKey: CryptoKey;
  /** Public, with `kid`. */
  readonly jwk: JWK;
}

export async function testKey(kid: string, algorithm = "ES256"): Promise<TestKey> {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true });
  return { kid, algorithm, privateKey, jwk: { ...(await exportJWK(publicKey)), kid } };
}

export function keySet(...keys: readonly (TestKey | JWK)[]): string {
  return JSON.stringify({ keys: keys.map((key) => ("jwk" in key ? key.jwk : key)) });
}

/** @param claims beside or in place of the good ones; `undefined` takes one away. */
export async function signToken(
  key: TestKey,
  nowMs: number,
  claims: JWTPayload = {},
  header: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const seconds = Math.floor(nowMs / 1000);
  const payload = {
    iss: "https://issuer.example",
    aud: ["istio-ca"],
    sub: "system:serviceaccount:shop:cart",
    iat: seconds,
    exp: seconds + 3600,
    ...claims,
  };
  return await new SignJWT(payload)
    .setProtectedHeader({ alg: key.algorithm, kid: key.kid, ...header })
    .sign(key.privateKey);
}

export function base64url(value: unknown): string {
  const bytes = new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** Answers by URL; what is not there is a name that does not resolve. */
export class FakeHttp implements HttpClient {
  readonly requests: HttpRequest[] = [];
  readonly answers = new Map<string, () => Promise<HttpResponse> | HttpResponse>();

  put(url: string, text: string, status = 200, headers: Readonly<Record<string, string>> = {}): void {
    this.answers.set(url, () => ({ status, headers, body: new TextEncoder().encode(text) }));
  }

  fail(url: string, error: MeshError): void {
    this.answers.set(url, () => {
      throw error;
    });
  }

  async send(request: HttpRequest): Promise<HttpResponse> {
    this.requests.push(request);
    const answer = this.answers.get(request.url);
    if (answer === undefined) throw new MeshError("name_not_found", "upstream", "no such host");
    const response = await answer();
    if (response.body.length > request.maxResponseBytes)
      throw new MeshError("limit_reached", "upstream", "the answer is larger than allowed");
    return response;
  }
}
