/** The file of revocation lists, watched: a new list is in force, and open connections are judged by it, within a second. */
import { asMeshError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Files } from "../host/host.ts";
import type { TrustVerifier } from "../pki/trust.ts";

/** @returns when the file was read for the first time: a function that ends the watch. A file that cannot be read leaves the last lists in force. */
export async function followCrlFile(
  files: Files,
  path: string,
  trust: TrustVerifier,
  logger: Logger,
): Promise<() => void> {
  const load = async (): Promise<void> => {
    try {
      const statuses = await trust.setCrls([{ name: path, bytes: await files.readBytes(path) }]);
      for (const status of statuses) logger.log("info", "crl", "revocation list", { ...status });
    } catch (thrown) {
      const error = asMeshError(thrown, "io", "local");
      logger.log("error", "crl", "revocation lists stay as they were", { file: path, error: error.message });
    }
  };
  await load();
  return files.watch(path, () => void load());
}
