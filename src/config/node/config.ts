/** Everything one process is told at its start. `load.ts` makes it, complete and checked; defaults are not looked at later. */
import type { SocketAddress } from "../../base/ip.ts";
import type { LogLevel } from "../../base/log.ts";
import type { LogFormat } from "../../base/log_format.ts";
import type { IpPrefix } from "../../base/prefix.ts";
import type { ControlSettings } from "../../base/settings/node_control.ts";
import type { EntryPoint, LocalPort } from "../value.ts";

/** Of a host that is a waypoint. */
export interface WaypointConfig {
  /** Where the files are that Middleware documents name; null: there are none. */
  readonly middlewareDirectory: string | null;
  /** Where the files are that other documents name, in a folder for each namespace; null: they may name none. */
  readonly filesDirectory: string | null;
  /** A format string of Envoy's operators; null: lines with named fields. */
  readonly accessLog: string | null;
  /** Null: traces pass through as they come. */
  readonly traces: { readonly url: string; readonly samplingPercent: number } | null;
  /** A collector of log records of requests; null: there is none. */
  readonly logs: { readonly url: string } | null;
  /** A collector of all metrics of this node; null: there is none. */
  readonly metrics: { readonly url: string; readonly intervalMs: number } | null;
  /** How all three collectors are spoken to. */
  readonly otlp: {
    readonly protocol: "http/protobuf" | "http/json" | "grpc";
    /** A file of `Name: value` lines; null for none. */
    readonly headersPath: string | null;
    /** Roots by which collectors are known; null for the system's. */
    readonly rootPath: string | null;
  };
}

/** The DNS proxy of this host. */
export interface DnsConfig {
  readonly listen: SocketAddress;
  /** How programs of this host are led to it. */
  readonly setup: "off" | "auto" | "resolved" | "resolv-conf";
  /** Empty: those that the host asks already. */
  readonly upstreams: readonly SocketAddress[];
  readonly clusterDomain: string;
}

export interface Config {
  /** Files and folders with mesh documents; empty with a control plane. */
  readonly meshPaths: readonly string[];
  /** Where the mesh comes from instead of documents; null without one. */
  readonly control: ControlSettings | null;
  /** This host's name, as `fairlead.dev/node` of its workloads has it; "" is none. */
  readonly nodeName: string;
  /** "" is the default network. */
  readonly network: string;
  /** "" is none. */
  readonly clusterId: string;
  readonly trustDomain: string;
  /** Policies of this namespace hold for the whole mesh. */
  readonly rootNamespace: string;
  /** `namespace/name` of the workloads that run here; null: those with an address of this host, or with its node name. */
  readonly workloads: readonly string[] | null;
  /** `namespace/name` of the workloads that run here and are waypoints of this process. */
  readonly waypoints: readonly string[];
  /** `namespace/name` of the one workload whose tunnel has the waypoint's application inside; null for none. */
  readonly layer7: string | null;
  readonly waypointSettings: WaypointConfig;
  readonly ca: CaConfig;
  /** A file of revocation lists. */
  readonly crlPath: string | null;
  readonly cryptoProvider: "runtime" | "peculiar";
  readonly svidLifetimeMs: number;
  /** Identities for local programs; null: there are none. */
  readonly identitySocket: IdentitySocketConfig | null;
  /** `addresses`: inbound listeners on the local workloads' addresses alone; `wildcard`: on every address of this host. */
  readonly bindInbound: "addresses" | "wildcard";
  readonly ports: { readonly hbone: number; readonly outbound: number; readonly inboundPlaintext: number };
  readonly capture: CaptureConfig;
  /** Null: names are not answered. */
  readonly dns: DnsConfig | null;
  readonly originalSource: "auto" | "on" | "off";
  readonly socks5: readonly EntryPoint[];
  readonly httpConnect: readonly EntryPoint[];
  readonly localPorts: readonly LocalPort[];
  /** Where the application of a workload's address and port really listens, when not there. */
  readonly applications: readonly { readonly workload: SocketAddress; readonly listens: SocketAddress }[];
  /** Null is off. */
  readonly admin: SocketAddress | null;
  /** Who may read at the port of `admin`. */
  readonly adminReads: "anyone" | "socket";
  /** Null is off. */
  readonly adminSocket: AdminSocketConfig | null;
  readonly metrics: SocketAddress | null;
  readonly readiness: SocketAddress | null;
  readonly log: { readonly format: LogFormat; readonly level: LogLevel };
  readonly drainDeadlineMs: number;
  /** What happens to a connection whose workload names a policy that is not here; `skip` is ztunnel's behaviour. */
  readonly missingPolicy: "deny" | "skip";
  readonly h2: {
    readonly streamWindowBytes: number;
    readonly connectionWindowBytes: number;
    readonly maxFrameBytes: number;
  };
  readonly pool: { readonly maxStreamsPerConnection: number; readonly unusedMs: number };
  /** Processes that carry the traffic; 1: this one does. */
  readonly workers: number;
}

export type CaConfig =
  /** The control plane signs. */
  | { readonly kind: "control" }
  /** Made at the first start and kept in this directory. */
  | { readonly kind: "local"; readonly stateDirectory: string }
  /** Given: the signing certificate and its key, intermediates between it and the root, and the root. */
  | {
      readonly kind: "files";
      readonly certificatePath: string;
      readonly keyPath: string;
      readonly chainPath: string | null;
      readonly rootPath: string;
    };

export interface AdminSocketConfig {
  readonly path: string;
  /** Whether an operator has named it; otherwise a node starts without it where it cannot be had. */
  readonly isNamed: boolean;
  /** Name or number. */
  readonly group: string | null;
}

export interface IdentitySocketConfig {
  readonly path: string;
  readonly mode: number;
  /** `uid=1001=shop/cart`, at least one; read but for the trust domain. */
  readonly rules: readonly string[];
}

export interface CaptureConfig {
  readonly mode: "off" | "redirect" | "tproxy";
  /** SO_MARK of our own traffic, which is never captured. */
  readonly mark: number;
  /** When not empty, only outbound traffic to these is captured. */
  readonly includeCidrs: readonly IpPrefix[];
  readonly excludeCidrs: readonly IpPrefix[];
  /** Names or numbers; when not empty, only their outbound traffic is captured. */
  readonly includeUsers: readonly string[];
  readonly excludeUsers: readonly string[];
  /** Paths below the root of version 2, without slashes at their ends; when not empty, only their outbound traffic is captured. */
  readonly includeCgroups: readonly string[];
  readonly excludeCgroups: readonly string[];
  /** When not empty, only these ports are captured, in and out. */
  readonly includePorts: readonly number[];
  /** Never captured, neither way; port 22 never is in any case. */
  readonly excludePorts: readonly number[];
  /** Addresses of this host to which inbound traffic is not captured. */
  readonly excludeInboundCidrs: readonly IpPrefix[];
  /** Interfaces by which inbound traffic is not captured; `wg*` is all that begin so. */
  readonly excludeInterfaces: readonly string[];
  /** What this host's containers send to the address of their own bridge. */
  readonly containers: "exclude" | "capture";
  /** Null: nothing has to be confirmed. */
  readonly confirm: {
    /** Without a confirmation everything is put back after this. */
    readonly afterMs: number;
    /** Where it is kept what was confirmed. */
    readonly path: string;
  } | null;
  /** What installs the rules; `auto` is the first that works. */
  readonly backend: "auto" | "nftables" | "iptables" | "iptables-legacy";
}
