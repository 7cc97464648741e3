import { describe, expect, test } from "bun:test";
import { convert, document, warningsOf } from "../testing/convert_text.ts";

const rule = (source: string) => `rules: [{from: [{source: {${source}}}]}]`;
/** What is said of a policy in shop, without its name and path. */
function said(spec: string, action = "DENY"): readonly string[] {
  return warningsOf(convert([document("AuthorizationPolicy", "shop/p", `{action: ${action}, ${spec}}`)])).map(
    (text) => text.replace(/^AuthorizationPolicy shop\/p: spec\.rules\[0\]\.(?:from\[0\]\.source\.)?/, ""),
  );
}
const td = "cluster.local";
const id = `${td}/ns/shop/sa/cart`;

describe("a principal that can never match is told, with what was meant", () => {
  const form = "a principal is TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT";
  const scheme = "a principal is written without spiffe://";
  const foreign = (domain: string) => `this mesh is ${td}, and ${domain} is not an alias of it`;
  const cases: readonly (readonly [string, string, string | null])[] = [
    [`spiffe://${id}`, scheme, id],
    [`spiffe://${td}/ns/shop/*`, scheme, `${td}/ns/shop/*`],
    ["spiffe://other.example/ns/shop/sa/cart", scheme, id],
    [`*spiffe://${id}`, scheme, `*${id}`],
    ["other.example/ns/shop/sa/cart", foreign("other.example"), id],
    ["other.example/ns/shop/*", foreign("other.example"), `${td}/ns/shop/*`],
    ["cluster.locl/ns/shop/sa/cart", foreign("cluster.locl"), id],
    ["Cluster.Local/ns/shop/sa/cart", foreign("Cluster.Local"), id],
    ["ns/shop/sa/cart", form, id],
    ["/ns/shop/sa/cart", form, id],
    ["shop/cart", form, id],
    ["cart", form, "*/sa/cart"],
    ["system:serviceaccount:shop:cart", form, id],
    [`${td}/ns/Shop/sa/Cart`, form, id],
    [`${td}/sa/cart`, form, null],
    [`${id}/`, form, null],
    [`${id}/more`, form, null],
    [`${td}/ns//sa/cart`, form, null],
    ["*/sa/cart/*", "a * only counts at the beginning or at the end", null],
    [`${td}/ns/*/sa/cart`, "a * only counts at the beginning or at the end", null],
    ["*/ns/shop", form, null],
  ];
  for (const [value, why, meant] of cases)
    test(value, () => {
      const hint = meant === null ? "" : `; did you mean ${meant}?`;
      expect(said(rule(`principals: ["${value}"]`))).toEqual([
        `principals: ${JSON.stringify(value)} can never match: ${why}; it denies nothing${hint}`,
      ]);
    });
});

test("principals that can match are not spoken of", () => {
  const values = [
    ...[id, "*", `${td}/*`, `${td}*`, "cluster*", "c*", `${td}/ns/*`, `${td}/ns/shop*`, `${td}/ns/shop/*`],
    ...[`${td}/ns/shop/s*`, `${td}/ns/shop/sa/*`, `${td}/ns/shop/sa/ca*`, `${td}/ns/shop/sa/a.b-*`],
    ...["*t", "*cart", "*/cart", "*a/cart", "*/sa/cart", "*p/sa/cart", "*shop/sa/cart", "*/ns/shop/sa/cart"],
    ...["*local/ns/shop/sa/cart", `*${id}`, "*.svc"],
  ];
  for (const value of values) expect([value, ...said(rule(`principals: ["${value}"]`))]).toEqual([value]);
});

test("parts of a principal match exactly when there is one that begins or ends so", () => {
  const whole = `${td}/ns/a/sa/b`;
  const ends = Array.from({ length: whole.length + 1 }, (_, index) => whole.slice(index));
  const begins = Array.from({ length: whole.length + 1 }, (_, index) => whole.slice(0, index));
  const principal = /^cluster\.local\/ns\/[a-z0-9]([a-z0-9-]*[a-z0-9])?\/sa\/[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/;
  const words = ["cluster", ".local", "x", "/", "ns", "/ns/", "n", "sa", "/sa/", "s", "-", "a-", "A", "."];
  const texts = new Set(words.flatMap((one) => words.map((two) => one + two)));
  for (const part of [...ends, ...begins]) for (const word of words) texts.add(part + word).add(word + part);
  const cases = [...texts].flatMap((text) => [
    { value: `${text}*`, can: ends.some((end) => principal.test(text + end)) },
    { value: `*${text}`, can: begins.some((begin) => principal.test(begin + text)) },
  ]);
  const wrong: string[] = [];
  // Ten at a time: of one policy twenty are told.
  for (let index = 0; index < cases.length; index += 10) {
    const some = cases.slice(index, index + 10);
    const told = said(rule(`principals: [${some.map(({ value }) => `"${value}"`).join(", ")}]`));
    for (const { value, can } of some)
      if (told.some((text) => text.startsWith(`principals: "${value}" can`)) === can) wrong.push(value);
  }
  expect(wrong).toEqual([]);
});

test("of a thousand values that can never match, a few are told", () => {
  const values = Array.from({ length: 1_000 }, (_, index) => `Cart${index}`);
  expect(said(rule(`namespaces: [${values.join(", ")}]`))).toHaveLength(20);
});

test("an alias, or another trust domain of the mesh, is no slip", () => {
  const policy = document(
    "AuthorizationPolicy",
    "shop/p",
    `{action: DENY, ${rule('principals: ["a.b/ns/shop/sa/cart"]')}}`,
  );
  expect(warningsOf(convert([policy], { trustDomain: "a.b" }))).toEqual([]);
});

describe("every other field that can never match", () => {
  const cases: readonly (readonly [string, string])[] = [
    [
      "namespaces: [Shop]",
      'namespaces: "Shop" can never match: namespaces are in lower case; it denies nothing; did you mean shop?',
    ],
    [
      "namespaces: [shop/cart]",
      'namespaces: "shop/cart" can never match: it is not the name of a namespace; it denies nothing',
    ],
    [
      `namespaces: ["${id}"]`,
      `namespaces: "${id}" can never match: it is not the name of a namespace; it denies nothing; did you mean shop?`,
    ],
    [
      'namespaces: ["*a*"]',
      'namespaces: "*a*" can never match: a * only counts at the beginning or at the end; it denies nothing',
    ],
    [
      "notNamespaces: [Shop]",
      'notNamespaces: "Shop" can never match: namespaces are in lower case; it excepts nothing; did you mean shop?',
    ],
    [
      "serviceAccounts: [shop/Cart]",
      'serviceAccounts: "shop/Cart" can never match: it is not the name of a service account; it denies nothing; did you mean shop/cart?',
    ],
    [
      'serviceAccounts: ["system:serviceaccount:shop:cart"]',
      'serviceAccounts: "system:serviceaccount:shop:cart" can never match: it is not the name of a service account; it denies nothing; did you mean shop/cart?',
    ],
    [
      "namespaces: [shop, Bank]",
      'namespaces: "Bank" can never match: namespaces are in lower case; did you mean bank?',
    ],
  ];
  for (const [source, expected] of cases) test(source, () => expect(said(rule(source))).toEqual([expected]));

  test("in `to` and in `when`", () => {
    expect(said("rules: [{to: [{operation: {ports: ['0']}}]}]")).toEqual([
      'to[0].operation.ports: "0" can never match: no connection has port 0; it denies nothing',
    ]);
    expect(said(`rules: [{when: [{key: source.principal, values: ["spiffe://${id}"]}]}]`, "ALLOW")).toEqual([
      `when[0].values: "spiffe://${id}" can never match: a principal is written without spiffe://; it allows nothing; did you mean ${id}?`,
    ]);
    expect(said("rules: [{when: [{key: source.namespace, notValues: [A]}]}]")[0]).toStartWith(
      "when[0].notValues: ",
    );
    expect(said("rules: [{when: [{key: destination.port, values: ['0']}]}]")[0]).toStartWith(
      "when[0].values: ",
    );
  });

  test("the warning is at the value", () => {
    const text = document(
      "AuthorizationPolicy",
      "shop/p",
      `{action: DENY, ${rule('principals: ["*", "cart"]')}}`,
    );
    const [warning] = convert([text]).statuses[0]?.warnings ?? [];
    expect(warning?.location).toEqual({
      file: "f",
      line: 4,
      column: text.split("\n")[3]?.indexOf("cart") ?? 0,
    });
  });
});

test("a PeerAuthentication that selects nothing, and a server of another trust domain", () => {
  const strict = document(
    "PeerAuthentication",
    "shop/s",
    "{selector: {matchLabels: {app: gone}}, mtls: {mode: STRICT}}",
  );
  expect(warningsOf(convert([strict]))).toEqual([
    "PeerAuthentication shop/s: its selector selects no workload",
  ]);
  const there = document("WorkloadEntry", "shop/w", "labels: {app: gone} | {address: 10.0.0.1}");
  expect(warningsOf(convert([strict, there]))).toEqual([]);
  const entry = document(
    "ServiceEntry",
    "shop/e",
    "{hosts: [a.b], subjectAltNames: [spiffe://other/ns/shop/sa/cart, spiffe://cluster.local/ns/shop/sa/cart]}",
  );
  expect(warningsOf(convert([entry]))).toEqual([
    `ServiceEntry shop/e: "spiffe://other/ns/shop/sa/cart" is of another trust domain than this mesh's, cluster.local, and matches no server; did you mean spiffe://${id}?`,
  ]);
});
