/** What capture is told, and the numbers that its rules share. */
import type { SocketAddress } from "../../base/ip.ts";
import type { IpPrefix } from "../../base/prefix.ts";

/** SSH stays reachable whatever else is wrong. */
export const neverCapturedPort = 22;
/** istio-cni's mark of connections made under a client's address (tools/istio-iptables/pkg/constants, `InpodTProxyMark`). */
export const returnMark = 0x111;
/** Which bits of a mark that is; the others belong to whoever else marks on this host. */
export const returnMask = 0xfff;

/** Of what a program of this host sends and TPROXY is to take: by it the packet is delivered here. Under the same mask. */
export const outboundMark = 0x112;
/** Of what came from outside and TPROXY has taken: no routing rule has it, and the guard lets it in. */
export const takenMark = 0x113;

export type CaptureMethod = "redirect" | "tproxy";

export type BackendName = "nftables" | "iptables" | "iptables-legacy";

export interface CaptureOptions {
  /** REDIRECT changes a connection's destination and connection tracking remembers it; TPROXY leaves it as it is. */
  readonly method: CaptureMethod;
  /** Which program installs the rules; `auto` takes the first that works and says which that was. */
  readonly backend: "auto" | BackendName;
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
  /** Users whose outbound connections alone are captured; empty: everyone's. */
  readonly includeUids: readonly number[];
  /** Users whose outbound connections are not captured. */
  readonly excludeUids: readonly number[];
  /** Cgroups whose outbound connections alone are captured, as `parseCgroupPath` has them; empty: everyone's. */
  readonly includeCgroups: readonly string[];
  /** Cgroups whose outbound connections are not captured. */
  readonly excludeCgroups: readonly string[];
  /** When not empty, only connections to these ports are captured, in and out. */
  readonly includePorts: readonly number[];
  /** Never captured outbound: the control plane, and whom this host asks for names. */
  readonly neverTo: readonly SocketAddress[];
  /** Outbound connections to these are not captured. */
  readonly excludeCidrs: readonly IpPrefix[];
  /** Destination ports that are captured neither way. */
  readonly excludePorts: readonly number[];
  /** Addresses of this host to which inbound connections are not captured. */
  readonly excludeInboundCidrs: readonly IpPrefix[];
  /** What comes in by these interfaces is not captured; `docker*` means all whose names begin so. */
  readonly excludeInterfaces: readonly string[];
  /** Whether connections of this host's own containers to the address of their bridge are captured; they are as local as loopback. */
  readonly containers: "exclude" | "capture";
  /** Replies to connections that the node made from a client's own address come back to the node. */
  readonly originalSource: boolean;
}

/** A cgroup that is there; one that is made again under the same path is another. */
export interface HostCgroup {
  readonly path: string;
  /** Where cgroups of version 2 are mounted. */
  readonly mount: string;
  readonly identity: string;
}

/** What the rules depend on besides the options; it changes while the node runs. */
export interface HostFacts {
  /** Whether IPv6 addresses can be used. */
  readonly ipv6: boolean;
  /** Bridges that lead to containers of this host. */
  readonly containerBridges: readonly string[];
  /**
   * TCP ports that local programs listen on, but for loopback. A packet of an open connection to one of them that was not redirected is of
   * a connection from before capture.
   */
  readonly listenedPorts: readonly number[];
  /** Those that the options name and that are there: a rule for any other would be refused. */
  readonly cgroups: readonly HostCgroup[];
}

/** Ports that inbound capture leaves alone, in order. */
export function directPorts(options: CaptureOptions): readonly number[] {
  const { inboundPort, outboundPort, ownPorts, excludePorts } = options;
  return distinct([neverCapturedPort, inboundPort, outboundPort, ...ownPorts, ...excludePorts]);
}

/** Each once, in order. */
export function distinct(ports: readonly number[]): readonly number[] {
  return [...new Set(ports)].sort((a, b) => a - b);
}

/** Listened ports that capture guards: those that are reached directly are left out. */
export function guardedPorts(options: CaptureOptions, facts: HostFacts): readonly number[] {
  const direct = new Set(directPorts(options));
  const { includePorts } = options;
  return distinct(facts.listenedPorts).filter(
    (port) => !direct.has(port) && (includePorts.length === 0 || includePorts.includes(port)),
  );
}

/** Of the cgroups that are named, those that are there; null when none is named, and every program is meant. */
export function presentCgroups(
  named: readonly string[],
  { cgroups }: HostFacts,
): readonly HostCgroup[] | null {
  return named.length === 0 ? null : cgroups.filter(({ path }) => named.includes(path));
}

/** The marks by which packets are routed to this host. */
export function routedMarks({ method, originalSource }: CaptureOptions): readonly number[] {
  return [...(originalSource ? [returnMark] : []), ...(method === "tproxy" ? [outboundMark] : [])];
}
