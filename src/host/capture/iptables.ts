/**
 * The capture rules for `iptables-restore --noflush` and `ip6tables-restore --noflush`: chains of our own, and jumps to them as the first
 * rule of each hook. They say what the nftables rules say; the reasons are there.
 */
import { formatNetwork } from "../../base/prefix.ts";
import {
  type CaptureOptions,
  directPorts,
  distinct,
  guardedPorts,
  type HostFacts,
  neverCapturedPort,
  outboundMark,
  presentCgroups,
  returnMark,
  returnMask,
  takenMark,
} from "./options.ts";

const hexMark = `0x${returnMark.toString(16)}`;
const hexMask = `0x${returnMask.toString(16)}`;
const hexOutbound = `0x${outboundMark.toString(16)}`;
const hexTaken = `0x${takenMark.toString(16)}`;
/** The most ports that the multiport match takes. */
const portsOfOneRule = 15;

/**
 * Each table is replaced in one step: chains that are declared again are emptied, and jumps that are there are taken out first.
 *
 * @param loaded our lines of `iptables-save`, as they are now.
 */
export function renderIptables(
  options: CaptureOptions,
  facts: HostFacts,
  isIpv4: boolean,
  loaded: string,
): string {
  const { originalSource, method } = options;
  const isTproxy = method === "tproxy";
  const returns = originalSource ? returnRules(options) : { output: [], prerouting: [] };
  const routed: Chains = [
    ["OUTPUT", [...returns.output, ...(isTproxy ? tproxyOutput(options, facts, isIpv4) : [])]],
    ["PREROUTING", [...returns.prerouting, ...(isTproxy ? tproxyPrerouting(options, facts, isIpv4) : [])]],
    [
      "POSTROUTING",
      isTproxy ? [outboundMark, takenMark].map((mark) => `! -o lo ${marked(mark)} -j DROP`) : [],
    ],
  ];
  return `${[
    ...table("nat", loaded, [
      // By TPROXY: no rule of another program leads away what was taken.
      ["OUTPUT", isTproxy ? [`${marked(outboundMark)} -j ACCEPT`] : outputRules(options, facts, isIpv4)],
      ["PREROUTING", isTproxy ? [`${marked(takenMark)} -j ACCEPT`] : preroutingRules(options, facts, isIpv4)],
      ["POSTROUTING", originalSource ? ownSourceRules(options) : []],
    ]),
    // Not in the filter table: there a rule that another program puts before ours may accept.
    ...table("mangle", loaded, [
      ["INPUT", dropRules(options, facts, isIpv4)],
      ...routed.filter(([, rules]) => rules.length > 0),
    ]),
    // Only the filter table can refuse with a reset.
    ...table("filter", loaded, [["INPUT", resetRules(options, facts, isIpv4)]]),
  ].join("\n")}\n`;
}

type Chains = readonly (readonly [hook: string, rules: readonly string[]])[];

function table(name: string, loaded: string, chains: Chains): readonly string[] {
  const stale = chainsOf(loaded, name).filter((chain) =>
    chains.every(([hook]) => chain !== `FAIRLEAD_${hook}`),
  );
  return [
    `*${name}`,
    ...chains.map(([hook]) => `:FAIRLEAD_${hook} - [0:0]`),
    ...jumpsOf(loaded, name).map((jump) => `-D ${jump}`),
    ...stale.flatMap((chain) => [`-F ${chain}`, `-X ${chain}`]),
    ...chains.flatMap(([hook, rules]) => rules.map((rule) => `-A FAIRLEAD_${hook} ${rule}`)),
    ...chains.map(([hook]) => `-I ${hook} 1 -p tcp -j FAIRLEAD_${hook}`),
    "COMMIT",
  ];
}

function chainsOf(loaded: string, table: string): readonly string[] {
  return tablesOf(loaded)
    .filter(({ name }) => name === table)
    .flatMap(({ lines }) => lines.flatMap((line) => /^:(FAIRLEAD_\S+)/.exec(line)?.[1] ?? []));
}

/** Takes out what is loaded, whichever version of us loaded it; "" for nothing. */
export function renderIptablesRemoval(loaded: string): string {
  return tablesOf(loaded)
    .flatMap(({ name, lines }) => {
      const chains = lines.flatMap((line) => /^:(FAIRLEAD_\S+)/.exec(line)?.[1] ?? []);
      return [
        `*${name}`,
        ...jumpsOf(loaded, name).map((jump) => `-D ${jump}`),
        ...chains.map((chain) => `-F ${chain}`),
        ...chains.map((chain) => `-X ${chain}`),
        "COMMIT\n",
      ];
    })
    .join("\n");
}

/** Rules of other chains that lead to ours, without their `-A`. */
function jumpsOf(loaded: string, table: string): readonly string[] {
  return tablesOf(loaded)
    .filter(({ name }) => name === table)
    .flatMap(({ lines }) => lines.flatMap((line) => /^-A ((?!FAIRLEAD_).*)$/.exec(line)?.[1] ?? []));
}

function tablesOf(loaded: string): readonly { readonly name: string; readonly lines: readonly string[] }[] {
  return loaded.split(/^\*/m).flatMap((part) => {
    const [name = "", ...lines] = part.split("\n");
    return name === "" ? [] : [{ name, lines }];
  });
}

function outputRules(options: CaptureOptions, facts: HostFacts, isIpv4: boolean): string[] {
  return [
    `-m mark --mark ${options.mark} -j RETURN`,
    ...notOutbound(options, facts, isIpv4),
    ...taken(options, facts, isIpv4, `-j REDIRECT --to-ports ${options.outboundPort}`),
  ];
}

/** What of this host's own TCP is left alone. */
function notOutbound(options: CaptureOptions, facts: HostFacts, isIpv4: boolean): string[] {
  return [
    notOpening,
    ...portRules(distinct([neverCapturedPort, ...options.excludePorts]), "-j RETURN"),
    `-m mark --mark ${hexMark}/${hexMask} -j RETURN`,
    "-o lo -j RETURN",
    `-d ${isIpv4 ? "127.0.0.0/8" : "::1/128"} -j RETURN`,
    ...options.neverTo
      .filter(({ ip }) => ip.isIpv4 === isIpv4)
      .map(({ ip, port }) => `-d ${ip.text} -p tcp --dport ${port} -j RETURN`),
    ...options.excludeCidrs
      .filter(({ ip }) => ip.isIpv4 === isIpv4)
      .map((prefix) => `-d ${formatNetwork(prefix)} -j RETURN`),
    ...distinct(options.excludeUids).map((uid) => `-m owner --uid-owner ${uid} -j RETURN`),
    ...(presentCgroups(options.excludeCgroups, facts) ?? []).map(({ path }) => `${inCgroup(path)}-j RETURN`),
  ];
}

/** What of the rest is taken: to each address, by each user, cgroup and port that is chosen. */
function taken(options: CaptureOptions, facts: HostFacts, isIpv4: boolean, what: string): string[] {
  const { includeCidrs, includeUids, includeCgroups, includePorts } = options;
  const to =
    includeCidrs.length === 0
      ? [""]
      : includeCidrs.filter(({ ip }) => ip.isIpv4 === isIpv4).map((prefix) => `-d ${formatNetwork(prefix)} `);
  const by =
    includeUids.length === 0 ? [""] : distinct(includeUids).map((uid) => `-m owner --uid-owner ${uid} `);
  const within = presentCgroups(includeCgroups, facts)?.map(({ path }) => inCgroup(path)) ?? [""];
  const who = by.flatMap((user) => within.map((cgroup) => `${user}${cgroup}`));
  return to.flatMap((address) => who.flatMap((one) => onPorts(includePorts, `${address}${one}`, what)));
}

/** The kernel finds the path itself, from the root of version 2; systemd's names have backslashes, which are doubled within quotes. */
function inCgroup(path: string): string {
  return `-m cgroup --path "${path.replaceAll("\\", "\\\\")}" `;
}

/** @param ports empty: any. */
function onPorts(ports: readonly number[], match: string, what: string): string[] {
  return ports.length === 0
    ? [`${match}-p tcp ${what}`]
    : portRules(distinct(ports), what).map((rule) => `${match}${rule}`);
}

function preroutingRules(options: CaptureOptions, facts: HostFacts, isIpv4: boolean): string[] {
  return [
    ...notInbound(options, facts, isIpv4),
    notOpening,
    "-m addrtype ! --dst-type LOCAL -j RETURN",
    ...onPorts(options.includePorts, "", `-j REDIRECT --to-ports ${options.inboundPort}`),
  ];
}

function tproxyOutput(options: CaptureOptions, facts: HostFacts, isIpv4: boolean): string[] {
  const isTaken = `-m connmark --mark ${hexOutbound}/${hexMask}`;
  const mark = `-j MARK --set-xmark ${hexOutbound}/${hexMask}`;
  return [
    `-m mark --mark ${options.mark} -j RETURN`,
    "-m conntrack --ctdir REPLY -j RETURN",
    `${isTaken} ${mark}`,
    `${isTaken} -j RETURN`,
    ...notOutbound(options, facts, isIpv4),
    ...taken(options, facts, isIpv4, `-j CONNMARK --set-xmark ${hexOutbound}/${hexMask}`),
    `${isTaken} ${mark}`,
  ];
}

/**
 * The target drops what has no listener and no transparent socket, so only what opens a connection gets to it: what belongs to an
 * application's connection from before goes on, and is reset. A connection in TIME_WAIT is opened again by the target alone.
 */
function tproxyPrerouting(options: CaptureOptions, facts: HostFacts, isIpv4: boolean): string[] {
  const tproxy = (port: number, mark: string): string =>
    `-j TPROXY --on-port ${port} --tproxy-mark ${mark}/${hexMask}`;
  return [
    `-i lo ${marked(outboundMark)} -p tcp ${tproxy(options.outboundPort, hexOutbound)}`,
    ...notInbound(options, facts, isIpv4),
    "-m addrtype ! --dst-type LOCAL -j RETURN",
    ...onPorts(
      options.includePorts,
      "-p tcp --tcp-flags SYN,ACK SYN ",
      tproxy(options.inboundPort, hexTaken),
    ).map((rule) => rule.replace("SYN -p tcp", "SYN")),
    `-m socket --transparent -j MARK --set-xmark ${hexTaken}/${hexMask}`,
  ];
}

function dropRules(options: CaptureOptions, facts: HostFacts, isIpv4: boolean): string[] {
  return [
    ...notInbound(options, facts, isIpv4),
    ...letTaken(options),
    ...onPorts(options.includePorts, "", "--tcp-flags SYN,ACK SYN -j DROP"),
  ];
}

/** By the socket and not by its mark: that is the listener's, or the connection is not let in. */
function letTaken({ method }: CaptureOptions): string[] {
  return method === "tproxy" ? ["-m socket --transparent --nowildcard -j RETURN"] : [];
}

function marked(mark: number): string {
  return `-m mark --mark 0x${mark.toString(16)}/${hexMask}`;
}

function resetRules(options: CaptureOptions, facts: HostFacts, isIpv4: boolean): string[] {
  const reset = "--tcp-flags RST NONE -j REJECT --reject-with tcp-reset";
  return [
    ...notInbound(options, facts, isIpv4),
    ...letTaken(options),
    ...portRules(guardedPorts(options, facts), reset),
  ];
}

function notInbound(options: CaptureOptions, facts: HostFacts, isIpv4: boolean): string[] {
  return [
    "-i lo -j RETURN",
    ...portRules(directPorts(options), "-j RETURN"),
    ...options.excludeInterfaces.map((name) => `-i ${name.replace(/\*$/, "+")} -j RETURN`),
    ...options.excludeInboundCidrs
      .filter((prefix) => prefix.ip.isIpv4 === isIpv4)
      .map((prefix) => `-d ${formatNetwork(prefix)} -j RETURN`),
    ...(options.containers === "exclude"
      ? facts.containerBridges.map(
          (name) => `-i ${name} -m addrtype --dst-type LOCAL --limit-iface-in -j RETURN`,
        )
      : []),
  ];
}

const notOpening = "-p tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN";

function portRules(ports: readonly number[], what: string): string[] {
  const rules: string[] = [];
  for (let start = 0; start < ports.length; start += portsOfOneRule)
    rules.push(
      `-p tcp -m multiport --dports ${ports.slice(start, start + portsOfOneRule).join(",")} ${what}`,
    );
  return rules;
}

function ownSourceRules({ mark }: CaptureOptions): string[] {
  const foreign = `-m mark --mark ${mark} -m addrtype ! --src-type LOCAL`;
  return [
    "-o lo -j RETURN",
    `${foreign} -j CONNMARK --set-xmark ${hexMark}/${hexMask}`,
    `${foreign} -j MASQUERADE`,
  ];
}

function returnRules({ mark }: CaptureOptions): {
  readonly output: readonly string[];
  readonly prerouting: readonly string[];
} {
  const reply = `-m conntrack --ctdir REPLY -m connmark --mark ${hexMark}/${hexMask}`;
  const restore = `-j CONNMARK --restore-mark --nfmask ${hexMask} --ctmask ${hexMask}`;
  return {
    output: [`${reply} ${restore}`],
    prerouting: [
      `-i lo -m mark --mark ${mark} -j CONNMARK --set-xmark ${hexMark}/${hexMask}`,
      `! -i lo ${reply} ${restore}`,
    ],
  };
}
