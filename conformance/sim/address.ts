import { assert } from "../../src/base/assert.ts";
import { IpAddress, type SocketAddress } from "../../src/base/ip.ts";

export function address(ip: string, port: number): SocketAddress {
  const parsed = IpAddress.parse(ip);
  assert(parsed !== null, `${ip} is no IP address`);
  return { ip: parsed, port };
}
