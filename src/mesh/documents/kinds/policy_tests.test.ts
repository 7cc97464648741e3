import { expect, test } from "bun:test";
import { meshLimits } from "../../../base/limits/mesh.ts";
import { parseDocuments } from "../parse.ts";

function read(spec: string) {
  const text = `apiVersion: fairlead.dev/v1\nkind: PolicyTest\nmetadata: {name: t, namespace: shop}\n${spec}`;
  const { documents, errors } = parseDocuments([{ path: "f", text }]);
  return { document: documents[0], errors: errors.map(({ message }) => message) };
}

test("a test says what is called and who may, with the place of each", () => {
  const { document, errors } = read(
    "spec: {tests: [{to: a.b, port: 80, allowed: [shop/x], denied: [outside]}]}",
  );
  expect(errors).toEqual([]);
  expect(document).toMatchObject({
    kind: "PolicyTest",
    tests: [
      {
        to: { value: "a.b" },
        port: 80,
        allowed: [{ value: "shop/x", at: { file: "f", line: 4, column: 46 } }],
        denied: [{ value: "outside" }],
      },
    ],
  });
});

const many = (count: number): string =>
  Array.from({ length: count }, (_, index) => `"10.0.0.${index}"`).join(", ");
const long = "x".repeat(meshLimits.maxPlaceLength + 1);
const cases: readonly (readonly [name: string, spec: string, message: string])[] = [
  ["no spec", "", "spec is missing"],
  ["no tests", "spec: {tests: []}", "spec.tests must have at least one test"],
  ["no destination", "spec: {tests: [{allowed: [a/b]}]}", "spec.tests[0].to is missing"],
  ["no caller", "spec: {tests: [{to: a.b}]}", "spec.tests[0] names no caller"],
  ["both ways", "spec: {tests: [{to: a.b, allowed: [a/b], denied: [a/b]}]}", "is in both"],
  ["an empty caller", 'spec: {tests: [{to: a.b, allowed: [""]}]}', "spec.tests[0].allowed[0] is empty"],
  ["a port that is none", "spec: {tests: [{to: a.b, port: 0, allowed: [a/b]}]}", "must be from 1 to 65535"],
  ["a misspelt field", "spec: {tests: [{to: a.b, alowed: [a/b]}]}", "did you mean allowed?"],
  [
    "one caller too many",
    `spec: {tests: [{to: a.b, allowed: [${many(meshLimits.maxTestCallers + 1)}]}]}`,
    `more than ${meshLimits.maxTestCallers} callers`,
  ],
  [
    "one test too many",
    `spec: {tests: [${Array.from({ length: meshLimits.maxPolicyTests + 1 }, () => "{to: a.b, allowed: [a/b]}").join(", ")}]}`,
    `more than ${meshLimits.maxPolicyTests} tests`,
  ],
  ["long words", `spec: {tests: [{to: ${long}, allowed: [a/b]}]}`, `more than ${meshLimits.maxPlaceLength}`],
];
for (const [name, spec, message] of cases)
  test(`refused: ${name}`, () => {
    const { document, errors } = read(spec);
    expect(document).toBeUndefined();
    expect(errors.join("\n")).toContain(message);
  });

test("as many callers and tests as are allowed are taken", () => {
  expect(read(`spec: {tests: [{to: a.b, allowed: [${many(meshLimits.maxTestCallers)}]}]}`).errors).toEqual(
    [],
  );
});
