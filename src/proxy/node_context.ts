/** What the flows of one node share. `app/node/` builds it once and hands it to each. */
import { formatSocketAddress, type SocketAddress } from "../base/ip.ts";
import type { Logger } from "../base/log.ts";
import type { Clock, Network, Random } from "../host/host.ts";
import type { VirtualAddresses } from "../mesh/names/virtual_addresses.ts";
import type { MeshStore } from "../mesh/store/store.ts";
import type { SecretManager } from "../pki/svid/secrets.ts";
import type { TrustVerifier } from "../pki/trust/verifier.ts";
import type { PolicyEngine } from "../policy/policy_engine.ts";
import type { H2Limits } from "../wire/h2/connection_state.ts";
import type { ConnectionRegistry } from "./connections.ts";
import type { LocalWorkloads } from "./local_workloads.ts";
import type { Names } from "./names/names.ts";
import type { OwnListeners } from "./own_listeners.ts";
import type { Telemetry } from "./telemetry.ts";
import type { UnshownSources } from "./unshown_sources.ts";

export interface NodeSettings {
  /** This node's network; "" is the default one. */
  readonly network: string;
  /** The port peers are dialled on and inbound HBONE is accepted on; 15008 everywhere but in tests. */
  readonly hbonePort: number;
  /** SO_MARK on everything we dial, so that capture leaves it alone; null without capture. */
  readonly mark: number | null;
  /** Whether the application sees the caller's address: `auto` uses it where the host permits. */
  readonly originalSource: "auto" | "on" | "off";
  /** What HBONE connections of this node use instead of the engine's own bounds. */
  readonly h2: Partial<H2Limits>;
  /** Streams opened on one tunnel. */
  readonly maxStreamsPerConnection: number;
  /** A tunnel without streams is closed after this. */
  readonly poolUnusedMs: number;
  /** Where the application of a workload's address and port really listens, when not there; by `ip:port`. */
  readonly applicationAddresses: ReadonlyMap<string, SocketAddress>;
  /** Processes that carry this node's traffic: each has this share of what is bounded for all of it. */
  readonly workers: number;
}

/** Our own certificates, wherever they are made. */
export type Svids = Pick<SecretManager, "svid" | "current" | "subscribe">;

export interface NodeContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly net: Network;
  /** Where the applications of this host's workloads are dialled: the host itself, or the network of one program. */
  readonly applications: Pick<Network, "connect">;
  readonly logger: Logger;
  readonly store: MeshStore;
  readonly engine: PolicyEngine;
  readonly secrets: Svids;
  readonly trust: TrustVerifier;
  readonly locals: LocalWorkloads;
  readonly own: OwnListeners;
  readonly unshown: UnshownSources;
  readonly names: Names;
  /** Addresses that stand for names; null where none are given out. */
  readonly virtual: VirtualAddresses | null;
  readonly connections: ConnectionRegistry;
  readonly telemetry: Telemetry;
  readonly settings: NodeSettings;
}

/** Where the application behind an address of this host really listens. */
export function applicationAddress(
  { settings }: Pick<NodeContext, "settings">,
  target: SocketAddress,
): SocketAddress {
  return settings.applicationAddresses.get(formatSocketAddress(target)) ?? target;
}
