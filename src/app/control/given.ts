/** What the control plane is given in files at its start, and where it is reached. */
import type { DocumentInput } from "../../admin/control/sources.ts";
import { MeshError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { ControlPlaneConfig } from "../../config/control/config.ts";
import { readTokenIssuers } from "../../config/control/token_issuers.ts";
import type { Files, Host } from "../../host/host.ts";
import { type JwtIssuer, parseJwtIssuer } from "../../pki/token/token_issuer.ts";

export interface Given {
  readonly issuers: readonly JwtIssuer[];
  readonly administrators: readonly DocumentInput[];
}

/** @throws MeshError `configuration` or `io`, blame local. */
export async function readGiven(files: Files, config: ControlPlaneConfig): Promise<Given> {
  const administrators: DocumentInput[] = [];
  for (const path of config.administratorPaths)
    administrators.push({ path, text: await files.readText(path) });
  if (config.issuersPath === null) return { issuers: [], administrators };
  const { issuers, errors } = readTokenIssuers(config.issuersPath, await files.readText(config.issuersPath));
  if (errors.length > 0) {
    const lines = errors.map(({ where, message }) => `${where}: ${message}`);
    throw new MeshError("configuration", "local", lines.join("; "));
  }
  return { issuers: issuers.map((issuer) => parseJwtIssuer(issuer)), administrators };
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
