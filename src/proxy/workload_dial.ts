/** The one door to a local application. It asks for a Permit: code that forgets authorization does not compile. */
import { assert } from "../base/assert.ts";
import { MeshError } from "../base/errors.ts";
import { formatSocketAddress, IpAddress, type SocketAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { ConnectOptions, Socket } from "../host/host.ts";
import { Permit } from "../policy/decision.ts";
import { applicationAddress, type NodeContext } from "./node_context.ts";

export interface WorkloadCall {
  readonly permit: Permit;
  /** The caller's address, shown to the application where that is set up; null where one connection is for several callers. */
  readonly source: SocketAddress | null;
  /** An application that takes PROXY headers listens on loopback, as ztunnel has it (`LOCALHOST_APP_TUNNEL`); the header says who calls. */
  readonly onLoopback: boolean;
}

type DialContext = Pick<NodeContext, "settings" | "applications" | "own" | "unshown" | "clock">;

/**
 * Connects to the application that the permit was given for, from the caller's own address where that works.
 *
 * @throws MeshError `connect_*`, blame upstream; `self_call` for a listener of this process.
 */
export async function connectWorkload(context: DialContext, call: WorkloadCall): Promise<Socket> {
  const { permit, source } = call;
  assert(Permit.isGenuine(permit), "a local workload is dialled with a Permit alone");
  const target = { ip: permit.connection.destinationIp, port: permit.connection.destinationPort };
  const { settings, applications: net, own, unshown } = context;
  const mapped = applicationAddress(context, target);
  const to =
    mapped === target && call.onLoopback
      ? { ip: IpAddress.loopback(target.ip.isIpv4), port: target.port }
      : mapped;
  // Routes refuse it before; the door does too, so that no path to it can forget.
  if (own.holds(to))
    throw new MeshError("self_call", "peer", `${formatSocketAddress(to)} is this node's own`);
  const plain = {
    to,
    timeoutMs: proxyLimits.connectTimeoutMs,
    ...(settings.mark === null ? {} : { mark: settings.mark }),
  };
  if (settings.originalSource === "off" || source === null || to !== target || !canShowSource(source, to))
    return net.connect(plain);
  const shown = { ...plain, from: { ip: source.ip, port: 0, transparent: true } };
  if (settings.originalSource === "on") return net.connect(shown);
  if (unshown.has(to)) return net.connect(plain);
  return connectShown(context, shown, plain);
}

/** Loopback ports stand for themselves, and a source of another family cannot be shown. */
function canShowSource(source: SocketAddress, target: SocketAddress): boolean {
  return source.ip.isIpv4 === target.ip.isIpv4 && !source.ip.isLoopback;
}

/**
 * From the caller's address, and after a moment without an answer from ours as well: behind a port that the host forwards (DNAT, a
 * port that Docker publishes) the answer goes to the caller itself, which knows of no such connection. Whichever answers first is taken.
 */
async function connectShown(
  { applications: net, clock, unshown }: DialContext,
  shown: ConnectOptions,
  plain: ConnectOptions,
): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  let isTaken = false;
  const take = (socket: Socket): void => {
    if (isTaken) socket.reset();
    isTaken = true;
    resolve(socket);
  };
  const second = clock.setTimer(
    proxyLimits.originalSourceWaitMs,
    () => void net.connect(plain).then(take, reject),
  );
  net.connect(shown).then(
    (socket) => {
      second.cancel();
      take(socket);
    },
    (error) => {
      second.cancel();
      const code = error instanceof MeshError ? error.code : null;
      // It may have been taken long ago: then this is how we know that the caller's address was the reason.
      if (code === "connect_timeout" && isTaken) unshown.add(shown.to);
      else if (code === "permission_denied") void net.connect(plain).then(take, reject);
      else if (code !== "connect_timeout") reject(error);
    },
  );
  return promise;
}
