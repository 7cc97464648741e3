import { describe, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { pkiLimits, tokenLimits } from "../../base/limits/pki.ts";
import { isStrongRsaKey } from "./rsa_strength.ts";

function made(bits: number): string {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: bits });
  return String(publicKey.export({ format: "jwk" }).n);
}

const text = (bytes: readonly number[]) => Buffer.from(bytes).toString("base64url");

/** A modulus as Infineon's library made them: a power of 65537 modulo each small prime, here 65537^k itself. */
function ofInfineon(bits: number): string {
  const number = 65_537n ** BigInt(Math.ceil(bits / 16));
  const hex = number.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex").toString("base64url");
}

describe("RSA keys of a key set", () => {
  const n = made(pkiLimits.minRsaBits);

  test("of the shortest length is taken, and one bit less is not", () => {
    expect(isStrongRsaKey(n, "AQAB")).toBe(true);
    expect(isStrongRsaKey(made(pkiLimits.minRsaBits - 8), "AQAB")).toBe(false);
    const bytes = [...Buffer.from(n, "base64url")];
    expect(isStrongRsaKey(text([(bytes[0] ?? 0) & 0x7f, ...bytes.slice(1)]), "AQAB")).toBe(false);
    expect(isStrongRsaKey(text([0, ...bytes]), "AQAB")).toBe(true);
  });

  test("of the greatest length is taken, and one that is longer is not", () => {
    const digits = (tokenLimits.maxRsaBits / 8) * 1.5;
    const long = `${"_".repeat(digits - 2)}94`;
    expect(isStrongRsaKey(long, "AQAB")).toBe(true);
    expect(isStrongRsaKey(`${"_".repeat(4)}${long}`, "AQAB")).toBe(false);
  });

  test.each([
    ["3", [3], true],
    ["65537 with a zero before it", [0, 1, 0, 1], true],
    ["0", [0], false],
    ["1", [1], false],
    ["1 with zeros before it", [0, 0, 1], false],
    ["2", [2], false],
    ["65536", [1, 0, 0], false],
    ["six bytes, and odd", [1, 0, 0, 0, 0, 1], true],
    ["seven bytes", [1, 0, 0, 0, 0, 0, 1], false],
  ] as const)("with the exponent %s", (_name, bytes, isStrong) => {
    expect(isStrongRsaKey(n, text(bytes))).toBe(isStrong);
  });

  test("whose members are no base64url are refused", () => {
    for (const wrong of [undefined, null, 5, "", " ", "A", "A+B", "AQAB="])
      expect([isStrongRsaKey(wrong, "AQAB"), isStrongRsaKey(n, wrong)]).toEqual([false, false]);
  });

  test("of Infineon's library are refused (ROCA)", () => {
    expect(isStrongRsaKey(ofInfineon(pkiLimits.minRsaBits), "AQAB")).toBe(false);
  });
});
