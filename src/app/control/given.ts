/** What the control plane is given in files, and where it is reached. */

import { readGivenAdministrators } from "../../admin/control/administrators.ts";
import type { DocumentInput } from "../../admin/control/sources.ts";
import { asMeshError, MeshError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { Logger } from "../../base/log.ts";
import type { ControlPlaneConfig } from "../../config/control/config.ts";
import { readTokenIssuers } from "../../config/control/token_issuers.ts";
import type { Files, Host } from "../../host/host.ts";
import { type JwtIssuer, parseJwtIssuer } from "../../pki/token/token_issuer.ts";

interface Given {
  readonly issuers: readonly JwtIssuer[];
  readonly administrators: readonly DocumentInput[];
}

/** Read again when a file changes. One that is wrong then changes nothing: what was in force stays, and that is said. */
export class GivenFiles {
  readonly #ends: (() => void)[] = [];
  readonly #listeners = new Set<() => void>();
  #current: Given = { issuers: [], administrators: [] };

  /** @param builtIn administrators besides those of files. @throws MeshError `configuration` or `io`, blame local. */
  static async open(
    files: Files,
    config: ControlPlaneConfig,
    builtIn: readonly DocumentInput[],
    logger: Logger,
  ): Promise<GivenFiles> {
    const paths = [
      ...config.administratorPaths,
      ...(config.issuersPath === null ? [] : [config.issuersPath]),
    ];
    const given = new GivenFiles();
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    let work = begun;
    // Watched before it is read: what changes in between is read again, after it.
    for (const path of paths)
      given.#ends.push(
        files.watch(path, () => {
          work = work.then(take);
        }),
      );
    const take = async (): Promise<void> => {
      try {
        given.#current = await readGiven(files, config, builtIn);
        for (const listener of given.#listeners) listener();
        logger.log("info", "control", "administrators and issuers were read again", {
          files: paths.join(", "),
        });
      } catch (thrown) {
        const { message } = asMeshError(thrown, "io", "local");
        logger.log("error", "control", "administrators and issuers could not be read; those in force stay", {
          reason: message,
        });
      }
    };
    try {
      given.#current = await readGiven(files, config, builtIn);
    } catch (thrown) {
      given.close();
      throw thrown;
    }
    begin();
    return given;
  }

  /** The same list until it changes. */
  get administrators(): readonly DocumentInput[] {
    return this.#current.administrators;
  }

  get issuers(): readonly JwtIssuer[] {
    return this.#current.issuers;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    for (const end of this.#ends) end();
  }
}

async function readGiven(
  files: Files,
  config: ControlPlaneConfig,
  builtIn: readonly DocumentInput[],
): Promise<Given> {
  const administrators = [...builtIn];
  for (const path of config.administratorPaths)
    administrators.push({ path, text: await files.readText(path) });
  readGivenAdministrators(administrators, config.rootNamespace);
  if (config.issuersPath === null) return { issuers: [], administrators };
  const { issuers, errors } = readTokenIssuers(config.issuersPath, await files.readText(config.issuersPath));
  if (errors.length > 0) {
    const lines = errors.map(({ where, message }) => `${where}: ${message}`);
    throw new MeshError("configuration", "local", lines.join("; "));
  }
  try {
    return { issuers: issuers.map((issuer) => parseJwtIssuer(issuer)), administrators };
  } catch (thrown) {
    const { message } = asMeshError(thrown, "configuration", "local");
    throw new MeshError("configuration", "local", `${config.issuersPath}: ${message}`);
  }
}

export interface Reach {
  /** Names and addresses for its certificate. */
  readonly names: readonly string[];
  readonly addresses: readonly IpAddress[];
  /** For join lines. */
  readonly url: string;
}

/** Without a word of the operator's: every address of this host. Loopback always. */
export function reachOf(host: Host, { listen, servingNames, publicAddress }: ControlPlaneConfig): Reach {
  const isWildcard = listen.ip.bytes.every((byte) => byte === 0);
  const addresses = isWildcard ? host.net.localAddresses() : [listen.ip];
  const named = publicAddress === null ? servingNames : [publicAddress.host, ...servingNames];
  const own = [...addresses].sort((a, b) => Number(a.isLoopback) - Number(b.isLoopback)).map((ip) => ip.text);
  // An administrator on the host itself comes by loopback, whatever others call it.
  const names = [...new Set([...(named.length > 0 ? named : own), "localhost", "127.0.0.1", "::1"])];
  const target = publicAddress ?? { host: names[0] ?? "localhost", port: listen.port };
  return {
    names,
    addresses,
    url: `https://${target.host.includes(":") ? `[${target.host}]` : target.host}:${target.port}`,
  };
}
