/** The measure measured: the same cases at Istio's own validators and schema, built from a checkout of Istio. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cleanUpOnExit, scratchDirectory } from "../peer/lab/cleanup.ts";
import { type Case, unmark } from "./case.ts";

const schemaFile = "manifests/charts/base/files/crd-all.gen.yaml";

interface Answer {
  readonly name: string;
  readonly refusal: string;
}

/**
 * @param istio a checkout of Istio; nothing is written to it
 * @returns what Istio does otherwise than a case says; null when it could not be asked, having said why.
 */
export function askIstio(istio: string, cases: readonly Case[]): readonly string[] | null {
  cleanUpOnExit();
  const directory = scratchDirectory("istio");
  const at = (name: string): string => join(directory, name);
  // Go takes the file for one of the checkout's own.
  const place = join(istio, "tools", "fairlead-judge", "main.go");
  writeFileSync(
    at("overlay.json"),
    JSON.stringify({ Replace: { [place]: join(import.meta.dir, "judge/main.go") } }),
  );
  if (!existsSync(join(istio, schemaFile)))
    return fail(`${istio} is no checkout of Istio: ${schemaFile} is missing`);
  const build = ["build", "-overlay", at("overlay.json"), "-o", at("judge"), "./tools/fairlead-judge"];
  const built = spawnSync("go", build, { cwd: istio, encoding: "utf8" });
  if (built.status !== 0) return fail(`go build: ${built.stderr}`);
  const asked = cases.filter(({ verdict }) => verdict.kind !== "foreign");
  const questions = asked.map(({ name, text }) => ({ name, yaml: unmark(text).text }));
  writeFileSync(at("questions.json"), JSON.stringify(questions));
  const files = [join(istio, schemaFile), at("questions.json"), at("answers.json")];
  const ran = spawnSync(at("judge"), files, { encoding: "utf8" });
  if (ran.status !== 0) return fail(`the judge: ${ran.stderr}`);
  const answers: readonly Answer[] = JSON.parse(readFileSync(at("answers.json"), "utf8"));
  return asked.flatMap(({ name, verdict }, index) => {
    const refusal = answers[index]?.refusal ?? "no answer";
    if ((refusal !== "") === (verdict.kind === "refused")) return [];
    return [
      `${name}: the case says ${verdict.kind}, Istio ${refusal === "" ? "takes it" : `refuses it: ${refusal}`}`,
    ];
  });
}

function fail(why: string): null {
  console.log(`FAIL ${why}`);
  return null;
}
