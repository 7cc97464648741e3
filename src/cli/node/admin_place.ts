/** `--admin`: which node is asked, and by which of its ways. */
import { InvalidArgumentError, Option } from "commander";
import type { SocketAddress } from "../../base/ip.ts";
import { ports } from "../../base/limits/ports.ts";
import { adminSocketPaths } from "../../config/node/admin_socket.ts";
import { Invalid, readAddress } from "../../config/value.ts";
import type { AdminTarget, CliBindings } from "../bindings.ts";

const defaultAdmin = `127.0.0.1:${ports.admin}`;

/** The port, or the socket itself. */
export type AdminPlace = SocketAddress | { readonly socket: string };

export function adminOption(): Option {
  return new Option("--admin <IP:PORT|unix:PATH>", "the node to ask: its administration port, or its socket")
    .argParser(parseAdmin)
    .default(parseAdmin(defaultAdmin), defaultAdmin);
}

export function targetOf(bindings: CliBindings, place: AdminPlace): AdminTarget {
  if ("socket" in place) return { sockets: [place.socket], address: null };
  return { sockets: adminSocketPaths(bindings.environment, place), address: place };
}

/** Where a node has its administration unless it is told otherwise. */
export const thisNode: AdminPlace = parseAdmin(defaultAdmin);

function parseAdmin(text: string): AdminPlace {
  if (text.startsWith("unix:") && text.length > "unix:".length) return { socket: text.slice("unix:".length) };
  const address = readAddress(text);
  if (address instanceof Invalid) throw new InvalidArgumentError(`"${text}" is ${address.reason}`);
  return address;
}
