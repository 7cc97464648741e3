/**
 * Runs test files in this runtime: `run_files.ts FILE…`, absolute paths. Ends with one line of JSON. Tests whose names hold one of
 * `LEFT_OUT` (a list in JSON) are not run.
 */
import { pathToFileURL } from "node:url";
import { runRegistered } from "./bun_test.ts";

const leftOut: readonly string[] = JSON.parse(process.env.LEFT_OUT ?? "[]");
const totals = { passed: 0, skipped: 0, failures: [] as string[] };
for (const path of process.argv.slice(2)) {
  try {
    await import(pathToFileURL(path).href);
    const { passed, skipped, failures } = await runRegistered(leftOut);
    totals.passed += passed;
    totals.skipped += skipped;
    for (const { name, error } of failures) totals.failures.push(`${path}: ${name}: ${told(error)}`);
  } catch (error) {
    totals.failures.push(`${path}: it cannot be loaded: ${told(error)}`);
  }
}
console.log(`\n${JSON.stringify(totals)}`);
process.exit(0);

function told(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
