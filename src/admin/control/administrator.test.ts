import { describe, expect, test } from "bun:test";
import { controlAdminLimits } from "../../base/limits/control.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { type Administrator, hasSubject, parseAdministrators } from "./administrator.ts";
import { Administrators } from "./administrators.ts";
import type { Subject } from "./sources.ts";

function document(spec: string, name = "team"): string {
  return `apiVersion: fairlead.dev/v1\nkind: Administrator\nmetadata: {name: ${name}}\nspec:\n${spec
    .split("\n")
    .map((line) => `  ${line}\n`)
    .join("")}`;
}

function parse(text: string) {
  return parseAdministrators([{ path: "a.yaml", text }], "istio-system");
}

function one(spec: string): Administrator {
  const { administrators, errors } = parse(document(spec));
  expect(errors).toEqual([]);
  const [first] = administrators;
  if (first === undefined) throw new Error("none");
  return first;
}

const alice = "spiffe://td/ns/ops/sa/alice";
const identity = (uri: string): Subject => {
  const id = SpiffeId.parse(uri);
  if (id === null) throw new Error(uri);
  return { kind: "identity", name: uri, id };
};
const token = (claims: Record<string, unknown>, issuer = "https://i"): Subject => ({
  kind: "token",
  name: "t",
  issuer,
  subject: String(claims.sub),
  claims,
});

describe("Administrator documents", () => {
  test("a role, its namespaces and its subjects", () => {
    const read = one(
      `role: namespace-admin\nnamespaces: [shop, cart]\nsubjects:\n- identity: ${alice}\n- {issuer: https://i, value: bob}`,
    );
    expect(read).toMatchObject({
      name: "team",
      role: "namespace-admin",
      namespaces: ["shop", "cart"],
      subjects: [
        { kind: "identity", uri: alice },
        { kind: "claim", issuer: "https://i", claim: "sub", value: "bob" },
      ],
    });
  });

  const subjects = `subjects: [{identity: "${alice}"}]`;
  test.each([
    ["role: mesh-amdin", "5:9", "did you mean mesh-admin?", subjects],
    ["role: namespace-admin", "5:3", "needs namespaces", subjects],
    ["role: namespace-admin\nnamespaces: []", "6:3", "namespaces", subjects],
    ["role: viewer\nnamespaces: []", "6:3", "namespaces is empty", subjects],
    ["role: viewer\nnamespaces:", "6:3", "has no value", subjects],
    ["role: mesh-admin\nnamespaces: [a]", "6:3", "administers the whole mesh", subjects],
    ["role: namespace-admin\nnamespaces: [istio-system]", "6:16", "belongs to the whole mesh", subjects],
    ["role: namespace-admin\nnamespaces: [fairlead-nodes]", "6:16", "belongs to the whole mesh", subjects],
    ["role: namespace-admin\nnamespaces: ['*']", "6:16", "patterns are not supported", subjects],
    ["role: viewer", "5:3", "subjects is missing or empty", ""],
    ["role: viewer", "6:25", "is not spiffe://", 'subjects: [{identity: "spiffe://td/x"}]'],
    ["role: viewer", "6:14", "value", 'subjects: [{issuer: "https://i"}]'],
    [
      "role: viewer",
      "6:56",
      "cannot be given with identity",
      `subjects: [{identity: "${alice}", issuer: "https://i"}]`,
    ],
    ["rolle: viewer", "5:3", "did you mean role?", subjects],
  ])("%p is refused at %s: %s", (spec, place, words, rest) => {
    const { administrators, errors } = parse(document(`${spec}\n${rest}`.trim()));
    expect(administrators).toEqual([]);
    expect(errors.map(({ message }) => message).join("\n")).toContain(words);
    expect(errors.map(({ location: { line, column } }) => `${line}:${column}`)).toContain(place);
  });

  test("other kinds are counted and left to others; the same name twice is an error", () => {
    const text = `${document(`role: viewer\n${subjects}`)}---\nkind: Namespace\n---\n${document(`role: auditor\n${subjects}`)}`;
    const { administrators, errors, others } = parse(text);
    expect([administrators.length, others, errors.length]).toEqual([1, 1, 1]);
    expect(errors[0]?.location.line).toBeGreaterThan(7);
  });

  test("the bound on subjects", () => {
    const many = (count: number) =>
      document(
        `role: viewer\nsubjects:\n${Array.from({ length: count }, (_, i) => `- {issuer: i, value: v${i}}`).join("\n")}`,
      );
    expect(parse(many(controlAdminLimits.maxSubjects)).errors).toEqual([]);
    expect(parse(many(controlAdminLimits.maxSubjects + 1)).errors[0]?.message).toContain("subjects");
  });
});

describe("who a subject is", () => {
  const byIdentity = one(`role: viewer\nsubjects: [{identity: "${alice}"}]`);
  const byGroup = one("role: viewer\nsubjects: [{issuer: https://i, claim: groups, value: ops}]");
  const byMail = one("role: viewer\nsubjects: [{issuer: https://i, claim: email, value: a@b}]");
  const byProto = one("role: viewer\nsubjects: [{issuer: https://i, claim: constructor, value: x}]");

  test.each([
    ["the identity", byIdentity, identity(alice), true],
    ["another trust domain", byIdentity, identity(alice.replace("td", "td2")), false],
    ["a token that says so", byIdentity, token({ sub: alice }), false],
    ["a member of the group", byGroup, token({ groups: ["dev", "ops"] }), true],
    ["the one group", byGroup, token({ groups: "ops" }), true],
    ["no member", byGroup, token({ groups: ["opsx"] }), false],
    ["part of a word", byGroup, token({ groups: "ops dev" }), false],
    ["another issuer", byGroup, token({ groups: ["ops"] }, "https://j"), false],
    ["an identity", byGroup, identity(alice), false],
    ["a verified address", byMail, token({ email: "a@b", email_verified: true }), true],
    ["an unverified address", byMail, token({ email: "a@b" }), false],
    ["an address verified in words", byMail, token({ email: "a@b", email_verified: "true" }), false],
    ["an inherited name", byProto, token({ sub: "x" }), false],
  ])("%s", (_name, administrator, subject, is) => {
    expect(hasSubject(administrator, subject)).toBe(is);
  });
});

describe("administrators in force", () => {
  function book(given: string, applied: string | null = null) {
    let text = applied;
    const inputs = given === "" ? [] : [{ path: "given.yaml", text: given }];
    const source = {
      given: () => inputs,
      read: () => text,
      isFirstRetired: () => false,
      retireFirst: () => {},
      write: (next: string) => {
        text = next;
      },
    };
    return new Administrators(source, "istio-system");
  }
  const root = document(`role: mesh-admin\nsubjects: [{identity: "${alice}"}]`, "root");
  const admin = identity(alice);

  test("those of a file that changed are in force at once, the former ones no more", () => {
    let inputs = [{ path: "given.yaml", text: root }];
    const source = {
      given: () => inputs,
      read: () => null,
      isFirstRetired: () => false,
      retireFirst: () => {},
      write: () => {},
    };
    const administrators = new Administrators(source, "istio-system");
    expect(administrators.grants(admin).length).toBe(1);
    inputs = [{ path: "given.yaml", text: root.replace(alice, "spiffe://cluster.local/ns/shop/sa/bob") }];
    expect(administrators.grants(admin)).toEqual([]);
  });

  test("given and applied ones add up; what is applied is read again", () => {
    const both = book(root);
    const { administrators } = parse(document("role: auditor\nsubjects: [{issuer: https://i, value: bob}]"));
    expect(both.grants(token({ sub: "bob" }))).toEqual([]);
    both.write(both.changed(administrators, []));
    expect(both.grants(token({ sub: "bob" }))).toEqual([{ role: "auditor", namespaces: null }]);
    expect(both.grants(admin)).toEqual([{ role: "mesh-admin", namespaces: null }]);
    both.write(both.changed([], ["team"]));
    expect(both.grants(token({ sub: "bob" }))).toEqual([]);
  });

  test("a given one that is wrong stops the start, with its place", () => {
    expect(() => book(root.replace("mesh-admin", "mesh-amdin"))).toThrow(
      "given.yaml:5:9: Administrator root: ",
    );
    expect(() => book(`${root}---\nkind: Administratr\n`)).toThrow("not an Administrator");
    expect(() => book(`${root}---\n{`)).toThrow("is not YAML");
  });

  test("no administrator takes mesh-admin from themselves, so a real one is always left", () => {
    const applied = book("", root);
    const { administrators } = parse(
      document(`role: mesh-admin\nsubjects: [{issuer: https://i, value: bob}]`),
    );
    expect(applied.refuse(applied.changed(administrators, []), admin)).toBeNull();
    expect(applied.refuse(applied.changed(administrators, ["root"]), admin)).toContain(
      "another mesh administrator",
    );
    expect(applied.refuse([], admin)).toContain("another mesh administrator");
    const demoted = parse(root.replace("mesh-admin", "auditor")).administrators;
    expect(applied.refuse(applied.changed(demoted, []), admin)).toContain("another mesh administrator");
    expect(book(root).refuse([], admin)).toBeNull();
  });

  test("the bound on administrators", () => {
    const many = (count: number) =>
      Array.from({ length: count }, (_, i) => ({
        ...one("role: viewer\nsubjects: [{issuer: i, value: v}]"),
        name: `n${i}`,
      }));
    const { maxAdministrators } = controlAdminLimits;
    expect(book(root).refuse(many(maxAdministrators), admin)).toBeNull();
    expect(book(root).refuse(many(maxAdministrators + 1), admin)).toContain("more than");
  });
});

test("a text that cannot be cut into documents is the documents' matter, unless it names administrators", () => {
  const many = "---\na: b\n".repeat(10_001);
  const of = (text: string) => parseAdministrators([{ path: "f", text }], "istio-system");
  expect(of(many)).toEqual({ administrators: [], errors: [], others: 1 });
  expect(of(`${many}# Administrator\n`).errors.length).toBe(1);
});
