import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { MeshError } from "../../base/errors.ts";
import { decodePem, decodePemLabel, encodePem } from "./pem.ts";

test("what is encoded is decoded, in lines of 64", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 400 }), (der) => {
      const pem = encodePem("CERTIFICATE", der);
      expect(decodePem(pem)).toEqual([{ label: "CERTIFICATE", der }]);
      expect(Math.max(...pem.split("\n").map((line) => line.length))).toBeLessThanOrEqual(64);
    }),
  );
});

test("several blocks, text between them, Windows line ends", () => {
  const der = Uint8Array.of(1, 2, 3);
  const pem =
    `# our root\n${encodePem("CERTIFICATE", der)}and its list\n${encodePem("X509 CRL", der)}`.replaceAll(
      "\n",
      "\r\n",
    );
  expect(decodePem(pem).map((block) => block.label)).toEqual(["CERTIFICATE", "X509 CRL"]);
  expect(decodePemLabel(pem, "X509 CRL")).toEqual([der]);
  expect(decodePem("no block at all")).toEqual([]);
});

test("a block that is damaged is an error, never a shorter list", () => {
  const pem = encodePem("CERTIFICATE", new Uint8Array(100));
  for (const bad of [
    pem.slice(0, -30),
    pem.slice(30),
    pem.replace("END CERTIFICATE", "END CERTIFICATES"),
    pem.replace("AAAA", "A!AA"),
    pem.replace("AAAA", "AAA"),
    pem.replace("AAAA", "AA-A"),
    "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    pem + pem.slice(0, 40),
  ]) {
    expect(() => decodePem(bad)).toThrow(MeshError);
    expect(() => decodePem(pem + bad)).toThrow(MeshError);
  }
});
