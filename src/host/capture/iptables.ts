/** The capture rules for `iptables-restore --noflush` and `ip6tables-restore --noflush`: chains of our own, and jumps to them. */

import { formatNetwork } from "../../base/prefix.ts";
import type { CaptureOptions } from "./capture.ts";
import { neverCapturedPort } from "./nftables.ts";

const returnMark = "0x111/0xfff";

export function renderIptables(options: CaptureOptions, isIpv4: boolean): string {
  return `${[
    "*nat",
    ":FAIRLEAD_OUTPUT - [0:0]",
    ":FAIRLEAD_PREROUTING - [0:0]",
    ...outputRules(options, isIpv4).map((rule) => `-A FAIRLEAD_OUTPUT ${rule}`),
    ...preroutingRules(options).map((rule) => `-A FAIRLEAD_PREROUTING ${rule}`),
    "-A OUTPUT -p tcp -j FAIRLEAD_OUTPUT",
    "-A PREROUTING -p tcp -j FAIRLEAD_PREROUTING",
    "COMMIT",
    ...(options.originalSource ? returnRules(options) : []),
  ].join("\n")}\n`;
}

/** Arguments of `iptables` and `ip6tables`, one call each; each fails harmlessly where there is nothing to remove. */
export function renderIptablesRemoval(): readonly (readonly string[])[] {
  return ["nat", "mangle"].flatMap((table) =>
    ["OUTPUT", "PREROUTING"].flatMap((hook) => [
      ["-t", table, "-D", hook, "-p", "tcp", "-j", `FAIRLEAD_${hook}`],
      ["-t", table, "-F", `FAIRLEAD_${hook}`],
      ["-t", table, "-X", `FAIRLEAD_${hook}`],
    ]),
  );
}

function outputRules(options: CaptureOptions, isIpv4: boolean): string[] {
  const include = options.includeCidrs.filter((prefix) => prefix.ip.isIpv4 === isIpv4);
  const exclude = options.excludeCidrs.filter((prefix) => prefix.ip.isIpv4 === isIpv4);
  const redirect = `-p tcp -j REDIRECT --to-ports ${options.outboundPort}`;
  return [
    ...neverCaptured(options.mark, [neverCapturedPort, ...options.excludePorts]),
    `-m mark --mark ${returnMark} -j RETURN`,
    "-o lo -j RETURN",
    `-d ${isIpv4 ? "127.0.0.0/8" : "::1/128"} -j RETURN`,
    ...exclude.map((prefix) => `-d ${formatNetwork(prefix)} -j RETURN`),
    ...(options.includeCidrs.length === 0
      ? [redirect]
      : include.map((prefix) => `-d ${formatNetwork(prefix)} ${redirect}`)),
  ];
}

function preroutingRules(options: CaptureOptions): string[] {
  const { inboundPort, outboundPort, ownPorts, excludePorts, mark } = options;
  return [
    ...neverCaptured(mark, [neverCapturedPort, inboundPort, outboundPort, ...ownPorts, ...excludePorts]),
    "-i lo -j RETURN",
    "-m addrtype ! --dst-type LOCAL -j RETURN",
    `-p tcp -j REDIRECT --to-ports ${inboundPort}`,
  ];
}

function neverCaptured(mark: number, ports: readonly number[]): string[] {
  const distinct = [...new Set(ports)].sort((a, b) => a - b);
  return [
    `-m mark --mark ${mark} -j RETURN`,
    "-p tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN",
    ...distinct.map((port) => `-p tcp --dport ${port} -j RETURN`),
  ];
}

function returnRules(options: CaptureOptions): string[] {
  return [
    "*mangle",
    ":FAIRLEAD_OUTPUT - [0:0]",
    ":FAIRLEAD_PREROUTING - [0:0]",
    `-A FAIRLEAD_PREROUTING -i lo -m mark --mark ${options.mark} -j CONNMARK --set-xmark ${returnMark}`,
    `-A FAIRLEAD_OUTPUT -m connmark --mark ${returnMark} -j CONNMARK --restore-mark --nfmask 0xfff --ctmask 0xfff`,
    "-A OUTPUT -p tcp -j FAIRLEAD_OUTPUT",
    "-A PREROUTING -p tcp -j FAIRLEAD_PREROUTING",
    "COMMIT",
  ];
}
