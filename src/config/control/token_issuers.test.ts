import { expect, test } from "bun:test";
import { controlLimits } from "../../base/limits/control.ts";
import { readTokenIssuers } from "./token_issuers.ts";

const document = (index: number): string =>
  `apiVersion: fairlead.dev/v1\nkind: TokenIssuer\nmetadata: {name: i${index}}\nspec: {issuer: "https://i${index}.example"}\n`;

test("as many issuers as there is room for, and not one more", () => {
  const read = (count: number) =>
    readTokenIssuers(
      "issuers.yaml",
      Array.from({ length: count }, (_, index) => document(index)).join("---\n"),
    );
  const { maxTokenIssuers } = controlLimits;
  const most = read(maxTokenIssuers);
  expect([most.issuers.length, most.errors]).toEqual([maxTokenIssuers, []]);
  expect(most.issuers.at(-1)?.issuer).toBe(`https://i${maxTokenIssuers - 1}.example`);
  expect(read(maxTokenIssuers + 1).errors).toEqual([
    { where: "issuers.yaml", message: `names more than ${maxTokenIssuers} issuers` },
  ]);
});
