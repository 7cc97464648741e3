/** The files that mesh documents are in: those of folders, sorted, with hidden ones left out. */
import { asMeshError, MeshError } from "../base/errors.ts";
import { meshLimits } from "../base/limits/mesh.ts";
import type { Files } from "../host/host.ts";

/** The state of every file at one moment. */
export interface MeshFiles {
  /** Path → text, in the order documents count in: paths as configured, then by name. */
  readonly texts: ReadonlyMap<string, string>;
  /** Path → why it, or the folder, cannot be read. What was below it stays in force. */
  readonly unreadable: ReadonlyMap<string, MeshError>;
}

const documentFile = /\.(ya?ml|json)$/;

/**
 * Reads everything below the paths. A configured file is read whatever its name; in folders only `.yaml`, `.yml` and `.json`,
 * and nothing hidden (a name that begins with a dot, as editors' and Kubernetes' own files do). A configured file that is gone is
 * no error, its documents are gone too; a configured folder that is gone is one: more likely it is not mounted.
 *
 * @param folders paths that were folders before.
 */
export async function readMeshFiles(
  files: Files,
  paths: readonly string[],
  folders: Set<string>,
): Promise<MeshFiles> {
  const reader = new TreeReader(files, folders);
  for (const path of paths) await reader.readConfigured(path);
  return { texts: reader.texts, unreadable: reader.unreadable };
}

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

class TreeReader {
  readonly texts = new Map<string, string>();
  readonly unreadable = new Map<string, MeshError>();
  readonly #files: Files;
  readonly #folders: Set<string>;

  constructor(files: Files, folders: Set<string>) {
    this.#files = files;
    this.#folders = folders;
  }

  async readConfigured(path: string): Promise<void> {
    try {
      if (await this.#readFolder(path, 0)) {
        this.#folders.add(path);
        return;
      }
      if (await this.#files.exists(path)) await this.#readFile(path);
      else if (this.#folders.has(path))
        throw new MeshError("io", "local", `the folder ${path} is gone; its documents stay in force`);
    } catch (thrown) {
      this.unreadable.set(path, asMeshError(thrown, "io", "local"));
    }
  }

  /** @returns whether `path` is a folder. */
  async #readFolder(path: string, depth: number): Promise<boolean> {
    const entries = await this.#files.list(path);
    if (entries === null) return false;
    if (depth > meshLimits.maxFolderDepth) {
      throw new MeshError(
        "limit_reached",
        "local",
        `folders are nested more than ${meshLimits.maxFolderDepth} deep at ${path}`,
      );
    }
    for (const entry of entries) {
      const name = entry.path.slice(entry.path.lastIndexOf("/") + 1);
      if (name.startsWith(".")) continue;
      if (entry.isDirectory) await this.#guard(entry.path, () => this.#readFolder(entry.path, depth + 1));
      else if (documentFile.test(name)) await this.#guard(entry.path, () => this.#readFile(entry.path));
    }
    return true;
  }

  /** One file that cannot be read is no reason not to read the others. */
  async #guard(path: string, read: () => Promise<unknown>): Promise<void> {
    try {
      await read();
    } catch (thrown) {
      // Gone since it was listed: the same as not listed.
      if (await this.#files.exists(path)) this.unreadable.set(path, asMeshError(thrown, "io", "local"));
    }
  }

  async #readFile(path: string): Promise<void> {
    if (this.texts.has(path)) return;
    if (this.texts.size >= meshLimits.maxFiles) {
      throw new MeshError(
        "limit_reached",
        "local",
        `there are more than ${meshLimits.maxFiles} files; this one is ignored`,
      );
    }
    this.texts.set(path, await this.#files.readText(path));
  }
}

/** Whether nothing changed between two looks. */
export function sameFiles(a: MeshFiles, b: MeshFiles): boolean {
  if (a.texts.size !== b.texts.size || a.unreadable.size !== b.unreadable.size) return false;
  for (const [path, text] of a.texts) if (b.texts.get(path) !== text) return false;
  for (const [path, error] of a.unreadable)
    if (b.unreadable.get(path)?.message !== error.message) return false;
  return true;
}

/** Whether `path` is `above`, or stands below it. */
export function isBelow(path: string, above: string): boolean {
  return path === above || path.startsWith(above.endsWith("/") ? above : `${above}/`);
}
