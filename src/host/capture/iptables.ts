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
  returnMark,
  returnMask,
} from "./options.ts";

const hexMark = `0x${returnMark.toString(16)}`;
const hexMask = `0x${returnMask.toString(16)}`;
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
  const { originalSource } = options;
  return `${[
    ...table("nat", loaded, [
      ["OUTPUT", outputRules(options, isIpv4)],
      ["PREROUTING", preroutingRules(options, facts, isIpv4)],
      ["POSTROUTING", originalSource ? ownSourceRules(options) : []],
    ]),
    // Not in the filter table: there a rule that another program puts before ours may accept.
    ...table("mangle", loaded, [
      ["INPUT", dropRules(options, facts, isIpv4)],
      ...(originalSource ? returnRules(options) : []),
    ]),
    // Only the filter table can refuse with a reset.
    ...table("filter", loaded, [["INPUT", resetRules(options, facts, isIpv4)]]),
  ].join("\n")}\n`;
}

function table(
  name: string,
  loaded: string,
  chains: readonly (readonly [hook: string, rules: readonly string[]])[],
): readonly string[] {
  return [
    `*${name}`,
    ...chains.map(([hook]) => `:FAIRLEAD_${hook} - [0:0]`),
    ...jumpsOf(loaded, name).map((jump) => `-D ${jump}`),
    ...chains.flatMap(([hook, rules]) => rules.map((rule) => `-A FAIRLEAD_${hook} ${rule}`)),
    ...chains.map(([hook]) => `-I ${hook} 1 -p tcp -j FAIRLEAD_${hook}`),
    "COMMIT",
  ];
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

function outputRules(options: CaptureOptions, isIpv4: boolean): string[] {
  const ofFamily = (prefix: { readonly ip: { readonly isIpv4: boolean } }) => prefix.ip.isIpv4 === isIpv4;
  const redirect = `-p tcp -j REDIRECT --to-ports ${options.outboundPort}`;
  return [
    `-m mark --mark ${options.mark} -j RETURN`,
    notOpening,
    ...portRules(distinct([neverCapturedPort, ...options.excludePorts]), "-j RETURN"),
    `-m mark --mark ${hexMark}/${hexMask} -j RETURN`,
    "-o lo -j RETURN",
    `-d ${isIpv4 ? "127.0.0.0/8" : "::1/128"} -j RETURN`,
    ...options.excludeCidrs.filter(ofFamily).map((prefix) => `-d ${formatNetwork(prefix)} -j RETURN`),
    ...(options.includeCidrs.length === 0
      ? [redirect]
      : options.includeCidrs.filter(ofFamily).map((prefix) => `-d ${formatNetwork(prefix)} ${redirect}`)),
  ];
}

function preroutingRules(options: CaptureOptions, facts: HostFacts, isIpv4: boolean): string[] {
  return [
    ...notInbound(options, facts, isIpv4),
    notOpening,
    "-m addrtype ! --dst-type LOCAL -j RETURN",
    `-p tcp -j REDIRECT --to-ports ${options.inboundPort}`,
  ];
}

function dropRules(options: CaptureOptions, facts: HostFacts, isIpv4: boolean): string[] {
  return [...notInbound(options, facts, isIpv4), "-p tcp --tcp-flags SYN,ACK SYN -j DROP"];
}

function resetRules(options: CaptureOptions, facts: HostFacts, isIpv4: boolean): string[] {
  const reset = "--tcp-flags RST NONE -j REJECT --reject-with tcp-reset";
  return [...notInbound(options, facts, isIpv4), ...portRules(guardedPorts(options, facts), reset)];
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

function returnRules({ mark }: CaptureOptions): readonly (readonly [string, readonly string[]])[] {
  const reply = `-m conntrack --ctdir REPLY -m connmark --mark ${hexMark}/${hexMask}`;
  const restore = `-j CONNMARK --restore-mark --nfmask ${hexMask} --ctmask ${hexMask}`;
  return [
    ["OUTPUT", [`${reply} ${restore}`]],
    [
      "PREROUTING",
      [
        `-i lo -m mark --mark ${mark} -j CONNMARK --set-xmark ${hexMark}/${hexMask}`,
        `! -i lo ${reply} ${restore}`,
      ],
    ],
  ];
}
