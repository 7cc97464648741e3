/** `/etc/resolv.conf` as text: what is read of it, and ours (resolv.conf(5)). */
import { IpAddress, type SocketAddress } from "../base/ip.ts";
import { dnsLimits } from "../base/limits/dns.ts";

export interface ResolvConf {
  readonly servers: readonly SocketAddress[];
  /** Lower case, without the last dot. */
  readonly search: readonly string[];
  readonly options: readonly string[];
}

export function readResolvConf(text: string): ResolvConf {
  const servers: SocketAddress[] = [];
  let search: readonly string[] = [];
  const options: string[] = [];
  for (const line of text.split("\n")) {
    const [keyword, ...words] = line
      .replace(/[#;][\s\S]*$/, "")
      .trim()
      .split(/\s+/);
    if (keyword === "nameserver" && servers.length < dnsLimits.maxServers) {
      // A link-local address with its zone cannot be dialled by its address alone.
      const ip = IpAddress.parse(words[0] ?? "");
      if (ip !== null) servers.push({ ip, port: 53 });
    }
    // The last of these counts.
    if (keyword === "search" || keyword === "domain")
      search = words.map((word) => word.toLowerCase().replace(/\.$/, "")).filter((word) => word !== "");
    if (keyword === "options") options.push(...words);
  }
  return { servers, search, options };
}

const marker = "# Written by fairlead";

/** @param server where we answer on port 53. @param before what was there. @param backup where that is. */
export function ourResolvConf(server: IpAddress, before: ResolvConf, backup: string): string {
  const lines = [
    `${marker}: its node answers names of the mesh, and passes on all others.`,
    `# What was here before is in ${backup}; it comes back when the node stops, or by \`fairlead names remove\`.`,
    `nameserver ${server.text}`,
    ...(before.search.length === 0 ? [] : [`search ${before.search.join(" ")}`]),
    ...(before.options.length === 0 ? [] : [`options ${before.options.join(" ")}`]),
  ];
  return `${lines.join("\n")}\n`;
}

export function isOurs(text: string): boolean {
  return text.startsWith(marker);
}

/** What was there: its text, and where it was a link to. */
export interface SavedResolvConf {
  readonly text: string;
  readonly link: string | null;
}

const linkMarker = "# fairlead: this was a link to ";

export function writeSaved({ text, link }: SavedResolvConf): string {
  return link === null ? text : `${linkMarker}${link}\n${text}`;
}

export function readSaved(text: string): SavedResolvConf {
  const [first = "", ...rest] = text.split("\n");
  if (!first.startsWith(linkMarker)) return { text, link: null };
  return { link: first.slice(linkMarker.length), text: rest.join("\n") };
}
