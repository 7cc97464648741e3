/** An address prefix as nft and iptables want it: without host bits. */
import { assert } from "../../base/assert.ts";
import { IpAddress, type IpPrefix } from "../../base/ip.ts";

export function formatPrefix(prefix: IpPrefix): string {
  const bytes = prefix.ip.bytes.map((byte, index) => {
    const bits = Math.min(8, Math.max(0, prefix.length - index * 8));
    return byte & (0xff << (8 - bits));
  });
  const ip = IpAddress.fromBytes(bytes);
  assert(ip !== null, "masking keeps the length");
  return `${ip.text}/${prefix.length}`;
}
