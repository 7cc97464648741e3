/**
 * The capture rules for `nft -f -`: one table, replaced in one transaction.
 *
 * NAT alone keeps no one out: it looks at the first packet of a connection, and whoever makes connection tracking see another packet
 * first (a bare ACK) has a connection that is never redirected. So a filter drops what NAT should have redirected and did not.
 */
import { formatNetwork, type IpPrefix } from "../../base/prefix.ts";
import {
  type CaptureOptions,
  directPorts,
  distinct,
  guardedPorts,
  type HostFacts,
  neverCapturedPort,
  returnMark,
  returnMask,
} from "./options.ts";

export function renderNftables(options: CaptureOptions, facts: HostFacts): string {
  return `${[
    // Declared first so that the delete cannot fail; all of it is one transaction.
    ...renderNftablesRemoval().trimEnd().split("\n"),
    "table inet fairlead {",
    ...prefixSets(options),
    ...portSet("guarded", guardedPorts(options, facts)),
    ...outputChain(options),
    ...preroutingChain(options, facts),
    ...guardChain(options, facts),
    ...(options.originalSource ? returnChains(options) : []),
    "}",
  ].join("\n")}\n`;
}

export function renderNftablesRemoval(): string {
  return "table inet fairlead\ndelete table inet fairlead\n";
}

/** Named sets, because they may overlap: an anonymous one refuses 10.0.0.0/8 beside 10.1.0.0/16. */
function prefixSets({ includeCidrs, excludeCidrs, excludeInboundCidrs }: CaptureOptions): string[] {
  return [
    ...prefixSet("include", includeCidrs),
    ...prefixSet("exclude", excludeCidrs),
    ...prefixSet("exclude_inbound", excludeInboundCidrs),
  ];
}

function prefixSet(name: string, prefixes: readonly IpPrefix[]): string[] {
  return ([4, 6] as const).flatMap((version) => {
    const own = family(prefixes, version);
    if (own.length === 0) return [];
    return [
      `  set ${name}${version} {`,
      `    type ipv${version}_addr`,
      "    flags interval",
      "    auto-merge",
      `    elements = { ${own.map(formatNetwork).join(", ")} }`,
      "  }",
    ];
  });
}

function portSet(name: string, ports: readonly number[]): string[] {
  if (ports.length === 0) return [];
  return [`  set ${name} {`, "    type inet_service", `    elements = { ${ports.join(", ")} }`, "  }"];
}

function outputChain(options: CaptureOptions): string[] {
  const { includeCidrs, excludeCidrs, excludePorts, mark, outboundPort } = options;
  return [
    "  chain output {",
    "    type nat hook output priority -101; policy accept;",
    "    meta l4proto != tcp return",
    `    meta mark ${mark} return`,
    // Only new connections: where connection tracking starts with these rules, packets of open ones (the operator's own
    // SSH session) look like the first of a new one.
    "    tcp flags & (fin | syn | rst | ack) != syn return",
    `    tcp dport { ${distinct([neverCapturedPort, ...excludePorts]).join(", ")} } return`,
    `    meta mark & 0x${returnMask.toString(16)} == 0x${returnMark.toString(16)} return`,
    '    oifname "lo" return',
    "    ip daddr 127.0.0.0/8 return",
    "    ip6 daddr ::1 return",
    ...excluded("exclude", excludeCidrs),
    ...onlyIncluded(includeCidrs),
    // `redirect to` a port wants the transport in the same rule, or nft refuses the whole table.
    `    meta l4proto tcp redirect to :${outboundPort}`,
    "  }",
  ];
}

/** With an include list, a family without an entry in it is not captured at all. */
function onlyIncluded(includeCidrs: readonly IpPrefix[]): string[] {
  if (includeCidrs.length === 0) return [];
  return [
    family(includeCidrs, 4).length > 0 ? "    ip daddr != @include4 return" : "    meta nfproto ipv4 return",
    family(includeCidrs, 6).length > 0 ? "    ip6 daddr != @include6 return" : "    meta nfproto ipv6 return",
  ];
}

/** One step before other NAT (-100): what Docker publishes on an address of this host is captured before Docker sends it elsewhere. */
function preroutingChain(options: CaptureOptions, facts: HostFacts): string[] {
  return [
    "  chain prerouting {",
    "    type nat hook prerouting priority -101; policy accept;",
    ...notInbound(options, facts),
    "    tcp flags & (fin | syn | rst | ack) != syn return",
    // What this host only forwards is not its own: istio-cni has no such rule, a pod forwards nothing.
    "    fib daddr type != local return",
    `    meta l4proto tcp redirect to :${options.inboundPort}`,
    "  }",
  ];
}

/** Here a redirected packet has the port of our listener, and is let through as one of ours. */
function guardChain(options: CaptureOptions, facts: HostFacts): string[] {
  return [
    "  chain guard {",
    "    type filter hook input priority 0; policy accept;",
    ...notInbound(options, facts),
    // Whatever opens a connection, in either direction of what connection tracking believes.
    "    tcp flags & (syn | ack) == syn counter drop",
    // Open since before capture; its client learns of it and comes again, by the listener.
    ...(guardedPorts(options, facts).length > 0
      ? ["    tcp dport @guarded tcp flags & rst == 0 counter reject with tcp reset"]
      : []),
    "  }",
  ];
}

function notInbound(options: CaptureOptions, facts: HostFacts): string[] {
  const { excludeInterfaces, excludeInboundCidrs } = options;
  const quoted = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(", ");
  return [
    "    meta l4proto != tcp return",
    '    iifname "lo" return',
    `    tcp dport { ${directPorts(options).join(", ")} } return`,
    ...(excludeInterfaces.length > 0 ? [`    iifname { ${quoted(excludeInterfaces)} } return`] : []),
    ...excluded("exclude_inbound", excludeInboundCidrs),
    ...(options.containers === "exclude" && facts.containerBridges.length > 0
      ? [`    iifname { ${quoted(facts.containerBridges)} } fib daddr . iif type local return`]
      : []),
  ];
}

function excluded(set: string, prefixes: readonly IpPrefix[]): string[] {
  return [
    ...(family(prefixes, 4).length > 0 ? [`    ip daddr @${set}4 return`] : []),
    ...(family(prefixes, 6).length > 0 ? [`    ip6 daddr @${set}6 return`] : []),
  ];
}

/**
 * As istio-cni: what the node sends to a local application comes back through lo with the node's mark; the connection
 * remembers it, and its replies, which go to a foreign address, are routed by it.
 *
 * Where another rule sends such a connection off this host (a port that Docker publishes), the foreign source would be answered past
 * us: there it gets an address of this host, and its replies find their way by the same mark.
 */
function returnChains({ mark }: CaptureOptions): string[] {
  const hex = `0x${returnMark.toString(16)}`;
  const mask = `0x${returnMask.toString(16)}`;
  return [
    "  chain return_prerouting {",
    "    type filter hook prerouting priority -150; policy accept;",
    `    meta l4proto tcp iifname "lo" meta mark ${mark} ct mark set ${hex}`,
    `    meta l4proto tcp iifname != "lo" ct direction reply ct mark & ${mask} == ${hex} meta mark set ${hex}`,
    "  }",
    "  chain return_output {",
    "    type route hook output priority -150; policy accept;",
    `    meta l4proto tcp ct direction reply ct mark & ${mask} == ${hex} meta mark set ${hex}`,
    "  }",
    "  chain own_source {",
    "    type nat hook postrouting priority 99; policy accept;",
    `    meta l4proto tcp meta mark ${mark} oifname != "lo" fib saddr type != local ct mark set ${hex} counter masquerade`,
    "  }",
  ];
}

function family(prefixes: readonly IpPrefix[], version: 4 | 6): readonly IpPrefix[] {
  return prefixes.filter((prefix) => prefix.ip.isIpv4 === (version === 4));
}
