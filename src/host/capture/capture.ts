/**
 * Transparent capture: the rules that redirect this host's TCP to the node, set up and removed by the node itself. They
 * follow istio-cni's in-pod rules; what differs is said where it does. nftables where there is `nft`, else iptables.
 *
 * When the process is killed the rules stay and captured traffic is refused: it never silently leaves the mesh. The next
 * start, or `removeCapture`, cleans up. SSH is never touched in any case.
 */
import { MeshError } from "../../base/errors.ts";
import type { IpPrefix } from "../../base/prefix.ts";
import type { Host } from "../host.ts";
import { renderIptables, renderIptablesRemoval } from "./iptables.ts";
import { renderNftables, renderNftablesRemoval } from "./nftables.ts";

export interface CaptureOptions {
  /** Where outbound connections of this host's applications are redirected to. */
  readonly outboundPort: number;
  /** Where plain connections from outside are redirected to. */
  readonly inboundPort: number;
  /** SO_MARK of the node's own traffic. */
  readonly mark: number;
  /** Ports the node listens on (HBONE, metrics, readiness …): connections from outside reach them directly. */
  readonly ownPorts: readonly number[];
  /** When not empty, only outbound connections to these are captured. */
  readonly includeCidrs: readonly IpPrefix[];
  /** Outbound connections to these are not captured. */
  readonly excludeCidrs: readonly IpPrefix[];
  /** Destination ports that are captured neither way. */
  readonly excludePorts: readonly number[];
  /** Replies to connections that the node made from a client's own address come back to the node. */
  readonly originalSource: boolean;
}

/** istio-cni's mark of connections made under a client's address. */
export const returnMark = 0x111;
/** istio-cni's routing table and the preference of its rule. */
const returnTable = "100";
const rulePreference = "32764";

/**
 * Installs the rules in place of those of an earlier run.
 *
 * @returns a function that removes them. @throws MeshError `permission_denied` or `unsupported`, blame local; then nothing is left behind.
 */
export async function installCapture(host: Host, options: CaptureOptions): Promise<() => Promise<void>> {
  const families = await enabledFamilies(host);
  await removeCapture(host);
  try {
    await installRules(host, options, families);
    if (options.originalSource) for (const family of families) await installReturnPath(host, family);
  } catch (error) {
    await removeCapture(host);
    throw error;
  }
  return () => removeCapture(host);
}

/** Removes whatever an earlier run left, by either program. Harmless when there is nothing. */
export async function removeCapture(host: Host): Promise<void> {
  await attempt(host, "nft", ["-f", "-"], renderNftablesRemoval());
  for (const family of await enabledFamilies(host)) {
    for (const args of renderIptablesRemoval()) await attempt(host, family.iptables, args);
    await attempt(host, "ip", [family.flag, "rule", "del", ...returnRule()]);
    await attempt(host, "ip", [family.flag, "route", "flush", "table", returnTable]);
  }
}

interface Family {
  readonly isIpv4: boolean;
  readonly flag: "-4" | "-6";
  readonly iptables: "iptables" | "ip6tables";
  readonly anywhere: string;
}

const ipv4: Family = { isIpv4: true, flag: "-4", iptables: "iptables", anywhere: "0.0.0.0/0" };
const ipv6: Family = { isIpv4: false, flag: "-6", iptables: "ip6tables", anywhere: "::/0" };

async function enabledFamilies(host: Host): Promise<readonly Family[]> {
  return (await host.files.exists("/proc/net/if_inet6")) ? [ipv4, ipv6] : [ipv4];
}

async function installRules(host: Host, options: CaptureOptions, families: readonly Family[]): Promise<void> {
  const nft = await attempt(host, "nft", ["-f", "-"], renderNftables(options));
  if (nft?.exitCode === 0) return;
  // No nft, or a kernel or container without nf_tables: the older interface may still be there.
  for (const { iptables, isIpv4 } of families) {
    const result = await attempt(host, `${iptables}-restore`, ["--noflush"], renderIptables(options, isIpv4));
    if (result === null)
      throw failure(nft, "capture needs nft, or iptables and ip6tables; neither could be run");
    if (result.exitCode !== 0) throw failure(result, `${iptables}-restore refused the capture rules`);
  }
}

/** A reply goes to the client's address; with the mark it is delivered here, to the socket that holds that address. */
async function installReturnPath(host: Host, family: Family): Promise<void> {
  for (const args of [
    [family.flag, "route", "replace", "local", family.anywhere, "dev", "lo", "table", returnTable],
    [family.flag, "rule", "add", ...returnRule()],
  ]) {
    const result = await attempt(host, "ip", args);
    if (result === null) throw failure(null, "capture with original source needs the program ip");
    if (result.exitCode !== 0) throw failure(result, `ip ${args.join(" ")} failed`);
  }
}

function returnRule(): readonly string[] {
  return ["fwmark", `0x${returnMark.toString(16)}/0xfff`, "pref", rulePreference, "lookup", returnTable];
}

interface Ran {
  readonly exitCode: number;
  readonly output: string;
}

/** @returns null when the program cannot be started. */
async function attempt(
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

function failure(ran: Ran | null, message: string): MeshError {
  const detail = ran === null ? "" : `: ${ran.output.trim()}`;
  const forbidden = /permitted|permission denied|you must be root/i.test(detail);
  return new MeshError(forbidden ? "permission_denied" : "unsupported", "local", message + detail);
}
