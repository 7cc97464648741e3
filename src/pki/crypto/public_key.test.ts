import { expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { Forge } from "../testing/forge.ts";
import { providers } from "../testing/providers.ts";
import { ecdsaSignatureToRaw, publicKeyKind, signatureScheme } from "./public_key.ts";
import { SignatureVerifier } from "./signature.ts";

function element(tag: number, ...parts: readonly (readonly number[])[]): number[] {
  const content = parts.flat();
  const { length } = content;
  if (length < 0x80) return [tag, length, ...content];
  return length < 0x100
    ? [tag, 0x81, length, ...content]
    : [tag, 0x82, length >> 8, length & 0xff, ...content];
}

const rsaAlgorithms = [
  0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/** A key of which only the size and the exponent matter. */
function rsa(
  bits: number,
  exponent: readonly number[] = [1, 0, 1],
  sign: readonly number[] | null = null,
): Uint8Array {
  const modulus = new Array<number>(Math.ceil(bits / 8)).fill(0xff);
  modulus[0] = 0xff >> ((8 - (bits % 8)) % 8);
  const head = sign ?? ((modulus[0] ?? 0) >= 0x80 ? [0] : []);
  const key = element(0x30, element(0x02, head, modulus), element(0x02, exponent));
  return Uint8Array.from(element(0x30, rsaAlgorithms, element(0x03, [0], key)));
}

function ec(curve: readonly number[], point: readonly number[]): Uint8Array {
  const algorithm = element(
    0x30,
    [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01],
    element(0x06, curve),
  );
  return Uint8Array.from(element(0x30, algorithm, element(0x03, [0], point)));
}

const p256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const p384 = [0x2b, 0x81, 0x04, 0x00, 0x22];
const p521 = [0x2b, 0x81, 0x04, 0x00, 0x23];
const secp256k1 = [0x2b, 0x81, 0x04, 0x00, 0x0a];
const point = (length: number, form = 0x04): number[] => [form, ...new Array<number>(length).fill(1)];

function outcome(read: () => unknown): unknown {
  try {
    return read();
  } catch (error) {
    return asMeshError(error, "io", "local").code;
  }
}

test("RSA keys: not shorter, not longer, not negative, and of an exponent that is one", () => {
  const kind = (key: Uint8Array): unknown => outcome(() => publicKeyKind(key));
  expect(kind(rsa(pkiLimits.minRsaBits))).toBe("RSA");
  expect(kind(rsa(pkiLimits.minRsaBits - 1))).toBe("certificate_algorithm");
  expect(kind(rsa(pkiLimits.maxRsaBits))).toBe("RSA");
  expect(kind(rsa(pkiLimits.maxRsaBits + 1))).toBe("certificate_algorithm");
  expect(kind(rsa(2048, [3]))).toBe("RSA");
  expect(kind(rsa(2048, [1, 0, 0, 0, 1]))).toBe("RSA");
  for (const exponent of [[1], [2], [0x80], [0x80, 1], [1, 0, 0], [1, 0, 0, 0, 0, 1]]) {
    expect(kind(rsa(2048, exponent))).toBe("certificate_algorithm");
  }
  expect(kind(rsa(2048, [1, 0, 1], []))).toBe("certificate_malformed");
  expect(kind(rsa(2048, [1, 0, 1], [0, 0]))).toBe("certificate_malformed");
  expect(kind(rsa(2048, [1, 0, 1], [0x80]))).toBe("certificate_malformed");
});

test("elliptic curves: two, uncompressed, and named", () => {
  const kind = (key: Uint8Array): unknown => outcome(() => publicKeyKind(key));
  expect(kind(ec(p256, point(64)))).toBe("P-256");
  expect(kind(ec(p384, point(96)))).toBe("P-384");
  expect(kind(ec(p256, point(32, 2)))).toBe("certificate_malformed");
  expect(kind(ec(p256, point(96)))).toBe("certificate_malformed");
  expect(kind(ec(p521, point(132)))).toBe("certificate_algorithm");
  expect(kind(ec(secp256k1, point(64)))).toBe("certificate_algorithm");
  // Ed25519 and Ed448, with 32 and 57 bytes.
  const edwards = (arc: number, length: number): Uint8Array =>
    Uint8Array.from(
      element(
        0x30,
        element(0x30, [0x06, 0x03, 0x2b, 0x65, arc]),
        element(0x03, [0], new Array(length).fill(1)),
      ),
    );
  expect(kind(edwards(0x70, 32))).toBe("Ed25519");
  expect(kind(edwards(0x70, 31))).toBe("certificate_algorithm");
  expect(kind(edwards(0x71, 57))).toBe("certificate_algorithm");
});

test("signature algorithms: only what is written exactly so", () => {
  const scheme = (text: string): unknown => outcome(() => signatureScheme(Uint8Array.fromHex(text)).name);
  expect(scheme("300a06082a8648ce3d040302")).toBe("ECDSA with SHA-256");
  expect(scheme("300c06082a8648ce3d0403020500")).toBe("certificate_algorithm");
  expect(scheme("300906072a8648ce3d0401")).toBe("certificate_algorithm");
  expect(scheme("300d06092a864886f70d0101050500")).toBe("certificate_algorithm");
  expect(scheme("300d06092a864886f70d0101040500")).toBe("certificate_algorithm");
  const pss = (hash: string, mgfHash: string, salt: string): string =>
    `304106092a864886f70d01010a3034a00f300d0609608648016503040${hash}0500a11c301a06092a864886f70d010108300d0609608648016503040${mgfHash}0500a2030201${salt}`;
  expect(scheme(pss("201", "201", "20"))).toBe("RSA-PSS with SHA-256");
  expect(scheme(pss("203", "203", "40"))).toBe("RSA-PSS with SHA-512");
  expect(scheme(pss("201", "202", "20"))).toBe("certificate_algorithm");
  expect(scheme(pss("201", "201", "00"))).toBe("certificate_algorithm");
});

test("an ECDSA signature is two numbers that are not negative and fit their curve", () => {
  const raw = (r: readonly number[], s: readonly number[], kind: "P-256" | "P-384" = "P-256"): unknown =>
    outcome(() => {
      const signature = Uint8Array.from(element(0x30, element(2, r), element(2, s)));
      return [...ecdsaSignatureToRaw(signature, kind)];
    });
  const of = (length: number, first: number): number[] => [first, ...new Array(length - 1).fill(9)];
  const zeros = (length: number): number[] => new Array(length).fill(0);
  expect(raw([5], [6])).toEqual([...zeros(31), 5, ...zeros(31), 6]);
  expect(raw([5], [6], "P-384")).toEqual([...zeros(47), 5, ...zeros(47), 6]);
  expect(raw(of(32, 0x7f), [0, ...of(32, 0x80)])).toEqual([...of(32, 0x7f), ...of(32, 0x80)]);
  for (const bad of [of(33, 1), of(33, 0x80), of(2, 0x80)]) {
    expect(raw(bad, [6])).toBe("certificate_malformed");
    expect(raw([5], bad)).toBe("certificate_malformed");
  }
  expect(raw([5], of(48, 1), "P-384")).toBeArrayOfSize(96);
  expect(raw([5], of(49, 1), "P-384")).toBe("certificate_malformed");
});

for (const provider of providers) {
  test(`on ${provider.name}: a point off its curve cannot be a key, and a signature of zeros holds for nothing`, async () => {
    const verifier = new SignatureVerifier(provider);
    const root = await new Forge(provider, Date.parse("2026-11-22T12:00:00Z")).ca();
    const off = verifier.verify(root.parsed, { publicKeyInfo: ec(p256, point(64)) });
    // WebCrypto refuses the key; @peculiar/webcrypto finds out when it verifies with it.
    const found = await off.catch((error) => asMeshError(error, "io", "local").code);
    expect(found).toBe(provider.name === "runtime" ? "certificate_malformed" : false);
    expect(await verifier.verify(root.parsed, root.parsed)).toBe(true);
    // Another issuer of the same name may have a key of another kind: it is none of this signature's, and no error.
    expect(await verifier.verify(root.parsed, { publicKeyInfo: rsa(2048) })).toBe(false);
    for (const signature of [
      Uint8Array.of(0x30, 6, 2, 1, 0, 2, 1, 0),
      Uint8Array.of(0x30, 6, 2, 1, 1, 2, 1, 0xff),
      new Uint8Array(),
      new Uint8Array(64),
    ]) {
      expect(await verifier.verify({ ...root.parsed, signature }, root.parsed)).toBe(false);
    }
  });
}
