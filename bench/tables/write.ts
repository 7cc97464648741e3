/** `npm run bench -- tables`: the tables of the pages as the raw results have them. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pages, withBlocks } from "./blocks.ts";

const repository = join(import.meta.dir, "..", "..");

/** @returns the exit code. */
export function writeTables(): number {
  // The second page's tables are what the first one's are made of.
  for (const page of [...pages].reverse()) {
    const path = join(repository, page);
    const before = readFileSync(path, "utf8");
    const after = withBlocks(before);
    if (after !== before) writeFileSync(path, after);
    console.log(`${page}: ${after === before ? "as it was" : "written"}`);
  }
  return 0;
}
