/**
 * Documents that the control plane is given in files, besides those that are applied: a change of the files is a change of the
 * documents, by the actor `files`, all or nothing like any other.
 */

import { asMeshError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { readMeshFiles, refuseMissing } from "../../files/mesh_files.ts";
import type { Host } from "../../host/host.ts";
import { formatLocation } from "../../mesh/location.ts";
import type { ChangeRequest, ChangeResult } from "./change_request.ts";
import type { MeshDocuments } from "./mesh_documents.ts";

export interface FileDocumentOptions {
  readonly host: Host;
  readonly logger: Logger;
  readonly documents: MeshDocuments;
  readonly paths: readonly string[];
}

const request: ChangeRequest = { actor: "files", mayChange: () => true };

/** Resolves when the files were taken in, or refused aloud. @returns a function that ends the watch. @throws MeshError `io` for a path that is not there. */
export async function followDocumentFiles(options: FileDocumentOptions): Promise<() => void> {
  const { host, paths, logger } = options;
  await refuseMissing(host.files, paths);
  const follower = new Follower(options);
  const take = (): Promise<void> =>
    follower.take().catch((thrown) => {
      const { message } = asMeshError(thrown, "io", "local");
      logger.log("error", "control", "documents in files could not be read", { error: message });
    });
  let work = take();
  const ends = paths.map((path) =>
    host.files.watch(path, () => {
      work = work.then(take);
    }),
  );
  await work;
  return () => {
    for (const end of ends) end();
  };
}

class Follower {
  readonly #options: FileDocumentOptions;
  readonly #folders = new Set<string>();

  constructor(options: FileDocumentOptions) {
    this.#options = options;
  }

  async take(): Promise<void> {
    const { host, paths, documents, logger } = this.#options;
    const { texts, unreadable } = await readMeshFiles(host.files, paths, this.#folders);
    for (const error of unreadable.values())
      logger.log("warn", "control", "documents could not be read; those in force stay", {
        error: error.message,
      });
    const inputs = [...texts].map(([source, text]) => ({ source, text }));
    const written = new Set<string>();
    const onNamed = (key: string): void => void written.add(key);
    if (!this.#tell(await documents.apply(inputs, { ...request, onNamed }))) return;
    const gone = documents.stored.filter(
      ({ key, source }) => this.#isFile(source) && !unreadable.has(source) && !written.has(key),
    );
    if (gone.length > 0 && unreadable.size === 0)
      this.#tell(
        await documents.delete(
          gone.map(({ key }) => key),
          request,
        ),
      );
  }

  #isFile(source: string): boolean {
    return this.#options.paths.some(
      (path) => source === path || source.startsWith(`${path.replace(/\/$/, "")}/`),
    );
  }

  #tell(result: ChangeResult): boolean {
    if (result.outcome !== "refused") return true;
    const { logger } = this.#options;
    logger.log("error", "control", "documents in files were refused; those in force stay", {
      reason: result.message,
    });
    for (const { location, message } of result.errors)
      logger.log("error", "control", message, { at: formatLocation(location) });
    return false;
  }
}
