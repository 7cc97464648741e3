import { expect, test } from "bun:test";
import schemas from "../../docs/schemas/fairlead.json" with { type: "json" };
import { schema } from "./schema.ts";

async function run(kind: string | null) {
  const said = { out: "", error: "" };
  const terminal = {
    isTerminal: false,
    out: (text: string) => {
      said.out += text;
    },
    error: (text: string) => {
      said.error += text;
    },
  };
  const code = await schema({ schemas: async () => schemas, terminal }, kind);
  return { code, ...said };
}

test("prints the schema of all kinds, or of one, whatever its case", async () => {
  const all = await run(null);
  expect([all.code, JSON.parse(all.out)]).toEqual([0, schemas]);
  const { $schema, definitions } = schemas;
  for (const word of ["AuthorizationPolicy", "authorizationpolicy"]) {
    const { code, out } = await run(word);
    expect([code, JSON.parse(out)]).toEqual([0, { $schema, ...definitions.AuthorizationPolicy }]);
  }
});

test("says which kind was meant, or which there are", async () => {
  expect(await run("AuthorisationPolicy")).toEqual({
    code: 2,
    out: "",
    error: 'there is no kind "AuthorisationPolicy"; did you mean AuthorizationPolicy?\n',
  });
  expect((await run("Deployment")).error).toContain("the kinds are Namespace, WorkloadEntry");
});
