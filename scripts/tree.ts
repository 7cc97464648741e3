/** `npm run check` ends with this: the figures of the tree, and every finding against its rules. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { boundsOf, unreached, untestedBounds } from "./tidy_bounds.ts";
import { measureTree } from "./tidy_tree.ts";

const root = join(import.meta.dir, "..");
const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .sort()
  .map((name) => ({ path: `src/${name}`, text: readFileSync(join(root, "src", name), "utf8") }));
const tree = measureTree(files);
console.log(`src: ${tree.files} files, ${tree.lines} lines, ${tree.folders} folders`);
console.log(`largest folder: ${tree.largestFolder.path} (${tree.largestFolder.files} files)`);
console.log(`longest file: ${tree.longestFile.path} (${tree.longestFile.lines} lines)`);
console.log(`circles of imports: ${tree.circles.length}`);
console.log(`files without an importer: ${tree.withoutImporter.length}`);
const testing = [
  ...files,
  ...readdirSync(join(root, "conformance"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => ({
      path: `conformance/${name}`,
      text: readFileSync(join(root, "conformance", name), "utf8"),
    })),
].filter(({ path }) => /\.test\.ts$|\/testing\/|^conformance\//.test(path));
const limits = files.filter(({ path }) => path.startsWith("src/base/limits/"));
const untested = untestedBounds(limits, testing);
console.log(
  `bounds that no test names: ${untested.length} of ${boundsOf(limits).length}, each with a reason (scripts/tree.ts bounds)`,
);
if (process.argv[2] === "bounds")
  console.log(untested.map((bound) => `${bound}: ${unreached[bound] ?? "NEW"}`).join("\n"));
for (const finding of tree.findings) console.error(finding);
process.exit(tree.findings.length === 0 ? 0 : 1);
