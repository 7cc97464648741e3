/** The roots a server is verified against, followed as their file changes. */
import { asMeshError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Files } from "../../host/host.ts";
import { parseRoots, parseRootsFile } from "./anchors.ts";

export class ServerRoots {
  readonly #files: Files;
  readonly #path: string;
  readonly #logger: Logger;
  #pem: string;
  #endWatch: () => void = () => {};
  #reading: Promise<void> | null = null;
  #again = false;

  private constructor(files: Files, path: string, logger: Logger, pem: string) {
    this.#files = files;
    this.#path = path;
    this.#logger = logger;
    this.#pem = pem;
  }

  /** @throws MeshError `io` or `configuration`, blame local. */
  static async follow(files: Files, path: string, logger: Logger): Promise<ServerRoots> {
    const pem = await files.readText(path);
    parseRootsFile(pem, path);
    const roots = new ServerRoots(files, path, logger, pem);
    roots.#endWatch = files.watch(path, () => roots.#changed());
    return roots;
  }

  /** The latest that could be used. */
  get pem(): string {
    return this.#pem;
  }

  close(): void {
    this.#endWatch();
  }

  #changed(): void {
    this.#again = true;
    this.#reading ??= this.#readUntilQuiet().finally(() => {
      this.#reading = null;
    });
  }

  async #readUntilQuiet(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      try {
        const pem = await this.#files.readText(this.#path);
        parseRoots(pem);
        this.#pem = pem;
      } catch (error) {
        const reason = asMeshError(error, "io", "local").message;
        this.#logger.log("error", "pki", "the last good roots of the control plane stay in force", {
          path: this.#path,
          reason,
        });
      }
    }
  }
}
