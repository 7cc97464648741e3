/** What of this host gets in the way of capture, found by reading the rules of other programs: firewalls that drop, ports sent elsewhere. */
import type { Host } from "../host.ts";
import { attempt } from "./backends.ts";
import { firewallsThatDrop } from "./firewalls.ts";
import { type CaptureMethod, outboundMark, returnMark, returnMask } from "./options.ts";

export interface Finding {
  /** What is so, and what comes of it. */
  readonly message: string;
  /** What to do about it. */
  readonly remedy: string;
}

export interface Inspected {
  readonly method: CaptureMethod;
  readonly inboundPort: number;
  readonly hbonePort: number;
}

/** Bounded by the output that is kept of a program. A rule that cannot be understood is taken to accept: no alarm without a reason. */
export async function inspectHost(host: Host, inspected: Inspected): Promise<readonly Finding[]> {
  return [
    ...(await firewallFindings(host, inspected)),
    ...(await forwardedPorts(host)),
    ...(await otherRoutes(host, inspected.method)),
    ...(inspected.method === "tproxy" ? await bridgedPackets(host) : []),
  ];
}

/** Of each family. */
const bridgeCalls = ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"] as const;

/** br_netfilter runs the rules while a packet is still the bridge's, and the kernel forgets which socket they chose when it comes in. */
async function bridgedPackets({ files }: Host): Promise<readonly Finding[]> {
  const read = (path: string) => files.readText(path).catch(() => "");
  const texts = await Promise.all(bridgeCalls.map((name) => read(`/proc/sys/${name.replaceAll(".", "/")}`)));
  const called = bridgeCalls.filter((_, index) => texts[index]?.trim() === "1");
  if (called.length === 0) return [];
  const bridges = [
    ...(await read("/proc/net/dev")).matchAll(
      /^\s*((?:docker|br|virbr|lx[cd]br|incusbr|podman|cni)[^:\s]*):/gm,
    ),
  ];
  if (bridges.length === 0) return [];
  return [
    {
      message: `what comes in by bridges of this host (${bridges
        .map(([, name]) => name)
        .slice(0, maxShown)
        .join(", ")}) is refused: their packets pass the rules before TPROXY can take them`,
      remedy: `${called.map((name) => `sysctl -w ${name}=0`).join("; ")}, or --capture redirect`,
    },
  ];
}

/** Rules of policy routing that come before ours and lead away what we have marked. */
async function otherRoutes(host: Host, method: CaptureMethod): Promise<readonly Finding[]> {
  const mark = method === "tproxy" ? outboundMark : returnMark;
  const found = new Set<string>();
  for (const flag of ["-4", "-6"]) {
    const ran = await attempt(host, "ip", [flag, "rule", "show"]);
    if (ran?.exitCode === 0) for (const rule of parseEarlierRules(ran.output, mark)) found.add(rule);
  }
  return [...found].slice(0, maxShown).map((rule) => ({
    message: `another routing rule comes before this node's and leads away what it has marked (0x${mark.toString(16)}): ${rule}`,
    remedy:
      "give that rule a later preference (ip rule add … pref 32765), or stop the node and start it again after that program",
  }));
}

/** @param text of `ip rule show`. @returns rules of others that take packets with our mark and come before our rule for it. */
export function parseEarlierRules(text: string, mark: number): readonly string[] {
  const rules = text.split("\n").flatMap((line) => {
    const [, pref, rule = ""] = /^(\d+):\s+(.*?)\s*$/.exec(line) ?? [];
    return pref === undefined ? [] : [{ pref: Number(pref), rule }];
  });
  const ownMark = `0x${mark.toString(16)}/0x${returnMask.toString(16)}`;
  const ours = rules.find(({ rule }) => rule.startsWith(`from all fwmark ${ownMark} lookup`));
  if (ours === undefined) return [];
  return rules
    .filter(({ pref, rule }) => pref > 0 && pref < ours.pref && takesMark(rule, mark))
    .map(({ pref, rule }) => `${pref}: ${rule}`);
}

/** A rule with any other condition is taken to be for something else. */
function takesMark(rule: string, mark: number): boolean {
  const [, not, condition = ""] =
    /^(not )?from all(.*?) (?:lookup|unreachable|blackhole|prohibit)\b/.exec(rule) ?? [];
  if (!/ (?:lookup|unreachable|blackhole|prohibit)\b/.test(rule) || !/^(?:not )?from all /.test(rule))
    return false;
  if (condition === "") return not === undefined;
  const [, value, mask = "0xffffffff"] = /^ fwmark (0x[0-9a-f]+)(?:\/(0x[0-9a-f]+))?$/.exec(condition) ?? [];
  if (value === undefined) return false;
  const isSame = (mark & Number(mask)) === (Number(value) & Number(mask));
  return not === undefined ? isSame : !isSame;
}

async function firewallFindings(
  host: Host,
  { inboundPort, hbonePort, method }: Inspected,
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const [port, isRedirected] of [
    // By TPROXY a connection keeps the port that its client has dialled, and a firewall judges it by that.
    ...(method === "redirect" ? ([[inboundPort, true]] as const) : []),
    [hbonePort, false],
  ] as const)
    for (const { where, example } of await firewallsThatDrop(host, port, isRedirected))
      findings.push(
        isRedirected
          ? {
              message: `${where} drops captured inbound connections: they arrive on port ${port}, whatever port their client dialled, so plain clients time out`,
              remedy: `accept them by the port that was dialled, for example: ${example}`,
            }
          : {
              message: `${where} drops connections to port ${port}, so no peer of the mesh reaches this host`,
              remedy: `accept port ${port}, for example: ${example}`,
            },
      );
  return findings;
}

/** NAT of other programs: where it hooks in, which port it takes, and where to. */
interface Forward {
  readonly program: string;
  readonly hook: string;
  readonly port: string | null;
  /** `172.30.0.2:80`; a bare port for another one of this host. */
  readonly target: string;
}

const savePrograms = ["iptables", "iptables-legacy", "ip6tables", "ip6tables-legacy"] as const;

async function readForwards(host: Host): Promise<readonly Forward[]> {
  const forwards: Forward[] = [];
  for (const program of savePrograms) {
    const ran = await attempt(host, `${program}-save`, ["-t", "nat"]);
    if (ran?.exitCode === 0) forwards.push(...parseIptablesNat(ran.output, program));
  }
  const ran = await attempt(host, "nft", ["-s", "list", "ruleset"]);
  if (ran?.exitCode === 0) forwards.push(...parseNftNat(ran.output));
  return forwards;
}

/** @param text of `iptables-save -t nat`. */
export function parseIptablesNat(text: string, program: string): readonly Forward[] {
  return text.split("\n").flatMap((line) => {
    const hook = /^-A (\S+) /.exec(line)?.[1];
    const target = /-j (?:DNAT --to-destination|REDIRECT --to-ports) (\S+)/.exec(line)?.[1];
    if (hook === undefined || target === undefined || hook.startsWith("FAIRLEAD_")) return [];
    return [{ program, hook, port: /--dport (\d+)/.exec(line)?.[1] ?? null, target }];
  });
}

/** @param text of `nft list ruleset`; what iptables keeps there is read from iptables itself. */
export function parseNftNat(text: string): readonly Forward[] {
  const forwards: Forward[] = [];
  let table = "";
  let hook = "";
  for (const line of text.split("\n")) {
    const begun = /^table (.*) \{/.exec(line)?.[1];
    if (begun !== undefined) table = begun;
    if (/^\s*chain /.test(line)) hook = "";
    hook = / hook (\w+) /.exec(line)?.[1]?.toUpperCase() ?? hook;
    const target = /(?:dnat (?:ip6? )?to |redirect to :)(\S+)/.exec(line)?.[1];
    if (target === undefined || ["inet fairlead", "ip nat", "ip6 nat"].includes(table)) continue;
    forwards.push({ program: "nft", hook, port: /tcp dport (\d+)/.exec(line)?.[1] ?? null, target });
  }
  return forwards;
}

async function forwardedPorts(host: Host): Promise<readonly Finding[]> {
  const forwards = await readForwards(host);
  return [...sentElsewhere(forwards), ...fromOutsideAlone(forwards)];
}

/** Docker publishes a container's port so. Its connections come from an address of this host: an answer to a foreign one would pass us by. */
function sentElsewhere(forwards: readonly Forward[]): readonly Finding[] {
  const found = new Set(
    forwards
      .filter(({ target }) => /[.:]/.test(target))
      .map(({ port, target }) => (port === null ? target : `${port} to ${target}`)),
  );
  if (found.size === 0) return [];
  const shown = [...found].slice(0, maxShown);
  const more = found.size > shown.length ? ` and ${found.size - shown.length} more` : "";
  return [
    {
      message: `other rules send ports of this host elsewhere (${shown.join(", ")}${more}): applications there see an address of this host in place of their caller's`,
      remedy:
        "nothing is needed; policy still goes by the caller's identity, and --original-source off does so for every application",
    },
  ];
}

/** A rule for packets from outside does not see the node's own connection to the application, which is made on this host. */
function fromOutsideAlone(forwards: readonly Forward[]): readonly Finding[] {
  return forwards
    .filter(
      ({ hook, port, target }) =>
        hook === "PREROUTING" &&
        port !== null &&
        /^\d+$/.test(target) &&
        !forwards.some((other) => other.hook === "OUTPUT" && other.port === port),
    )
    .slice(0, maxShown)
    .map(({ program, port, target }) => ({
      message: `another rule leads connections from outside to port ${port} on to port ${target}; capture takes them first, and the node's own connection to port ${port} is not led on`,
      remedy:
        program === "nft"
          ? `add the same for connections of this host, in a chain of type nat and hook output: oifname "lo" tcp dport ${port} redirect to :${target}`
          : `add the same for connections of this host: ${program} -t nat -A OUTPUT -o lo -p tcp --dport ${port} -j REDIRECT --to-ports ${target}`,
    }));
}

const maxShown = 8;
