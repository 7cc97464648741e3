/** This machine's addresses, and names as its resolver has them. */
import { networkInterfaces } from "node:os";
import { MeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import { systemErrorName } from "../socket_errors.ts";

export function localAddresses(): readonly IpAddress[] {
  const addresses: IpAddress[] = [];
  for (const entries of Object.values(networkInterfaces())) {
    for (const { address } of entries ?? []) {
      const ip = IpAddress.parse(address.split("%")[0] ?? "");
      if (ip !== null) addresses.push(ip);
    }
  }
  return addresses;
}

/** @throws MeshError `name_not_found`. */
export async function resolve(hostname: string): Promise<readonly IpAddress[]> {
  const literal = IpAddress.parse(hostname);
  if (literal !== null) return [literal];
  const { lookup } = await import("node:dns/promises");
  try {
    const found = await lookup(hostname, { all: true });
    const addresses = found.map(({ address }) => IpAddress.parse(address)).filter((ip) => ip !== null);
    if (addresses.length > 0) return addresses;
  } catch (thrown) {
    throw nameNotFound(hostname, systemErrorName(thrown), thrown);
  }
  throw nameNotFound(hostname, null, null);
}

function nameNotFound(hostname: string, reason: string | null, cause: unknown): MeshError {
  const message = `${hostname} does not resolve${reason === null ? "" : `: ${reason}`}`;
  return new MeshError("name_not_found", "upstream", message, { cause });
}
