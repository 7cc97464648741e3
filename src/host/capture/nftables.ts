/** The capture rules for `nft -f -`: one table, replaced in one transaction. */
import type { IpPrefix } from "../../base/prefix.ts";
import { formatNetwork } from "../../base/prefix.ts";
import { type CaptureOptions, returnMark } from "./capture.ts";

/** SSH stays reachable whatever else is wrong. */
export const neverCapturedPort = 22;

export function renderNftables(options: CaptureOptions): string {
  return `${[
    // Declared first so that the delete cannot fail; all of it is one transaction.
    ...renderNftablesRemoval().trimEnd().split("\n"),
    "table inet fairlead {",
    ...prefixSets(options),
    ...outputChain(options),
    ...preroutingChain(options),
    ...(options.originalSource ? returnChains(options) : []),
    "}",
  ].join("\n")}\n`;
}

export function renderNftablesRemoval(): string {
  return "table inet fairlead\ndelete table inet fairlead\n";
}

/** Named sets, because they may overlap: an anonymous one refuses 10.0.0.0/8 beside 10.1.0.0/16. */
function prefixSets(options: CaptureOptions): string[] {
  return [
    ...prefixSet("include4", "ipv4_addr", family(options.includeCidrs, true)),
    ...prefixSet("include6", "ipv6_addr", family(options.includeCidrs, false)),
    ...prefixSet("exclude4", "ipv4_addr", family(options.excludeCidrs, true)),
    ...prefixSet("exclude6", "ipv6_addr", family(options.excludeCidrs, false)),
  ];
}

function prefixSet(name: string, type: string, prefixes: readonly IpPrefix[]): string[] {
  if (prefixes.length === 0) return [];
  const elements = prefixes.map(formatNetwork).join(", ");
  return [
    `  set ${name} {`,
    `    type ${type}`,
    "    flags interval",
    "    auto-merge",
    `    elements = { ${elements} }`,
    "  }",
  ];
}

function outputChain(options: CaptureOptions): string[] {
  const { includeCidrs, excludeCidrs, excludePorts, mark, outboundPort } = options;
  return [
    "  chain output {",
    "    type nat hook output priority -100; policy accept;",
    ...neverCaptured(mark, [neverCapturedPort, ...excludePorts]),
    "    meta mark and 0xfff == 0x111 return",
    '    oifname "lo" return',
    "    ip daddr 127.0.0.0/8 return",
    "    ip6 daddr ::1 return",
    ...(family(excludeCidrs, true).length > 0 ? ["    ip daddr @exclude4 return"] : []),
    ...(family(excludeCidrs, false).length > 0 ? ["    ip6 daddr @exclude6 return"] : []),
    ...onlyIncluded(includeCidrs),
    `    redirect to :${outboundPort}`,
    "  }",
  ];
}

/** With an include list, a family without an entry in it is not captured at all. */
function onlyIncluded(includeCidrs: readonly IpPrefix[]): string[] {
  if (includeCidrs.length === 0) return [];
  return [
    family(includeCidrs, true).length > 0
      ? "    ip daddr != @include4 return"
      : "    meta nfproto ipv4 return",
    family(includeCidrs, false).length > 0
      ? "    ip6 daddr != @include6 return"
      : "    meta nfproto ipv6 return",
  ];
}

function preroutingChain(options: CaptureOptions): string[] {
  const { excludePorts, mark, inboundPort, outboundPort, ownPorts } = options;
  return [
    "  chain prerouting {",
    "    type nat hook prerouting priority -100; policy accept;",
    ...neverCaptured(mark, [neverCapturedPort, inboundPort, outboundPort, ...ownPorts, ...excludePorts]),
    '    iifname "lo" return',
    // What this host only forwards is not its own: istio-cni has no such rule, a pod forwards nothing.
    "    fib daddr type != local return",
    `    redirect to :${inboundPort}`,
    "  }",
  ];
}

function neverCaptured(mark: number, ports: readonly number[]): string[] {
  const distinct = [...new Set(ports)].sort((a, b) => a - b).join(", ");
  return [
    "    meta l4proto != tcp return",
    `    meta mark ${mark} return`,
    // Only new connections: where connection tracking starts with these rules, packets of open ones (the operator's own
    // SSH session) look like the first of a new one.
    "    tcp flags & (fin | syn | rst | ack) != syn return",
    `    tcp dport { ${distinct} } return`,
  ];
}

/**
 * As istio-cni: what the node sends to a local application comes back through lo with the node's mark; the connection
 * remembers it, and its replies, which go to a foreign address, are routed by it.
 */
function returnChains(options: CaptureOptions): string[] {
  const hex = `0x${returnMark.toString(16)}`;
  return [
    "  chain return_prerouting {",
    "    type filter hook prerouting priority -150; policy accept;",
    `    meta l4proto tcp iifname "lo" meta mark ${options.mark} ct mark set ${hex}`,
    "  }",
    "  chain return_output {",
    "    type route hook output priority -150; policy accept;",
    `    meta l4proto tcp ct mark ${hex} meta mark set ${hex}`,
    "  }",
  ];
}

function family(prefixes: readonly IpPrefix[], isIpv4: boolean): readonly IpPrefix[] {
  return prefixes.filter((prefix) => prefix.ip.isIpv4 === isIpv4);
}
