/** What stands for the addresses of a Unix socket, which has none. */
import { assert } from "../base/assert.ts";
import { IpAddress, type SocketAddress } from "../base/ip.ts";

/** 0.0.0.0:0, which no connection has: it can be logged, and no rule about addresses takes it for somebody. */
export const unixSocketAddress: SocketAddress = { ip: unspecified(), port: 0 };

function unspecified(): IpAddress {
  const ip = IpAddress.parse("0.0.0.0");
  assert(ip !== null, "an address");
  return ip;
}
