/** The bounds of gRPC's connections, and of HTTP/2 under them. */
import type { grpcLimits } from "../../base/limits/rpc.ts";
import type { H2Limits } from "../../wire/h2/connection_state.ts";

export type RpcLimits = { readonly [K in keyof typeof grpcLimits]: number };

const made = new WeakMap<RpcLimits, { server: Partial<H2Limits>; client: Partial<H2Limits> }>();

/** One object for all connections of a server or channel: the engine keeps its completed limits by it. */
export function h2LimitsOf(limits: RpcLimits, role: "server" | "client"): Partial<H2Limits> {
  const known = made.get(limits);
  if (known !== undefined) return known[role];
  const { maxFrameBytes, maxStreamsPerConnection } = limits;
  const both = {
    server: {
      streamWindowBytes: limits.streamWindowBytes,
      connectionWindowBytes: limits.connectionWindowBytes,
      maxFrameBytes,
      maxConcurrentStreams: maxStreamsPerConnection,
    },
    client: {
      streamWindowBytes: limits.channelStreamWindowBytes,
      connectionWindowBytes: limits.channelConnectionWindowBytes,
      maxFrameBytes,
    },
  };
  made.set(limits, both);
  return both[role];
}
