/** The configuration of a simulated node, as `config/load.ts` would make it. */
import type { Config } from "../../src/config/node/config.ts";
import type { LocalPort } from "../../src/config/value.ts";
import { address } from "./address.ts";
import { meshFolder } from "./documents.ts";
import type { ConnectionPlan, MachinePlan, Plan } from "./plan.ts";
import { bannerPort, serverPort, serviceHost, trustDomain } from "./workloads.ts";

export const pkiFolder = "/pki";
export const crlPath = `${pkiFolder}/crl.der`;
export const drainDeadlineMs = 3_000;
export const captureMark = 1337;
/** Where an application listens that its node fronts: on loopback, one port a workload. */
const fronted = 20_000;
const firstLocalPort = 9_000;

/** On a machine without capture the node stands at the workload's address and the application behind it. */
export function applicationListens(machine: MachinePlan, index: number, port: number) {
  const workload = machine.workloads[index];
  return machine.mode === "capture"
    ? address(workload?.address ?? "", port)
    : address("127.0.0.1", fronted + index * 10 + (port - serverPort));
}

/** One local port for each pair of a source on this machine and a destination. */
export function localPortOf({ source, destination }: Pick<ConnectionPlan, "source" | "destination">): number {
  const sourceIndex = source === null ? 0 : source.socks5Port - 1080;
  const destinationIndex = destination.machine * 10 + destination.socks5Port - 1080;
  return firstLocalPort + sourceIndex * 100 + destinationIndex;
}

export function nodeConfig(plan: Plan, machine: MachinePlan): Config {
  const isCapture = machine.mode === "capture";
  const name = (workload: { readonly namespace: string; readonly name: string }) =>
    `${workload.namespace}/${workload.name}`;
  return {
    meshPaths: [meshFolder],
    control: null,
    nodeName: machine.name,
    network: "",
    clusterId: "sim",
    trustDomain,
    rootNamespace: "istio-system",
    workloads: null,
    waypoints: [],
    layer7: null,
    waypointSettings: {
      middlewareDirectory: null,
      filesDirectory: null,
      accessLog: null,
      traces: null,
      logs: null,
      metrics: null,
      otlp: { protocol: "http/protobuf", headersPath: null, rootPath: null },
    },
    ca: {
      kind: "files",
      certificatePath: `${pkiFolder}/ca.pem`,
      keyPath: `${pkiFolder}/key.pem`,
      chainPath: null,
      rootPath: `${pkiFolder}/root.pem`,
    },
    crlPath,
    dns: null,
    adminReads: "anyone",
    adminSocket: null,
    cryptoProvider: "peculiar",
    svidLifetimeMs: plan.svidLifetimeMs,
    identitySocket: null,
    bindInbound: "addresses",
    ports: { hbone: 15008, outbound: 15001, inboundPlaintext: 15006 },
    capture: {
      mode: isCapture ? "redirect" : "off",
      mark: captureMark,
      includeCidrs: [],
      excludeCidrs: [],
      excludePorts: [],
      excludeInboundCidrs: [],
      excludeInterfaces: [],
      includePorts: [],
      includeUsers: [],
      excludeUsers: [],
      includeCgroups: [],
      excludeCgroups: [],
      confirm: null,
      containers: "exclude",
      backend: "auto",
    },
    originalSource: machine.originalSource ? "on" : "off",
    socks5: machine.workloads.map((workload) => ({
      listen: address("127.0.0.1", workload.socks5Port),
      workload: name(workload),
    })),
    httpConnect: machine.workloads.map((workload) => ({
      listen: address("127.0.0.1", workload.httpConnectPort),
      workload: name(workload),
    })),
    localPorts: machine.workloads.flatMap((source) =>
      plan.workloads.map(
        (destination): LocalPort => ({
          listen: address("127.0.0.1", localPortOf({ source, destination })),
          workload: name(source),
          target: { host: serviceHost(destination), port: serverPort },
        }),
      ),
    ),
    applications: isCapture
      ? []
      : machine.workloads.flatMap((workload, index) =>
          [serverPort, bannerPort].map((port) => ({
            workload: address(workload.address, port),
            listens: applicationListens(machine, index, port),
          })),
        ),
    admin: null,
    metrics: null,
    readiness: null,
    log: { format: "text", level: "info" },
    drainDeadlineMs,
    missingPolicy: "deny",
    h2: {
      streamWindowBytes: plan.streamWindowBytes,
      connectionWindowBytes: 4 * plan.streamWindowBytes,
      maxFrameBytes: 16_384,
    },
    workers: 1,
    pool: { maxStreamsPerConnection: plan.maxStreamsPerConnection, unusedMs: 60_000 },
  };
}
