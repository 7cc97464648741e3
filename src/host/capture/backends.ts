/** The programs that install capture rules, each by itself: put in, read back, taken out. */
import { MeshError } from "../../base/errors.ts";
import type { Host } from "../host.ts";
import { renderIptables, renderIptablesRemoval } from "./iptables.ts";
import { renderNftables, renderNftablesRemoval } from "./nftables.ts";
import { type BackendName, type CaptureOptions, distinct, type HostFacts } from "./options.ts";

export interface Ran {
  readonly exitCode: number;
  readonly output: string;
}

export interface Backend {
  readonly name: BackendName;
  /** What the program calls itself (`nftables v1.0.6 …`); null when it cannot be run. */
  version(host: Host): Promise<string | null>;
  /** Adds the rules to a host that has none. @throws MeshError when they are refused; some may be in then. */
  install(host: Host, options: CaptureOptions, facts: HostFacts): Promise<void>;
  /** Harmless where there is nothing. */
  remove(host: Host): Promise<void>;
  /** The rules as they are loaded now, without counters; "" for none, null when that cannot be told. */
  listing(host: Host): Promise<string | null>;
}

const nftables: Backend = {
  name: "nftables",
  version: (host) => versionOf(host, "nft"),
  async install(host, options, facts) {
    mustLoad("nft", await attempt(host, "nft", ["-f", "-"], renderNftables(options, facts)));
  },
  async remove(host) {
    await attempt(host, "nft", ["-f", "-"], renderNftablesRemoval());
  },
  async listing(host) {
    const ran = await attempt(host, "nft", ["-s", "list", "table", "inet", "fairlead"]);
    if (ran === null) return null;
    if (ran.exitCode === 0) return ran.output.trim();
    return /no such (file|table)/i.test(ran.output) ? "" : null;
  },
};

/** @param suffix which of the two interfaces to the kernel: "" is what the host's `iptables` is. */
function iptables(name: "iptables" | "iptables-legacy", suffix: "" | "-legacy"): Backend {
  const programs = [
    { isIpv4: true, program: `iptables${suffix}` },
    { isIpv4: false, program: `ip6tables${suffix}` },
  ];
  return {
    name,
    version: (host) => versionOf(host, `iptables${suffix}`),
    async install(host, options, facts) {
      for (const { isIpv4, program } of programs) {
        const rules = renderIptables(options, facts, isIpv4, (await savedLines(host, program)) ?? "");
        const ran = await attempt(host, `${program}-restore`, ["--noflush"], rules);
        // IPv6 may come back while the node runs, so its rules are wanted wherever the kernel takes them.
        if (!isIpv4 && !facts.ipv6 && ran?.exitCode !== 0) continue;
        mustLoad(`${program}-restore`, ran);
      }
    },
    async remove(host) {
      for (const { program } of programs) {
        const rules = renderIptablesRemoval((await savedLines(host, program)) ?? "");
        if (rules !== "") await attempt(host, `${program}-restore`, ["--noflush"], rules);
      }
    },
    async listing(host) {
      const parts: string[] = [];
      for (const { isIpv4, program } of programs) {
        const lines = await savedLines(host, program);
        // A host of IPv4 alone may have no ip6tables.
        if (lines === null && isIpv4) return null;
        if (lines !== null && lines !== "") parts.push(`# ${program}\n${lines}`);
      }
      return parts.join("\n");
    },
  };
}

/**
 * Ours alone, each table's after its `*name`: a host may have more rules than the output of a program that is kept. Counters are left out.
 *
 * @returns "" for none, null when the program cannot be run or may not read them.
 */
async function savedLines(host: Host, program: string): Promise<string | null> {
  // A program that may not read them says so by its exit code, which a pipe would hide: that is not the same as none.
  const read = `saved=$(${program}-save 2>/dev/null) || exit 3`;
  const ran = await attempt(host, "sh", [
    "-c",
    `${read}; printf '%s\\n' "$saved" | grep -E '^[*]|FAIRLEAD_'`,
  ]);
  if (ran === null || ran.exitCode > 1) return null;
  return ran.output
    .replace(/ \[\d+:\d+\]$/gm, "")
    .replace(/^\*\w+\n(?=\*|$(?![\s\S]))/gm, "")
    .trim();
}

export const backends: readonly Backend[] = [
  nftables,
  iptables("iptables", ""),
  iptables("iptables-legacy", "-legacy"),
];

/** The ports that loaded rules redirect to, whoever loaded them. */
export function redirectedPorts(listing: string): readonly number[] {
  return distinct(
    [...listing.matchAll(/(?:redirect to :|tproxy to :|--to-ports |--on-port )(\d+)/g)].map(([, port]) =>
      Number(port),
    ),
  );
}

async function versionOf(host: Host, program: string): Promise<string | null> {
  const ran = await attempt(host, program, ["--version"]);
  return ran?.exitCode === 0 ? (ran.output.trim().split("\n")[0] ?? program) : null;
}

/** @returns null when the program cannot be started. */
export async function attempt(
  host: Host,
  program: string,
  args: readonly string[],
  input?: string,
): Promise<Ran | null> {
  try {
    return await host.process.run(program, args, input);
  } catch {
    return null;
  }
}

function mustLoad(program: string, ran: Ran | null): void {
  if (ran === null) throw captureFailure(null, `${program} could not be run`);
  if (ran.exitCode !== 0) throw captureFailure(ran, `${program} refused the capture rules`);
}

/** `permission_denied` where the output says so, else `unsupported`. */
export function captureFailure(ran: Ran | null, message: string): MeshError {
  const detail = ran === null ? "" : `: ${ran.output.trim()}`;
  const forbidden = /permitted|permission denied|you must be root/i.test(detail);
  return new MeshError(forbidden ? "permission_denied" : "unsupported", "local", message + detail);
}
