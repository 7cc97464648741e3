/** Settings of the DNS proxy, by which programs of this host find names of the mesh. */
import { IpAddress, type SocketAddress } from "../../base/ip.ts";
import { ports } from "../../base/limits/ports.ts";
import { many, one, optional } from "../setting.ts";
import { Invalid, type Reader, readAddress, readWord } from "../value.ts";
import type { DnsConfig } from "./config.ts";

const group = "Names";

/** A port is rarely said: `10.0.0.53` is its port 53. */
const readServer: Reader<SocketAddress> = (text) => {
  const ip = IpAddress.parse(text);
  return ip === null ? readAddress(text) : { ip, port: 53 };
};

const readDomain: Reader<string> = (text) => {
  const name = text.toLowerCase().replace(/\.$/, "");
  return /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name) ? name : new Invalid("not a domain");
};

export const dnsSettings = {
  dns: optional(readAddress, {
    flag: "--dns",
    hint: "IP:PORT",
    group,
    environment: ["DNS_PROXY_ADDR"],
    help: `where names are answered, over UDP and TCP; with --dns-setup 127.0.0.1:${ports.dns}, else nowhere`,
  }),
  dnsSetup: one(readWord("off", "auto", "resolved", "resolv-conf"), "off", {
    flag: "--dns-setup",
    hint: "HOW",
    group,
    help: "how this host's programs are led there, and back when the node stops: resolved (systemd-resolved), resolv-conf (/etc/resolv.conf), auto, or off",
  }),
  dnsUpstream: many(readServer, {
    flag: "--dns-upstream",
    hint: "IP[:PORT]",
    group,
    help: "who answers all other names; by default those that this host asks already",
  }),
  dnsDomain: one(readDomain, "cluster.local", {
    flag: "--dns-domain",
    hint: "NAME",
    group,
    environment: ["CLUSTER_DOMAIN"],
    help: "the domain behind svc in names of services",
  }),
} as const;

/** @returns null where names are not answered. */
export function assembleDns(values: {
  readonly dns: SocketAddress | null;
  readonly dnsSetup: DnsConfig["setup"];
  readonly dnsUpstream: readonly SocketAddress[];
  readonly dnsDomain: string;
}): DnsConfig | null {
  const { dns, dnsSetup, dnsUpstream, dnsDomain } = values;
  if (dns === null && dnsSetup === "off") return null;
  const listen = dns ?? { ip: IpAddress.loopback(true), port: ports.dns };
  return { listen, setup: dnsSetup, upstreams: dnsUpstream, clusterDomain: dnsDomain };
}
