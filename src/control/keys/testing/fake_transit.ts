/**
 * The transit engine of a Vault, with real keys, for whoever shows its token. It signs digests, which WebCrypto does not: the curve is
 * done by hand here, slowly and for tests alone (FIPS 186-5 §6.4.1).
 */
import type { HttpRequest, HttpResponse } from "../../../host/host.ts";
import { derTag } from "../../../pki/der/der.ts";
import { concatBytes, encodeDer, encodeUnsigned, fromHex } from "../../../pki/der/encode.ts";
import { encodePem } from "../../../pki/der/pem.ts";
import { hex } from "../../../pki/der/values.ts";
import { json } from "./fake_vault.ts";

export const transitToken = "transit-token";

export class FakeTransit {
  /** The private numbers of the versions, the first one first. */
  readonly #versions: bigint[] = [];
  signatures = 0;

  readonly answer = (request: HttpRequest): HttpResponse => {
    if (request.headers?.["x-vault-token"] !== transitToken) return json(403, { errors: [] });
    const { pathname } = new URL(request.url);
    if (pathname === "/v1/auth/token/lookup-self") return json(200, { data: { ttl: 0, renewable: false } });
    if (pathname.includes("/sign/")) return this.#sign(request);
    if (request.method === "POST") this.#versions.push(randomNumber());
    else if (this.#versions.length === 0) return json(404, { errors: [] });
    const keys = this.#versions.map((number, index) => [index + 1, { public_key: publicPem(number) }]);
    return json(200, { data: { latest_version: this.#versions.length, keys: Object.fromEntries(keys) } });
  };

  #sign({ body }: HttpRequest): HttpResponse {
    this.signatures++;
    const asked: { input: string; key_version: number } = JSON.parse(new TextDecoder().decode(body));
    const number = this.#versions[asked.key_version - 1];
    if (number === undefined) return json(400, { errors: ["no such version"] });
    const digest = BigInt(`0x${hex(Uint8Array.fromBase64(asked.input))}`);
    const nonce = randomNumber();
    const r = multiply(nonce).x % order;
    const s = modulo(inverse(nonce, order) * (digest + r * number), order);
    const signature = encodeDer(derTag.sequence, concatBytes(encodeUnsigned(r), encodeUnsigned(s)));
    return json(200, { data: { signature: `vault:v${asked.key_version}:${signature.toBase64()}` } });
  }
}

interface Point {
  readonly x: bigint;
  readonly y: bigint;
}

/** P-256 (SP 800-186 §3.2.1.3). */
const prime = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const base: Point = {
  x: 0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
  y: 0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n,
};

function modulo(value: bigint, by: bigint): bigint {
  const rest = value % by;
  return rest < 0n ? rest + by : rest;
}

function inverse(value: bigint, by: bigint): bigint {
  let [a, b, u, v] = [modulo(value, by), by, 1n, 0n];
  while (a > 1n) [a, b, u, v] = [b % a, a, v - (b / a) * u, u];
  return modulo(u, by);
}

function add(one: Point, other: Point): Point {
  const slope =
    one.x === other.x
      ? (3n * one.x * one.x - 3n) * inverse(2n * one.y, prime)
      : (other.y - one.y) * inverse(other.x - one.x, prime);
  const x = modulo(slope * slope - one.x - other.x, prime);
  return { x, y: modulo(slope * (one.x - x) - one.y, prime) };
}

function multiply(times: bigint): Point {
  let sum: Point | null = null;
  let power = base;
  for (let left = times; left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) sum = sum === null ? power : add(sum, power);
    power = add(power, power);
  }
  return sum ?? base;
}

function randomNumber(): bigint {
  return (BigInt(`0x${hex(crypto.getRandomValues(new Uint8Array(32)))}`) % (order - 1n)) + 1n;
}

function publicPem(number: bigint): string {
  const { x, y } = multiply(number);
  const text = [x, y].map((one) => one.toString(16).padStart(64, "0")).join("");
  const head = "3059301306072a8648ce3d020106082a8648ce3d03010703420004";
  return encodePem("PUBLIC KEY", fromHex(`${head}${text}`));
}
