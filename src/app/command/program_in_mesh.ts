/** `fairlead run`: a node for one program, which is in a network of its own. Nothing else on the host is touched. */
import { MeshError } from "../../base/errors.ts";
import { IpAddress, type SocketAddress } from "../../base/ip.ts";
import type { RunRequest } from "../../cli/bindings.ts";
import type { Config } from "../../config/node/config.ts";
import { isOurs, readResolvConf, readSaved } from "../../dns/resolv_conf.ts";
import { resolvConfPath, savedPath } from "../../dns/resolver_setup.ts";
import { layOut } from "../../host/capture/private_rules.ts";
import type { Handover } from "../../host/handover.ts";
import type { Host, Network, ServeHttp } from "../../host/host.ts";
import type { AttachedProgram, PrivateNetwork } from "../../host/private_network.ts";
import { noWorkers } from "../../host/workers.ts";
import type { LocalWorkloads } from "../../proxy/local_workloads.ts";
import { NodeCapture } from "../node/capture.ts";
import type { NodePlace } from "../node/place.ts";
import { launchWords, type User } from "./launch.ts";
import { startServedNode } from "./node_start.ts";

/** Where names are answered in there. */
const dnsAddress = { ip: IpAddress.loopback(true), port: 53 };
/** RFC 7600 §4.8: for what has an address of its own in no other network. And one of ours, of RFC 4193. */
const placeholders = { ipv4: "192.0.0.8", ipv6: "fdfa:1e4d::1" } as const;

export interface ProgramsOutside {
  readonly serveHttp: ServeHttp;
  readonly handover: Handover;
  /** Null where a thread of this runtime has no way into another network. @throws MeshError `permission_denied`, `unsupported`. */
  readonly openPrivateNetwork: ((net: Network) => Promise<PrivateNetwork>) | null;
}

/** @returns the program's exit code. @throws MeshError when it could not be started. */
export async function runInMesh(host: Host, outside: ProgramsOutside, request: RunRequest): Promise<number> {
  const { openPrivateNetwork } = outside;
  if (openPrivateNetwork === null)
    throw new MeshError("unsupported", "local", "fairlead run needs the binary that npm run build makes");
  const network = await openPrivateNetwork(host.net);
  return await runIn(network, host, request, async (inner, config, place) => {
    const node = await startServedNode(inner, { ...outside, workers: noWorkers }, config, place);
    // A program's calls go nowhere before it listens.
    await node.listening;
    return node;
  });
}

/** The node as it was started. */
export interface ProgramsNode {
  readonly ended: Promise<void>;
  drain(): void;
}

export type StartNode = (host: Host, config: Config, place: NodePlace) => Promise<ProgramsNode>;

/** @param network is closed at the end. @param startNode resolves when it listens. */
export async function runIn(
  network: PrivateNetwork,
  host: Host,
  request: RunRequest,
  startNode: StartNode,
): Promise<number> {
  const { promise: stopped, resolve: stop } = Promise.withResolvers<number>();
  let program: AttachedProgram | null = null;
  const unsubscribe = host.process.onSignal((signal) => {
    if (program === null) stop(stoppedCode[signal]);
    else program.signal(signal);
  });
  try {
    const user = request.user === null ? null : await findUser(host, request.user);
    const config = configOf(request);
    const starting = startNode(hostOf(host, network, config), config, placeOf(host, network, request));
    // Before the program is there, a signal is meant for us; what has been set up ends with this process.
    const node = await Promise.race([starting, stopped]);
    if (typeof node === "number") return node;
    const words = await launchWords(host, {
      command: request.command,
      user,
      resolvConf: await ownResolvConf(host),
    });
    const started = network.start(words, host.process.environment);
    program = started;
    // Without its node the program has no way out, and nothing tells it.
    const endProgram = (): void => program?.signal("SIGTERM");
    void node.ended.then(endProgram, endProgram);
    const code = await started.exited;
    program = null;
    // What it wrote last is still on its way.
    node.drain();
    await node.ended.catch(() => {});
    return code;
  } finally {
    unsubscribe();
    network.close();
  }
}

const stoppedCode = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** What is not for one program is left out, wherever it was set. */
function configOf({ config, as }: RunRequest): Config {
  return {
    ...config,
    workers: 1,
    workloads: [as],
    waypoints: [],
    layer7: null,
    identitySocket: null,
    socks5: [],
    httpConnect: [],
    localPorts: [],
    applications: [],
    capture: { ...config.capture, mode: "redirect", confirm: null },
    dns: {
      upstreams: config.dns?.upstreams ?? [],
      clusterDomain: config.dns?.clusterDomain ?? "cluster.local",
      listen: dnsAddress,
      setup: "off",
    },
  };
}

/** The host, but for the listeners of the program; standard output is the program's alone. */
function hostOf(host: Host, network: PrivateNetwork, { ports }: Config): Host {
  const isInside = ({ ip, port }: SocketAddress): boolean =>
    port === ports.outbound ||
    port === ports.inboundPlaintext ||
    (port === dnsAddress.port && ip.equals(dnsAddress.ip));
  const { net, process } = host;
  return {
    ...host,
    net: {
      ...net,
      listen: (options, onAccept) =>
        (isInside(options.address) ? network.net : net).listen(options, onAccept),
      bindUdp: (address, onDatagram) => (isInside(address) ? network.net : net).bindUdp(address, onDatagram),
    },
    process: { ...process, writeOut: (text) => process.writeError(text) },
  };
}

function placeOf(host: Host, network: PrivateNetwork, { as, inbound }: RunRequest): NodePlace {
  return {
    applications: network.net,
    bindInbound: inbound ? "host addresses" : "none",
    services: [as],
    async capture({ capture, ports }, { locals, logger }) {
      if (locals.all.length === 0)
        throw new MeshError(
          "unknown_workload",
          "local",
          `the mesh has no workload ${as}, and no service ${as} with an endpoint on this host`,
        );
      const addresses = addressesOf(locals, host.net.localAddresses());
      await layOut(network, {
        backend: capture.backend,
        addresses,
        outboundPort: ports.outbound,
        dnsPort: dnsAddress.port,
      });
      if (inbound && !locals.all.some(({ addresses: own }) => own.some((ip) => locals.isBindable(ip))))
        logger.log("warn", "run", `${as} has no address of this host, so no peer reaches it here`);
      return new NodeCapture(
        { inForce: true, repairs: 0, pause: async () => {}, resume: () => {}, remove: async () => {} },
        null,
      );
    },
  };
}

/** A family that the host has no address of is left out: what was called there would fail only after it was accepted. */
export function addressesOf(
  locals: Pick<LocalWorkloads, "all">,
  hostAddresses: readonly IpAddress[],
): readonly IpAddress[] {
  const own = locals.all.flatMap(({ addresses }) => addresses);
  const usesIpv6 = [...own, ...hostAddresses].some(
    (ip) => !ip.isIpv4 && !ip.isLoopback && !/^fe[89ab]/.test(ip.text),
  );
  const added: readonly string[] = [
    ...(own.some((ip) => ip.isIpv4) ? [] : [placeholders.ipv4]),
    ...(usesIpv6 && !own.some((ip) => !ip.isIpv4) ? [placeholders.ipv6] : []),
  ];
  return [...own, ...added.flatMap((text) => IpAddress.parse(text) ?? [])];
}

async function ownResolvConf({ files }: Host): Promise<string> {
  const text = await files.readText(resolvConfPath).catch(() => "");
  const before = isOurs(text) ? readSaved(await files.readText(savedPath).catch(() => "")).text : text;
  const { search, options } = readResolvConf(before === "" ? text : before);
  return [
    `nameserver ${dnsAddress.ip.text}`,
    ...(search.length === 0 ? [] : [`search ${search.join(" ")}`]),
    ...(options.length === 0 ? [] : [`options ${options.join(" ")}`]),
    "",
  ].join("\n");
}

/** Of /etc/passwd alone, by name or number. @throws MeshError `configuration`. */
async function findUser({ files }: Host, wanted: string): Promise<User> {
  for (const line of (await files.readText("/etc/passwd").catch(() => "")).split("\n")) {
    const [name = "", , uid = "", gid = "", , home = "/"] = line.split(":");
    if ((name === wanted || uid === wanted) && /^\d+$/.test(uid) && /^\d+$/.test(gid))
      return { name, uid: Number(uid), gid: Number(gid), home };
  }
  throw new MeshError("configuration", "local", `--user: there is no user ${wanted} in /etc/passwd`);
}
