/** Control groups of version 2, as an operator names them. */
import { captureLimits } from "../../base/limits/capture.ts";

/**
 * A path below the root, as `/proc/PID/cgroup` and systemd show it, with or without the slash before it: `system.slice/shop.service`.
 *
 * @returns without slashes at its ends; null for what is no such path, and for the root, which holds every program.
 */
export function parseCgroupPath(text: string): string | null {
  const path = text.replace(/^\//, "").replace(/\/$/, "");
  if (new TextEncoder().encode(path).length > captureLimits.maxCgroupPathBytes) return null;
  const names = path.split("/");
  if (names.length > captureLimits.maxCgroupDepth) return null;
  const isName = (name: string): boolean => name !== "" && name !== "." && name !== "..";
  // Neither nft nor iptables-restore can be told of a quote, and a line ends a rule.
  return names.every(isName) && !/["\p{Cc}]/u.test(path) ? path : null;
}
