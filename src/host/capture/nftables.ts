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
  type HostCgroup,
  type HostFacts,
  neverCapturedPort,
  outboundMark,
  presentCgroups,
  returnMark,
  returnMask,
  takenMark,
} from "./options.ts";

export function renderNftables(options: CaptureOptions, facts: HostFacts): string {
  return `${[
    // Declared first so that the delete cannot fail; all of it is one transaction.
    ...renderNftablesRemoval().trimEnd().split("\n"),
    "table inet fairlead {",
    ...prefixSets(options),
    ...portSet("guarded", guardedPorts(options, facts)),
    ...(options.method === "tproxy"
      ? [
          ...tproxyOutput(options, facts),
          ...tproxyPrerouting(options, facts),
          ...tproxyKeep(),
          ...tproxyLeak(),
        ]
      : [...outputChain(options, facts), ...preroutingChain(options, facts)]),
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

function outputChain(options: CaptureOptions, facts: HostFacts): string[] {
  const { mark, outboundPort } = options;
  return [
    "  chain output {",
    "    type nat hook output priority -101; policy accept;",
    "    meta l4proto != tcp return",
    `    meta mark ${mark} return`,
    ...notOutbound(options, facts),
    // `redirect to` a port wants the transport in the same rule, or nft refuses the whole table.
    ...takers(options, facts).map((who) => `    ${who}meta l4proto tcp redirect to :${outboundPort}`),
    "  }",
  ];
}

/** What of this host's own TCP is left alone, and what of it there is to take. */
function notOutbound(options: CaptureOptions, facts: HostFacts): string[] {
  const { includeCidrs, excludeCidrs, excludePorts, excludeUids } = options;
  return [
    // Only new connections: where connection tracking starts with these rules, packets of open ones (the operator's own
    // SSH session) look like the first of a new one.
    "    tcp flags & (fin | syn | rst | ack) != syn return",
    `    tcp dport { ${distinct([neverCapturedPort, ...excludePorts]).join(", ")} } return`,
    ...onlyPorts(options),
    `    ${marked(returnMark)} return`,
    '    oifname "lo" return',
    "    ip daddr 127.0.0.0/8 return",
    "    ip6 daddr ::1 return",
    ...neverTo(options),
    ...excluded("exclude", excludeCidrs),
    ...onlyIncluded(includeCidrs),
    ...(excludeUids.length > 0 ? [`    meta skuid { ${distinct(excludeUids).join(", ")} } return`] : []),
    ...(presentCgroups(options.excludeCgroups, facts) ?? []).map((cgroup) => `    ${inCgroup(cgroup)}return`),
  ];
}

/** Whose connections are taken, each as the beginning of a rule; "" for everyone's, none while no cgroup that is named is there. */
function takers({ includeUids, includeCgroups }: CaptureOptions, facts: HostFacts): readonly string[] {
  const users = includeUids.length === 0 ? "" : `meta skuid { ${distinct(includeUids).join(", ")} } `;
  const cgroups = presentCgroups(includeCgroups, facts);
  return cgroups === null ? [users] : cgroups.map((cgroup) => `${users}${inCgroup(cgroup)}`);
}

/** nft looks for the path below this place alone, and only for the number of the cgroup; the level is counted from the mount. */
const nftLooksBelow = "/sys/fs/cgroup";

function inCgroup({ path, mount }: HostCgroup): string {
  const whole = `${mount}/${path}`;
  const isBelow = whole.startsWith(`${nftLooksBelow}/`);
  const named = isBelow ? whole.slice(nftLooksBelow.length + 1) : `../../..${whole}`;
  return `socket cgroupv2 level ${path.split("/").length} "${named}" `;
}

function onlyPorts({ includePorts }: CaptureOptions): string[] {
  return includePorts.length === 0
    ? []
    : [`    tcp dport != { ${distinct(includePorts).join(", ")} } return`];
}

function neverTo({ neverTo: addresses }: CaptureOptions): string[] {
  return addresses.map(
    ({ ip, port }) => `    ${ip.isIpv4 ? "ip" : "ip6"} daddr ${ip.text} tcp dport ${port} return`,
  );
}

function marked(mark: number): string {
  return `meta mark & ${hexMask} == 0x${mark.toString(16)}`;
}

const hexMask = `0x${returnMask.toString(16)}`;
const hexOutbound = `0x${outboundMark.toString(16)}`;
const hexTaken = `0x${takenMark.toString(16)}`;

/**
 * Each packet of a connection that is taken is marked, so that it is delivered here (`return_path.ts`) and TPROXY sees it. Which those are
 * connection tracking remembers; the listener's answers, of no other mark, are replies.
 */
function tproxyOutput(options: CaptureOptions, facts: HostFacts): string[] {
  return [
    "  chain output {",
    "    type route hook output priority -150; policy accept;",
    "    meta l4proto != tcp return",
    `    meta mark ${options.mark} return`,
    "    ct direction reply return",
    `    ct mark & ${hexMask} == ${hexOutbound} meta mark set ${hexOutbound} return`,
    ...notOutbound(options, facts),
    ...takers(options, facts).map(
      (who) => `    ${who}ct mark set ${hexOutbound} meta mark set ${hexOutbound}`,
    ),
    "  }",
  ];
}

/**
 * No look at connection tracking: what opens a connection goes to the listener, and what belongs to one of the listener's is known by its
 * socket. A socket that is not transparent is an application's, of a connection from before; the guard resets it.
 */
function tproxyPrerouting(options: CaptureOptions, facts: HostFacts): string[] {
  return [
    "  chain prerouting {",
    "    type filter hook prerouting priority -150; policy accept;",
    `    iifname "lo" ${marked(outboundMark)} meta l4proto tcp tproxy to :${options.outboundPort} accept`,
    ...notInbound(options, facts),
    "    fib daddr type != local return",
    `    tcp flags & (syn | ack) == syn meta l4proto tcp tproxy to :${options.inboundPort} meta mark set ${hexTaken} accept`,
    `    socket transparent 1 meta mark set ${hexTaken}`,
    "  }",
  ];
}

/**
 * NAT of other programs (a port that Docker publishes, a REDIRECT) would lead away what TPROXY has taken. The first chain that decides
 * about a connection decides alone, so this one does: it is to stay as it is.
 */
function tproxyKeep(): string[] {
  const keep = (hook: string, mark: number): string[] => [
    `  chain keep_${hook} {`,
    `    type nat hook ${hook} priority -101; policy accept;`,
    `    meta nfproto ipv4 ${marked(mark)} dnat ip to ip daddr`,
    `    meta nfproto ipv6 ${marked(mark)} dnat ip6 to ip6 daddr`,
    "  }",
  ];
  return [...keep("prerouting", takenMark), ...keep("output", outboundMark)];
}

/** Where another program took the routing rule away, or sent on what was taken, it would leave this host as it is. */
function tproxyLeak(): string[] {
  return [
    "  chain leak {",
    "    type filter hook postrouting priority 0; policy accept;",
    ...[outboundMark, takenMark].map((mark) => `    oifname != "lo" ${marked(mark)} counter drop`),
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
    // By the socket and not by its mark: that is the listener's, or the connection is not let in.
    ...(options.method === "tproxy" ? ["    socket transparent 1 return"] : []),
    // Whatever opens a connection, in either direction of what connection tracking believes. After REDIRECT the port of a node that
    // is gone refuses by itself.
    `    tcp flags & (syn | ack) == syn counter ${options.method === "tproxy" ? "reject with tcp reset" : "drop"}`,
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
    ...onlyPorts(options),
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
