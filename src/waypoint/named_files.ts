/**
 * Files of the waypoint's host that documents name: keys, roots, passwords. A document is a tenant's, and this process may read more than
 * its author; so such files are in one folder, that the host's operator fills, with a folder in it for each namespace.
 */
import { MeshError } from "../base/errors.ts";
import type { Files } from "../host/host.ts";

/** No path of several parts, and nothing that leads out of its folder. */
const plainName = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/;
const namespaceName = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export class NamedFiles {
  readonly #files: Pick<Files, "readText" | "readBytes">;
  readonly #directory: string | null;

  /** @param directory null: documents may name no files. */
  constructor(files: Pick<Files, "readText" | "readBytes">, directory: string | null) {
    this.#files = files;
    this.#directory = directory;
  }

  /**
   * @param namespace of the document. @param name a file in the namespace's folder; the whole path, as Istio's documents have it, is the
   *   same when it leads there.
   * @throws MeshError `configuration` for what is not in that folder; `io`.
   */
  async readText(namespace: string, name: string): Promise<string> {
    return await this.#files.readText(this.#pathOf(namespace, name));
  }

  /** As `readText`. */
  async readBytes(namespace: string, name: string): Promise<Uint8Array> {
    return await this.#files.readBytes(this.#pathOf(namespace, name));
  }

  #pathOf(namespace: string, name: string): string {
    const directory = this.#directory;
    if (directory === null)
      throw new MeshError(
        "configuration",
        "local",
        `documents name ${name}, and this waypoint has no --waypoint-files`,
      );
    const folder = `${directory}/${namespace}/`;
    const plain = name.startsWith(folder) ? name.slice(folder.length) : name;
    if (!plainName.test(plain) || !namespaceName.test(namespace))
      throw new MeshError(
        "configuration",
        "local",
        `documents of ${namespace} may name files in ${folder} alone, not ${name}`,
      );
    return `${folder}${plain}`;
  }
}
