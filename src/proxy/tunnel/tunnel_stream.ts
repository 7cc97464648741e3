/** One CONNECT on a tunnel that we dialled: which tunnel it takes, and its way to an answer. */
import { MeshError } from "../../base/errors.ts";
import type { IpAddress, SocketAddress } from "../../base/ip.ts";
import { ports } from "../../base/limits/ports.ts";
import type { Clock } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2Stream } from "../../wire/h2/stream.ts";
import type { NodeContext } from "../node_context.ts";
import { AnswerWait } from "./answer_wait.ts";
import type { ClientTunnel, TunnelTarget } from "./client_tunnel.ts";

/** @param to with the port that the route says: the default HBONE port is this node's, which a test may have moved. */
export function tunnelTarget(
  context: Pick<NodeContext, "settings" | "locals">,
  source: Workload,
  expected: readonly [SpiffeId, ...SpiffeId[]],
  to: SocketAddress,
): TunnelTarget {
  const port = to.port === ports.hbone ? context.settings.hbonePort : to.port;
  return {
    dial: { ip: to.ip, port },
    source: source.identity,
    expected,
    from: tunnelSource(context, source, to.ip),
  };
}

/**
 * On a host with several workloads each calls from its own address, so that the peer's address rules see who calls. Behind NAT
 * the workload's address is none of this host's, and the kernel chooses, as it does for ztunnel.
 */
function tunnelSource(
  { locals }: Pick<NodeContext, "locals">,
  source: Workload,
  to: IpAddress,
): IpAddress | null {
  return source.addresses.find((ip) => ip.isIpv4 === to.isIpv4 && locals.isHostAddress(ip)) ?? null;
}

export interface StreamCall {
  readonly headers: HeaderFields;
  /** The tunnel that was asked, before it has answered. */
  readonly onTunnel: (tunnel: ClientTunnel, wait: AnswerWait) => void;
  /** Another tunnel to the same place. */
  readonly another: () => Promise<ClientTunnel>;
}

/**
 * A tunnel may be told to go away between being chosen and being used: then once more on another, never after an answer.
 *
 * @throws MeshError as `AnswerWait.outcome`; `h2_refused`.
 */
export async function openTunnelStream(
  clock: Clock,
  first: ClientTunnel,
  call: StreamCall,
): Promise<{ readonly stream: H2Stream; readonly wait: AnswerWait; readonly tunnel: ClientTunnel }> {
  let tunnel = first;
  for (let attempt = 1; ; attempt++) {
    const wait = new AnswerWait();
    const stream = tunnel.request(call.headers, wait);
    if (stream !== null) {
      call.onTunnel(tunnel, wait);
      if ((await wait.outcome(clock, stream)) === "answered") return { stream, wait, tunnel };
    }
    if (attempt >= maxAttempts) {
      const message = stream === null ? "no tunnel had room for a stream" : "the tunnel refused the stream";
      throw new MeshError("h2_refused", "upstream", message);
    }
    tunnel = await call.another();
  }
}

const maxAttempts = 3;
