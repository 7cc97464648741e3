/**
 * What the kernel has not sent yet, or has no acknowledgement of: `node:net` does not tell, the table of connections does (proc(5),
 * /proc/net/tcp, "tx_queue"). One look is for all who ask meanwhile.
 */
import { readFile } from "node:fs/promises";
import type { IpAddress, SocketAddress } from "../../base/ip.ts";

export class UnsentBytes {
  readonly #looks = new Map<string, Promise<string>>();

  /** Zero for a connection that is gone, and where there is no such table. */
  async of(local: SocketAddress, remote: SocketAddress): Promise<number> {
    const table = await this.#look(local.ip.isIpv4 ? "/proc/net/tcp" : "/proc/net/tcp6");
    return unsentIn(table, local, remote);
  }

  #look(path: string): Promise<string> {
    const under = this.#looks.get(path);
    if (under !== undefined) return under;
    const look = readFile(path, "latin1")
      .catch(() => "")
      .finally(() => this.#looks.delete(path));
    this.#looks.set(path, look);
    return look;
  }
}

/** @param table of /proc/net/tcp or tcp6. */
export function unsentIn(table: string, local: SocketAddress, remote: SocketAddress): number {
  const ends = `: ${written(local)} ${written(remote)} `;
  const at = table.indexOf(ends);
  if (at === -1) return 0;
  // The state, two digits, and then the queues: sending, receiving.
  return Number.parseInt(table.slice(at + ends.length + 3, at + ends.length + 11), 16);
}

function written({ ip, port }: SocketAddress): string {
  return `${words(ip)}:${port.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** Words of 32 bits, each as this machine reads it: little-endian. */
function words(ip: IpAddress): string {
  let text = "";
  for (let word = 0; word < ip.bytes.length; word += 4)
    for (let index = 3; index >= 0; index--)
      text += (ip.bytes[word + index] ?? 0).toString(16).padStart(2, "0");
  return text.toUpperCase();
}
