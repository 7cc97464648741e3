/**
 * Every setting once: its name in a file, its flag, the environment names it is taken from (ztunnel's, where ztunnel has
 * one), its reader, its default and its help. The command line and the loader are both made of this table.
 */

import { configLimits } from "../base/limits/config.ts";
import { h2Limits } from "../base/limits/h2.ts";
import { workerLimits } from "../base/limits/host.ts";
import { pkiLimits } from "../base/limits/pki.ts";
import { ports } from "../base/limits/ports.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import { controlPlaneSettings } from "./control/settings.ts";
import { captureSettings } from "./node/capture_settings.ts";
import { dnsSettings } from "./node/dns_settings.ts";
import { identitySettings } from "./node/identity_settings.ts";
import { joinSettings } from "./node/join_settings.ts";
import { waypointSettings } from "./node/waypoint_settings.ts";
import { type ManySetting, many, type OneSetting, one, optional } from "./setting.ts";
import {
  readAddressOrOff,
  readApplication,
  readDuration,
  readEntryPoint,
  readInteger,
  readLocalPort,
  readNonEmpty,
  readPathOrOff,
  readPort,
  readText,
  readTrustDomain,
  readWord,
  readWorkloadName,
  writeDuration,
} from "./value.ts";

const { maxWindowBytes, minSvidLifetimeMs, maxDurationMs } = configLimits;
const path = "PATH";
const address = "IP:PORT|off";

const nodeSettings = {
  mesh: many(readNonEmpty, {
    flag: "--file",
    short: "-f",
    hint: path,
    group: "Mesh",
    help: "mesh documents: a file, or a folder of files; watched for changes",
  }),
  nodeName: one(readText, "", {
    flag: "--node",
    hint: "NAME",
    group: "Mesh",
    environment: ["NODE_NAME"],
    help: "this host's name in the documents",
  }),
  workloads: many(readWorkloadName, {
    flag: "--workload",
    hint: "NS/NAME",
    group: "Mesh",
    help: "a workload that runs here; by default every workload with an address or the node name of this host",
  }),
  network: one(readText, "", {
    flag: "--network",
    hint: "NAME",
    group: "Mesh",
    environment: ["NETWORK"],
    help: "this host's network",
  }),
  clusterId: optional(readNonEmpty, {
    flag: "--cluster-id",
    hint: "NAME",
    group: "Mesh",
    environment: ["CLUSTER_ID", "ISTIO_META_CLUSTER_ID"],
    help: "the cluster that workloads belong to; by default none, or Kubernetes in the mesh of an istiod",
  }),
  rootNamespace: one(readNonEmpty, "istio-system", {
    flag: "--root-namespace",
    hint: "NAME",
    group: "Mesh",
    help: "the namespace whose policies apply to the whole mesh",
  }),

  ...joinSettings,
  ...waypointSettings,
  ...dnsSettings,

  trustDomain: one(readTrustDomain, "cluster.local", {
    flag: "--trust-domain",
    hint: "NAME",
    group: "Identity",
    environment: ["TRUST_DOMAIN"],
    help: "the trust domain of every identity",
  }),
  stateDirectory: optional(readNonEmpty, {
    flag: "--state-directory",
    hint: path,
    group: "Identity",
    help: "the directory for the local CA, or for this host's certificate once it has joined; made at the first start",
  }),
  caCert: optional(readNonEmpty, {
    flag: "--ca-cert",
    hint: path,
    group: "Identity",
    help: "the certificate of a CA that signs in place of the local CA",
  }),
  caKey: optional(readNonEmpty, {
    flag: "--ca-key",
    hint: path,
    group: "Identity",
    help: "the private key of that CA",
  }),
  caChain: optional(readNonEmpty, {
    flag: "--ca-chain",
    hint: path,
    group: "Identity",
    help: "the certificates between that CA and the root",
  }),
  caRoot: optional(readNonEmpty, {
    flag: "--ca-root",
    hint: path,
    group: "Identity",
    help: "the trusted root certificates",
  }),
  crl: optional(readNonEmpty, {
    flag: "--crl",
    hint: path,
    group: "Identity",
    environment: ["CRL_PATH"],
    help: "revocation lists; watched for changes",
  }),
  svidLifetime: one(readDuration(minSvidLifetimeMs, pkiLimits.maxSvidLifetimeMs), "24h", {
    flag: "--svid-lifetime",
    hint: "DURATION",
    group: "Identity",
    environment: ["SECRET_TTL"],
    help: "how long a workload's certificate lives; renewed at half of it",
  }),
  cryptoProvider: one(readWord("runtime", "peculiar"), "runtime", {
    flag: "--crypto-provider",
    hint: "NAME",
    group: "Identity",
    help: "the implementation of Web Crypto: runtime or peculiar",
  }),
  ...identitySettings,

  bindInbound: one(readWord("addresses", "wildcard"), "addresses", {
    flag: "--bind",
    hint: "WHERE",
    group: "Traffic",
    help: "listen on the workloads' addresses (addresses) or on all (wildcard)",
  }),
  hbonePort: one(readPort, String(ports.hbone), {
    flag: "--hbone-port",
    hint: "PORT",
    group: "Traffic",
    help: "the port by which peers reach this host, and this host reaches them",
  }),
  outboundPort: one(readPort, String(ports.outbound), {
    flag: "--outbound-port",
    hint: "PORT",
    group: "Traffic",
    help: "the port where captured outbound traffic arrives",
  }),
  inboundPlaintextPort: one(readPort, String(ports.inboundPlaintext), {
    flag: "--inbound-plaintext-port",
    hint: "PORT",
    group: "Traffic",
    help: "the port where captured inbound plain text arrives",
  }),
  ...captureSettings,
  originalSource: one(readWord("auto", "on", "off"), "auto", {
    flag: "--original-source",
    hint: "MODE",
    group: "Traffic",
    environment: ["ENABLE_ORIG_SRC"],
    translate: { true: "on", false: "off" },
    help: "show the application its caller's address: auto, on or off",
  }),
  missingPolicy: one(readWord("deny", "skip"), "deny", {
    flag: "--missing-policy",
    hint: "MODE",
    group: "Traffic",
    help: "what to do when a workload names a policy that does not exist: deny, or skip as ztunnel does",
  }),
  applications: many(readApplication, {
    flag: "--application",
    hint: "IP:PORT=IP:PORT",
    group: "Traffic",
    help: "a workload's address and port, and the address where its application listens instead",
  }),

  socks5: many(readEntryPoint, {
    flag: "--socks5",
    hint: "IP:PORT[@NS/NAME]",
    group: "Ways in",
    help: "a SOCKS5 proxy into the mesh, as that workload",
  }),
  httpConnect: many(readEntryPoint, {
    flag: "--http-connect",
    hint: "IP:PORT[@NS/NAME]",
    group: "Ways in",
    help: "an HTTP CONNECT proxy into the mesh",
  }),
  localPorts: many(readLocalPort, {
    flag: "--map",
    hint: "IP:PORT=HOST:PORT[@NS/NAME]",
    group: "Ways in",
    help: "a local port that leads to one service",
  }),

  admin: one(readAddressOrOff, `127.0.0.1:${ports.admin}`, {
    flag: "--admin",
    hint: address,
    group: "Administration",
    help: "the administration port, which only reads: configuration, connections, documents",
  }),
  adminReads: one(readWord("anyone", "socket"), "anyone", {
    flag: "--admin-reads",
    hint: "WHO",
    group: "Administration",
    help: "who may read at that port: anyone on this host (istioctl needs it), or socket: only at the socket",
  }),
  adminSocket: optional(readPathOrOff, {
    flag: "--admin-socket",
    hint: "PATH|off",
    group: "Administration",
    help: "the Unix socket that reads and changes; the command line finds the default one by itself",
  }),
  adminGroup: optional(readNonEmpty, {
    flag: "--admin-group",
    hint: "NAME|GID",
    group: "Administration",
    help: "a group that may use that socket, besides root and the node's own user",
  }),
  metrics: one(readAddressOrOff, `0.0.0.0:${ports.metrics}`, {
    flag: "--metrics",
    hint: address,
    group: "Administration",
    help: "the port with metrics for Prometheus",
  }),
  readiness: one(readAddressOrOff, `0.0.0.0:${ports.readiness}`, {
    flag: "--readiness",
    hint: address,
    group: "Administration",
    help: "the port with the readiness probe",
  }),
  logFormat: one(readWord("text", "json"), "text", {
    flag: "--log-format",
    hint: "FORMAT",
    group: "Administration",
    environment: ["LOG_FORMAT"],
    translate: { plain: "text" },
    help: "text or json",
  }),
  logLevel: one(readWord("debug", "info", "warn", "error"), "info", {
    flag: "--log-level",
    hint: "LEVEL",
    group: "Administration",
    environment: ["LOG_LEVEL"],
    help: "debug, info, warn or error",
  }),
  drainDeadline: one(readDuration(0, maxDurationMs), writeDuration(proxyLimits.drainDeadlineMs), {
    flag: "--drain-deadline",
    hint: "DURATION",
    group: "Administration",
    environment: ["CONNECTION_TERMINATION_DEADLINE"],
    help: "how long open connections have to finish after SIGTERM",
  }),

  streamWindow: one(readInteger(65_535, maxWindowBytes), String(h2Limits.streamWindowBytes), {
    flag: "--h2-stream-window",
    hint: "BYTES",
    group: "Tuning",
    environment: ["HTTP2_STREAM_WINDOW_SIZE"],
    help: "the HTTP/2 receive window of a stream",
  }),
  connectionWindow: one(readInteger(65_535, maxWindowBytes), String(h2Limits.connectionWindowBytes), {
    flag: "--h2-connection-window",
    hint: "BYTES",
    group: "Tuning",
    environment: ["HTTP2_CONNECTION_WINDOW_SIZE"],
    help: "the HTTP/2 receive window of a connection",
  }),
  maxFrame: one(readInteger(16_384, 16_777_215), String(h2Limits.maxFrameBytes), {
    flag: "--h2-max-frame",
    hint: "BYTES",
    group: "Tuning",
    environment: ["HTTP2_FRAME_SIZE"],
    help: "the largest HTTP/2 frame that is accepted",
  }),
  poolStreams: one(readInteger(1, 10_000), String(proxyLimits.maxStreamsPerConnection), {
    flag: "--pool-max-streams",
    hint: "N",
    group: "Tuning",
    environment: ["POOL_MAX_STREAMS_PER_CONNECTION"],
    help: "how many streams one tunnel to a peer carries",
  }),
  poolUnused: one(readDuration(1_000, maxDurationMs), writeDuration(proxyLimits.poolUnusedMs), {
    flag: "--pool-unused",
    hint: "DURATION",
    group: "Tuning",
    environment: ["POOL_UNUSED_RELEASE_TIMEOUT"],
    help: "how long a tunnel stays open unused",
  }),
  workers: one(readInteger(1, workerLimits.maxWorkers), "1", {
    flag: "--workers",
    hint: "N",
    group: "Tuning",
    help: "processes that carry this node's traffic, one for each processor that it may use; 1: this process does it itself",
  }),
} as const;

export const settings = { ...nodeSettings, ...controlPlaneSettings } as const;

export type SettingName = keyof typeof settings;

/** What `up` and `node` take. */
export const nodeSettingNames = Object.keys(nodeSettings) as readonly SettingName[];

/** Of those, what only a host that joins has a use for. */
export const joinSettingNames = Object.keys(joinSettings) as readonly SettingName[];

/** What `control` takes: its own, and what it shares with nodes. */
export const controlPlaneSettingNames: readonly SettingName[] = [
  ...(["mesh", "network", "clusterId", "rootNamespace"] as const),
  ...(Object.keys(controlPlaneSettings) as SettingName[]),
  ...(["trustDomain", "stateDirectory", "caCert", "caKey", "caChain", "caRoot"] as const),
  ...(["svidLifetime", "cryptoProvider"] as const),
  ...(["metrics", "readiness", "logFormat", "logLevel", "drainDeadline"] as const),
];

/** What the readers made of every setting. */
export type SettingValues = {
  readonly [Name in SettingName]: (typeof settings)[Name] extends ManySetting<infer T>
    ? readonly T[]
    : (typeof settings)[Name] extends OneSetting<infer T>
      ? T
      : never;
};
