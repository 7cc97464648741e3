/** What of this host gets in the way of capture, found by reading the rules of other programs: firewalls that drop, ports sent elsewhere. */
import type { Host } from "../host.ts";
import { attempt } from "./backends.ts";
import { firewallsThatDrop } from "./firewalls.ts";

export interface Finding {
  /** What is so, and what comes of it. */
  readonly message: string;
  /** What to do about it. */
  readonly remedy: string;
}

export interface Inspected {
  readonly inboundPort: number;
  readonly hbonePort: number;
}

/** Bounded by the output that is kept of a program. A rule that cannot be understood is taken to accept: no alarm without a reason. */
export async function inspectHost(host: Host, inspected: Inspected): Promise<readonly Finding[]> {
  return [...(await firewallFindings(host, inspected)), ...(await forwardedPorts(host))];
}

async function firewallFindings(
  host: Host,
  { inboundPort, hbonePort }: Inspected,
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const [port, isRedirected] of [
    [inboundPort, true],
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

const dnatRules: readonly (readonly [program: string, args: readonly string[]])[] = [
  ["nft", ["-s", "list", "ruleset"]],
  ["iptables-save", ["-t", "nat"]],
  ["iptables-legacy-save", ["-t", "nat"]],
  ["ip6tables-save", ["-t", "nat"]],
  ["ip6tables-legacy-save", ["-t", "nat"]],
];

/** Docker publishes a container's port so. Its connections come from an address of this host: an answer to a foreign one would pass us by. */
async function forwardedPorts(host: Host): Promise<readonly Finding[]> {
  const found = new Map<string, string>();
  for (const [program, args] of dnatRules) {
    const ran = await attempt(host, program, args);
    if (ran?.exitCode !== 0) continue;
    for (const line of ran.output.split("\n")) {
      const target = /(?:-j DNAT --to-destination |dnat (?:ip6? )?to )(\[?[0-9a-fA-F.:]+\]?(?::\d+)?)/.exec(
        line,
      )?.[1];
      const port = /(?:--dport |tcp dport )(\d+)/.exec(line)?.[1];
      if (target !== undefined)
        found.set(`${port} ${target}`, port === undefined ? target : `${port} to ${target}`);
    }
  }
  if (found.size === 0) return [];
  const shown = [...found.values()].slice(0, maxShown);
  const more = found.size > shown.length ? ` and ${found.size - shown.length} more` : "";
  return [
    {
      message: `other rules send ports of this host elsewhere (${shown.join(", ")}${more}): applications there see an address of this host in place of their caller's`,
      remedy:
        "nothing is needed; policy still goes by the caller's identity, and --original-source off does so for every application",
    },
  ];
}

const maxShown = 8;
