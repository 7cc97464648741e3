/**
 * `bun scripts/schemas.ts [--check]`: writes `docs/schemas/fairlead.json`, the JSON Schema of all documents for editors, from the code that
 * reads documents (`schema_json.ts`). With `--check` it says whether what is there is that.
 */
import { join } from "node:path";
import { allSchemas } from "./schema_json.ts";

const path = join(import.meta.dir, "..", "docs", "schemas", "fairlead.json");
const wanted = `${JSON.stringify(allSchemas(), null, 1)}\n`;
const file = Bun.file(path);
const found = (await file.exists()) ? await file.text() : "";

if (found === wanted) {
  console.log("docs/schemas/fairlead.json is up to date");
} else if (process.argv.includes("--check")) {
  console.error(
    "docs/schemas/fairlead.json is not what the readers of documents give: run bun scripts/schemas.ts",
  );
  process.exit(1);
} else {
  await Bun.write(path, wanted);
  console.log("docs/schemas/fairlead.json written");
}
