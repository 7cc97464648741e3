/** Paths that an operator named. */
import { MeshError } from "../base/errors.ts";
import type { Files } from "./host.ts";

/**
 * A running program keeps what it has when a path goes away; at the start a path that does not exist is a typing error, and a node
 * without documents would look as if it worked.
 *
 * @throws MeshError `io`, blame local.
 */
export async function refuseMissing(files: Files, paths: readonly string[]): Promise<void> {
  for (const path of paths)
    if (!(await files.exists(path))) throw new MeshError("io", "local", `${path} does not exist`);
}
