/** The Host over `node:net` and `node:tls`, for Node and Deno. `contract.ts` says what it has to keep; what it has not is `unsupported`. */
import { readFileSync } from "node:fs";
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Clock, Host, Network } from "../host.ts";
import { SystemClock, systemRandom } from "../system/clock.ts";
import { SystemFiles } from "../system/files.ts";
import { SocketHttpClient } from "../system/http_client.ts";
import { localAddresses, resolve } from "../system/names.ts";
import { nodeConnect } from "./connect.ts";
import { nodeListen } from "./listen.ts";
import { ResetTurns, type SocketContext } from "./native.ts";
import { nodeProcess } from "./process.ts";
import { nodeTls } from "./tls.ts";
import { bindUdp } from "./udp.ts";
import { NodeUnixNetwork } from "./unix.ts";
import { UnsentBytes } from "./unsent.ts";

export function createNodeHost(): Host {
  const clock = new SystemClock();
  const net = nodeNetwork(clock);
  return {
    name: "Deno" in globalThis ? "deno" : "node",
    clock,
    random: systemRandom,
    net,
    files: new SystemFiles(clock),
    process: nodeProcess(),
    http: new SocketHttpClient(clock, net.resolve),
    databases: {
      open: () => {
        throw unsupported("the control plane's database");
      },
    },
  };
}

function nodeNetwork(clock: Clock): Network {
  const context: SocketContext = {
    clock,
    resets: new ResetTurns(clock),
    unsent: new UnsentBytes(),
    maxOpen: maxOpen(),
    open: 0,
    lingering: 0,
  };
  const unix = new NodeUnixNetwork(context);
  return {
    listen: (options, onAccept) => nodeListen(context, options, onAccept),
    connect: (options) => nodeConnect(context, options),
    tlsServer: (socket, options) => nodeTls(context, socket, options, "server"),
    tlsClient: (socket, options) => nodeTls(context, socket, options, "client"),
    listenUnix: (path, mode, onAccept) => unix.listen(path, mode, onAccept),
    connectUnix: (path, timeoutMs) => unix.connect(path, timeoutMs),
    socketPair: () => unix.pair(),
    bindUdp,
    openDatagrams: () => {
      throw unsupported("datagrams to one receiver (systemd, syslog)");
    },
    peerCredentials: (socket) => unix.peerCredentials(socket),
    speech: () => null,
    originalDestination: () => null,
    localAddresses,
    resolve,
  };
}

function unsupported(what: string): MeshError {
  return new MeshError("unsupported", "local", `this runtime has no way to ${what}; Bun has`);
}

/** What connections may have of the descriptors; where the limit is not told there is none. */
function maxOpen(): number {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    const limit = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
    return limit - Math.min(hostLimits.reservedDescriptors, Math.floor(limit / 4));
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
