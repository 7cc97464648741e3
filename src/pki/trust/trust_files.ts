/** Keeps a verifier's roots and revocation lists as their files are. */
import { asMeshError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Files } from "../../host/host.ts";
import type { CrlSource, CrlStatus } from "./revocation.ts";
import type { TrustVerifier } from "./verifier.ts";

export interface TrustFileOptions {
  readonly files: Files;
  readonly trust: Pick<TrustVerifier, "setRoots" | "setCrls">;
  readonly logger: Logger;
  /** A bundle of roots in PEM, source `configured`; null when roots come with our SVIDs alone. */
  readonly rootsPath: string | null;
  /** Revocation lists, PEM or DER. */
  readonly crlPaths: readonly string[];
}

/**
 * Reads the files, then follows them. At the start a file that cannot be read or used is an error: whoever names a revocation
 * list wants it enforced. Later the last good state stays in force and the log says why.
 *
 * @returns a function that ends the watch.
 * @throws MeshError `io` or `configuration`, blame local.
 */
export async function followTrustFiles(options: TrustFileOptions): Promise<() => void> {
  const follower = new Follower(options);
  await follower.readRoots();
  const refused = (await follower.readCrls()).find((status) => status.state === "refused");
  if (refused !== undefined) {
    throw asMeshError(
      new Error(`revocation list ${refused.source}: ${refused.message ?? ""}`),
      "configuration",
      "local",
    );
  }
  return follower.watch();
}

class Follower {
  readonly #options: TrustFileOptions;
  /** What was logged of each list last, and of which bytes. */
  readonly #logged = new Map<string, { readonly bytes: Uint8Array; readonly words: string }>();

  constructor(options: TrustFileOptions) {
    this.#options = options;
  }

  async readRoots(): Promise<void> {
    const { files, trust, rootsPath } = this.#options;
    if (rootsPath !== null) trust.setRoots(await files.readText(rootsPath));
  }

  async readCrls(): Promise<readonly CrlStatus[]> {
    const { files, trust, crlPaths, logger } = this.#options;
    if (crlPaths.length === 0) return [];
    const sources: CrlSource[] = [];
    for (const path of crlPaths) sources.push({ name: path, bytes: await files.readBytes(path) });
    const statuses = await trust.setCrls(sources);
    for (const status of statuses) {
      const { source, state, stale, message, entries, issuer } = status;
      const read = sources.find(({ name }) => name === source)?.bytes ?? new Uint8Array();
      if (!this.#isNews(status, read)) continue;
      const level = state === "in_force" && !stale ? "info" : "warn";
      logger.log(level, "pki", `revocation list ${state}`, {
        source,
        issuer,
        stale,
        entries,
        reason: message,
      });
    }
    return statuses;
  }

  /** One change of a file may be told more than once, and is one line of the log: that of the same bytes, with the same outcome. */
  #isNews(status: CrlStatus, bytes: Uint8Array): boolean {
    const words = JSON.stringify(status);
    const before = this.#logged.get(status.source);
    this.#logged.set(status.source, { bytes, words });
    return before === undefined || before.words !== words || !sameBytes(before.bytes, bytes);
  }

  watch(): () => void {
    const { files, rootsPath, crlPaths } = this.#options;
    const roots = serialized(() => this.#guarded("trust roots", () => this.readRoots()));
    const crls = serialized(() => this.#guarded("revocation lists", () => this.readCrls()));
    const ends = crlPaths.map((path) => files.watch(path, crls));
    if (rootsPath !== null) ends.push(files.watch(rootsPath, roots));
    return () => {
      for (const end of ends) end();
    };
  }

  async #guarded(what: string, read: () => Promise<unknown>): Promise<void> {
    try {
      await read();
    } catch (error) {
      const reason = asMeshError(error, "io", "local").message;
      this.#options.logger.log("error", "pki", `the last good ${what} stay in force`, { reason });
    }
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

/** One run at a time; however many calls come during a run, one more follows it. */
function serialized(run: () => Promise<void>): () => void {
  let running = false;
  let again = false;
  const loop = async (): Promise<void> => {
    running = true;
    do {
      again = false;
      await run();
    } while (again);
    running = false;
  };
  return () => {
    if (running) again = true;
    else void loop();
  };
}
