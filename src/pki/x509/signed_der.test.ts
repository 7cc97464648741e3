import { expect, test } from "bun:test";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { SigningKey } from "../crypto/private_key.ts";
import { hex } from "../der/values.ts";
import type { Certificate } from "./certificate.ts";
import { encodeAuthorityKeyId, encodeSigned } from "./signed_der.ts";

test("an issuer's key is named where its certificate names it, and nothing is said otherwise", () => {
  const of = (subjectKeyId: string | null) =>
    hex(encodeAuthorityKeyId({ extensions: { subjectKeyId } } as unknown as Certificate));
  expect(of(null)).toBe("");
  expect(of("0102")).toBe("300d0603551d23040630048002" + "0102");
});

test("a key of no known kind signs nothing", async () => {
  const key = { algorithm: { name: "HMAC", hash: "SHA-256" }, sign: async () => new Uint8Array() };
  const error = await rejectionOf(encodeSigned(key as unknown as SigningKey, () => new Uint8Array()));
  expect(String(error)).toBe("TypeError: no signature algorithm for HMAC SHA-256");
});
