/** The programs that are measured: this tree's, built again, and another commit's for comparison. */
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { runToEnd } from "../conformance/peer/lab/subprocess.ts";
import { repository } from "../conformance/peer/lab/tools.ts";

/** What people run: `dist/fairlead`. @param given one that is built already. */
export function builtHere(given: string | undefined): string {
  if (given !== undefined) return given;
  runToEnd([process.execPath, join(repository, "scripts/build.ts")], { cwd: repository });
  return join(repository, "dist/fairlead");
}

/** Another commit's, in a work tree of its own below `scratch`. Its dependencies are this tree's. @throws Error when there is no such commit, or it does not build. */
export function builtAt(reference: string, scratch: string): string {
  const tree = join(scratch, "compared");
  mkdirSync(scratch, { recursive: true });
  runToEnd(["git", "worktree", "add", "--detach", tree, reference], { cwd: repository });
  symlinkSync(join(repository, "node_modules"), join(tree, "node_modules"));
  try {
    runToEnd([process.execPath, join(tree, "scripts/build.ts")], { cwd: tree });
    const kept = join(scratch, "compared_fairlead");
    runToEnd(["cp", join(tree, "dist/fairlead"), kept], { cwd: scratch });
    return kept;
  } finally {
    runToEnd(["git", "worktree", "remove", "--force", tree], { cwd: repository });
  }
}
