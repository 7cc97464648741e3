import { describe, expect, test } from "bun:test";
import type { Certificate } from "../x509/certificate.ts";
import type { GeneralName, NameConstraints } from "../x509/extensions.ts";
import { violatedNameConstraint } from "./name_constraints.ts";

const dns = (value: string): GeneralName => ({ kind: "dns", value });
const uri = (value: string): GeneralName => ({ kind: "uri", value });

function violation(
  names: readonly GeneralName[],
  { permitted = null, excluded = [] }: Partial<NameConstraints>,
  hasSubject = false,
): string | null {
  const certificate = { hasSubject, extensions: { subjectAltNames: names } } as unknown as Certificate;
  return violatedNameConstraint(certificate, { permitted, excluded });
}

describe("a DNS name under a constraint", () => {
  test.each([
    ["shop.example", "shop.example", true],
    ["a.shop.example", "shop.example", true],
    ["ashop.example", "shop.example", false],
    ["example", "shop.example", false],
    ["A.Shop.Example", "sHop.example", true],
    ["other.example", "", true],
  ] as const)("%s in %j: %p", (name, subtree, isWithin) => {
    expect(violation([dns(name)], { permitted: [dns(subtree)] }) === null).toBe(isWithin);
    expect(violation([dns(name)], { excluded: [dns(subtree)] }) === null).toBe(!isWithin);
  });

  test("that is not written as one cannot be said to hold, nor a name that is none", () => {
    for (const [name, subtree] of [
      ["a.example", ".example"],
      ["a.example", "exa mple"],
      ["*.example", "example"],
      ["", "example"],
    ] as const) {
      expect(violation([dns(name)], { permitted: [dns(subtree)] })).toContain("cannot be evaluated");
      expect(violation([dns(name)], { excluded: [dns(subtree)] })).toContain("cannot be evaluated");
    }
  });
});

describe("a URI under a constraint", () => {
  test.each([
    ["spiffe://shop.example/a", "shop.example", true],
    ["spiffe://a.shop.example/a", "shop.example", false],
    ["spiffe://a.shop.example/a", ".shop.example", true],
    ["spiffe://shop.example/a", ".shop.example", false],
    ["SPIFFE://Shop.Example?q", "shop.EXAMPLE", true],
  ] as const)("%s in %j: %p", (name, subtree, isWithin) => {
    expect(violation([uri(name)], { permitted: [uri(subtree)] }) === null).toBe(isWithin);
    expect(violation([uri(name)], { excluded: [uri(subtree)] }) === null).toBe(!isWithin);
  });

  test("without a host name satisfies nothing", () => {
    for (const name of [
      "urn:a:b",
      "spiffe://me@shop.example/",
      "spiffe://shop.example:1/",
      "spiffe:///a",
      "spiffe://shop..example/",
    ])
      expect([name, violation([uri(name)], { permitted: [uri("shop.example")] })]).toEqual([
        name,
        "has a uri name under a constraint that cannot be evaluated",
      ]);
    expect(violation([uri("spiffe://shop.example/")], { excluded: [uri("..example")] })).toContain(
      "evaluated",
    );
  });
});

describe("several names and constraints", () => {
  test("every name must hold; a kind without a constraint is free", () => {
    const permitted = [dns("a.example"), dns("b.example")];
    expect(violation([dns("x.a.example"), dns("b.example")], { permitted })).toBeNull();
    expect(violation([dns("a.example"), dns("c.example")], { permitted })).toBe(
      "has a dns name that its issuer does not permit",
    );
    expect(violation([uri("spiffe://c.example/")], { permitted })).toBeNull();
    expect(violation([], { permitted })).toBeNull();
  });

  test("what is excluded is so within what is permitted", () => {
    const constraints = { permitted: [dns("example")], excluded: [dns("bad.example")] };
    expect(violation([dns("good.example")], constraints)).toBeNull();
    expect(violation([dns("x.bad.example")], constraints)).toBe("has a dns name that its issuer excludes");
    expect(violation([dns("other")], constraints)).toBe("has a dns name that its issuer does not permit");
  });

  test("of a kind that is not evaluated, it holds for nothing: a subject is a directory name", () => {
    const directory: GeneralName = { kind: "directory", value: null };
    expect(violation([], { permitted: [directory] }, true)).toContain(
      "has a directory name under a constraint",
    );
    expect(violation([], { permitted: [directory] }, false)).toBeNull();
    expect(
      violation([{ kind: "ip", value: null, bytes: new Uint8Array(4) }], {
        excluded: [{ kind: "ip", value: null, bytes: new Uint8Array(8) }],
      }),
    ).toContain("ip name");
  });
});
