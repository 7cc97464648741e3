/**
 * The network of one program (`fairlead run`): every address is local in it, so that whatever the program calls arrives at a socket in
 * there or nowhere. TCP is led to the node's listener, DNS to its proxy, and all else is refused at once.
 */
import { MeshError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { PrivateNetwork } from "../private_network.ts";
import { captureFailure, type Ran } from "./backends.ts";
import type { BackendName } from "./options.ts";

export interface PrivateRules {
  readonly backend: "auto" | BackendName;
  /** The program's own, of both families; the first of each is the source of what it calls. */
  readonly addresses: readonly IpAddress[];
  readonly outboundPort: number;
  /** At loopback. */
  readonly dnsPort: number;
}

/** @throws MeshError `permission_denied` or `unsupported`, blame local. */
export async function layOut(network: PrivateNetwork, rules: PrivateRules): Promise<void> {
  for (const args of addressCommands(rules.addresses)) {
    const ran = await attempt(network, "ip", args);
    if (ran === null) throw captureFailure(null, "a network of its own needs the program ip");
    if (ran.exitCode !== 0) throw captureFailure(ran, `ip ${args.join(" ")} failed`);
  }
  await loadRules(network, rules);
}

/** A route of type local makes every address of a family one of this network; what is sent there comes back by lo. */
export function addressCommands(addresses: readonly IpAddress[]): readonly (readonly string[])[] {
  const first = (isIpv4: boolean) => addresses.filter((ip) => ip.isIpv4 === isIpv4).slice(0, 1);
  return [
    ["link", "set", "lo", "up"],
    ...addresses.map((ip) => [
      ...(ip.isIpv4 ? ["addr", "add", `${ip.text}/32`] : ["-6", "addr", "add", `${ip.text}/128`]),
      ...["dev", "lo", ...(ip.isIpv4 ? [] : ["nodad"])],
    ]),
    ...first(true).map((ip) => ["route", "add", "local", "default", "dev", "lo", "src", ip.text]),
    ...first(false).map((ip) => ["-6", "route", "add", "local", "default", "dev", "lo", "src", ip.text]),
  ];
}

async function loadRules(network: PrivateNetwork, rules: PrivateRules): Promise<void> {
  const refusals: MeshError[] = [];
  for (const [name, ...loads] of loaders(rules)) {
    if (rules.backend !== "auto" && rules.backend !== name) continue;
    try {
      for (const { program, args, text } of loads) {
        const ran = await attempt(network, program, args, text);
        if (ran === null) throw captureFailure(null, `${program} could not be run`);
        if (ran.exitCode !== 0) throw captureFailure(ran, `${program} refused the rules`);
      }
      return;
    } catch (thrown) {
      if (!(thrown instanceof MeshError)) throw thrown;
      refusals.push(thrown);
    }
  }
  const code = refusals.some((error) => error.code === "permission_denied")
    ? "permission_denied"
    : "unsupported";
  const reasons = refusals.map(({ message }) => message).join("; ");
  throw new MeshError(
    code,
    "local",
    `no program could install the rules of a network of its own: ${reasons}`,
  );
}

interface Load {
  readonly program: string;
  readonly args: readonly string[];
  readonly text: string;
}

function loaders(rules: PrivateRules): readonly (readonly [BackendName, ...Load[]])[] {
  const hasIpv6 = rules.addresses.some((ip) => !ip.isIpv4);
  const restore = (suffix: "" | "-legacy"): Load[] =>
    [true, ...(hasIpv6 ? [false] : [])].map((isIpv4) => ({
      program: `${isIpv4 ? "iptables" : "ip6tables"}${suffix}-restore`,
      args: [],
      text: renderPrivateIptables(rules, isIpv4),
    }));
  return [
    ["nftables", { program: "nft", args: ["-f", "-"], text: renderPrivateNftables(rules) }],
    ["iptables", ...restore("")],
    ["iptables-legacy", ...restore("-legacy")],
  ];
}

/** What the program has itself is not captured, as loopback is not; answers to callers, whose addresses are foreign, are let through. */
export function renderPrivateNftables({ addresses, outboundPort, dnsPort }: PrivateRules): string {
  const own = (isIpv4: boolean): string =>
    [
      isIpv4 ? "127.0.0.0/8" : "::1",
      ...addresses.filter((ip) => ip.isIpv4 === isIpv4).map(({ text }) => text),
    ].join(", ");
  return `table inet fairlead {
  chain output {
    type nat hook output priority -100; policy accept;
    ip daddr { ${own(true)} } return
    ip6 daddr { ${own(false)} } return
    meta l4proto { tcp, udp } th dport 53 redirect to :${dnsPort}
    meta l4proto tcp redirect to :${outboundPort}
  }
  chain nothing_else {
    type filter hook output priority 0; policy accept;
    ct direction reply accept
    ip daddr { ${own(true)} } accept
    ip6 daddr { ${own(false)} } accept
    reject with icmpx type admin-prohibited
  }
}
`;
}

export function renderPrivateIptables(
  { addresses, outboundPort, dnsPort }: PrivateRules,
  isIpv4: boolean,
): string {
  const own = [
    isIpv4 ? "127.0.0.0/8" : "::1/128",
    ...addresses.filter((ip) => ip.isIpv4 === isIpv4).map(({ text }) => text),
  ];
  const refusal = isIpv4 ? "icmp-admin-prohibited" : "icmp6-adm-prohibited";
  return `${[
    "*nat",
    ...own.map((to) => `-A OUTPUT -d ${to} -j RETURN`),
    ...["tcp", "udp"].map(
      (protocol) => `-A OUTPUT -p ${protocol} --dport 53 -j REDIRECT --to-ports ${dnsPort}`,
    ),
    `-A OUTPUT -p tcp -j REDIRECT --to-ports ${outboundPort}`,
    "COMMIT",
    "*filter",
    "-A OUTPUT -m conntrack --ctdir REPLY -j ACCEPT",
    ...own.map((to) => `-A OUTPUT -d ${to} -j ACCEPT`),
    `-A OUTPUT -j REJECT --reject-with ${refusal}`,
    "COMMIT",
  ].join("\n")}\n`;
}

/** @returns null when the program cannot be started. */
async function attempt(
  network: PrivateNetwork,
  program: string,
  args: readonly string[],
  input?: string,
): Promise<Ran | null> {
  try {
    return await network.run(program, args, input);
  } catch {
    return null;
  }
}
