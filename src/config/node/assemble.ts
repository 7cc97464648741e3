/** Single settings → Config: what only holds or fails together is checked here. */

import { formatSocketAddress, type SocketAddress } from "../../base/ip.ts";
import { captureLimits } from "../../base/limits/capture.ts";
import { type SettingName, type SettingValues, settings } from "../settings.ts";
import type { ConfigError, ConfigSources } from "../sources.ts";
import { defaultStateDirectory } from "../state_directory.ts";
import { adminSocketPaths } from "./admin_socket.ts";
import { assembleControl } from "./assemble_join.ts";
import type { AdminSocketConfig, CaConfig, Config, IdentitySocketConfig, WaypointConfig } from "./config.ts";
import { assembleDns } from "./dns_settings.ts";

export type LoadedConfig =
  | { readonly config: Config; readonly errors: readonly [] }
  | { readonly config: null; readonly errors: readonly ConfigError[] };

export function assembleConfig(
  values: SettingValues,
  environment: ConfigSources["environment"],
): LoadedConfig {
  const errors: ConfigError[] = [];
  const directory = values.stateDirectory ?? defaultStateDirectory(environment);
  const control = assembleControl(values, environment, directory, errors);
  const ca = assembleCa(values, directory, errors);
  const identitySocket = assembleIdentitySocket(values, errors);
  const adminSocket = assembleAdminSocket(values, environment, errors);
  checkListeners(values, errors);
  const waypointSettings = assembleWaypoint(values, errors);
  if (values.l7 !== null && values.waypoints.length > 0)
    errors.push({
      where: settings.l7.flag,
      message: "cannot be given with --waypoint: run the waypoint as a process of its own",
    });
  for (const name of ["captureCgroups", "captureExcludeCgroups"] as const)
    if (values[name].length > captureLimits.maxCgroups)
      errors.push({
        where: settings[name].flag,
        message: `names ${values[name].length} cgroups; at most ${captureLimits.maxCgroups} can be told apart`,
      });
  checkWorkers(values, errors);
  if (values.captureConfirm !== null && values.capture === "off")
    errors.push({ where: settings.captureConfirm.flag, message: "needs --capture" });
  if (values.captureConfirm !== null && adminSocket === null)
    errors.push({
      where: settings.captureConfirm.flag,
      message: "cannot be given with --admin-socket off: nobody could confirm",
    });
  if (values.mesh.length === 0 && values.control === null)
    errors.push({
      where: settings.mesh.flag,
      message: "is missing: name at least one file or folder of mesh documents",
    });
  if (ca === null || errors.length > 0) return { config: null, errors };
  const config: Config = {
    meshPaths: values.mesh,
    control,
    nodeName: values.nodeName,
    network: values.network,
    // Our own control plane tells its own; a real istiod, which tells none, has this name unless it was given another.
    clusterId: values.clusterId ?? (control === null ? "" : "Kubernetes"),
    trustDomain: values.trustDomain,
    rootNamespace: values.rootNamespace,
    workloads: values.workloads.length === 0 ? null : values.workloads,
    waypoints: values.waypoints,
    layer7: values.l7,
    waypointSettings,
    ca,
    crlPath: values.crl,
    cryptoProvider: values.cryptoProvider,
    svidLifetimeMs: values.svidLifetime,
    identitySocket,
    bindInbound: values.bindInbound,
    ports: {
      hbone: values.hbonePort,
      outbound: values.outboundPort,
      inboundPlaintext: values.inboundPlaintextPort,
    },
    capture: {
      mode: values.capture,
      mark: values.captureMark,
      includeCidrs: values.captureInclude,
      excludeCidrs: values.captureExclude,
      excludePorts: values.captureExcludePorts,
      includePorts: values.capturePorts,
      includeUsers: values.captureUsers,
      excludeUsers: values.captureExcludeUsers,
      includeCgroups: values.captureCgroups,
      excludeCgroups: values.captureExcludeCgroups,
      excludeInboundCidrs: values.captureExcludeInbound,
      excludeInterfaces: values.captureExcludeInterfaces,
      containers: values.captureContainers,
      backend: values.captureBackend,
      confirm:
        values.captureConfirm === null
          ? null
          : { afterMs: values.captureConfirm, path: `${directory}/capture-confirmed` },
    },
    dns: assembleDns(values),
    originalSource: values.originalSource,
    socks5: values.socks5,
    httpConnect: values.httpConnect,
    localPorts: values.localPorts,
    applications: values.applications,
    admin: values.admin,
    adminReads: values.adminReads,
    adminSocket,
    metrics: values.metrics,
    readiness: values.readiness,
    log: { format: values.logFormat, level: values.logLevel },
    drainDeadlineMs: values.drainDeadline,
    missingPolicy: values.missingPolicy,
    h2: {
      streamWindowBytes: values.streamWindow,
      connectionWindowBytes: values.connectionWindow,
      maxFrameBytes: values.maxFrame,
    },
    pool: { maxStreamsPerConnection: values.poolStreams, unusedMs: values.poolUnused },
    workers: values.workers,
  };
  return { config, errors: [] };
}

/** What would have to be one and the same in all of them, and is not yet. */
function checkWorkers(values: SettingValues, errors: ConfigError[]): void {
  if (values.workers === 1) return;
  const alone = [
    { isGiven: values.waypoints.length > 0, setting: settings.waypoints, what: "a waypoint" },
    { isGiven: values.l7 !== null, setting: settings.l7, what: "HTTP inside the tunnel" },
    { isGiven: assembleDns(values) !== null, setting: settings.dns, what: "the DNS proxy" },
  ];
  for (const { isGiven, setting, what } of alone)
    if (isGiven)
      errors.push({
        where: settings.workers.flag,
        message: `cannot be given with ${setting.flag}: ${what} is for one process`,
      });
}

function assembleCa(values: SettingValues, directory: string, errors: ConfigError[]): CaConfig | null {
  const { caCert, caKey, caChain, caRoot, stateDirectory, control } = values;
  if (caCert === null && caKey === null && caChain === null && caRoot === null)
    return control === null ? { kind: "local", stateDirectory: directory } : { kind: "control" };
  if (caCert !== null && caKey !== null && caRoot !== null) {
    if (stateDirectory === null || control !== null)
      return { kind: "files", certificatePath: caCert, keyPath: caKey, chainPath: caChain, rootPath: caRoot };
    errors.push({
      where: settings.stateDirectory.flag,
      message: "cannot be given with --ca-cert: it is for the local CA",
    });
    return null;
  }
  const needed = (["caCert", "caKey", "caRoot"] as const).filter((name) => values[name] === null);
  for (const name of needed)
    errors.push({
      where: settings[name].flag,
      message: "is missing: a CA in files needs --ca-cert, --ca-key and --ca-root",
    });
  return null;
}

/** Either alone is a lost word: a socket on which no program gets anything, or rules for no socket. */
function assembleIdentitySocket(values: SettingValues, errors: ConfigError[]): IdentitySocketConfig | null {
  const { identitySocket: path, identityFor: rules, identitySocketMode: mode } = values;
  if (path === null) {
    if (rules.length > 0)
      errors.push({ where: settings.identityFor.flag, message: "needs --identity-socket PATH" });
    return null;
  }
  if (rules.length === 0)
    errors.push({
      where: settings.identitySocket.flag,
      message: "needs --identity-for: without it, no program gets an identity there",
    });
  return { path, mode, rules };
}

/** A group needs a directory that its members may enter, which the one of the state is not. */
function assembleAdminSocket(
  values: SettingValues,
  environment: ConfigSources["environment"],
  errors: ConfigError[],
): AdminSocketConfig | null {
  const { adminSocket, adminGroup: group, adminReads, admin } = values;
  if (adminSocket !== null && adminSocket.path === null) {
    if (group !== null) errors.push({ where: settings.adminGroup.flag, message: "needs --admin-socket" });
    if (adminReads === "socket")
      errors.push({
        where: settings.adminReads.flag,
        message: "socket cannot be given with --admin-socket off: nothing could be read",
      });
    return null;
  }
  if (adminSocket !== null) return { path: adminSocket.path ?? "", isNamed: true, group };
  const [path] = adminSocketPaths(environment, admin);
  if (group !== null && (environment.RUNTIME_DIRECTORY ?? "") === "")
    errors.push({
      where: settings.adminGroup.flag,
      message: "needs --admin-socket PATH, in a directory that its members may enter",
    });
  return { path, isNamed: false, group };
}

/** Two listeners on one address would end in "address in use", naming neither. */
function checkListeners(values: SettingValues, errors: ConfigError[]): void {
  const taken = new Map<string, string>();
  const take = (name: SettingName, address: SocketAddress | null): void => {
    if (address === null || address.port === 0) return;
    const text = formatSocketAddress(address);
    const other = taken.get(text);
    if (other === undefined) taken.set(text, settings[name].flag);
    else errors.push({ where: settings[name].flag, message: `${text} is already taken by ${other}` });
  };
  take("admin", values.admin);
  take("metrics", values.metrics);
  take("readiness", values.readiness);
  take("dns", values.dns);
  for (const name of ["socks5", "httpConnect", "localPorts"] as const)
    for (const entry of values[name]) take(name, entry.listen);
  const ownPorts = [values.hbonePort, values.outboundPort, values.inboundPlaintextPort];
  if (new Set(ownPorts).size < ownPorts.length)
    errors.push({
      where: settings.hbonePort.flag,
      message: "the HBONE, outbound and inbound plain-text ports must differ",
    });
}

function assembleWaypoint(values: SettingValues, errors: ConfigError[]): WaypointConfig {
  const { waypointOtlpProtocol: protocol } = values;
  const collector = (name: "waypointTraces" | "waypointLogs" | "waypointMetrics", path: string) => {
    const text = values[name];
    if (text === null) return null;
    const url = new URL(text);
    // A base address gets the path of its signal (OTLP Specification, "OTLP/HTTP Request"); a call has its method instead.
    if (protocol !== "grpc" && url.pathname === "/") url.pathname = path;
    if (protocol === "grpc" && `${url.pathname}${url.search}` !== "/")
      errors.push({
        where: settings[name].flag,
        message: `has a path, which gRPC has no use for: ${url.protocol}//${url.host}`,
      });
    return { url: url.href };
  };
  const traces = collector("waypointTraces", "/v1/traces");
  const metrics = collector("waypointMetrics", "/v1/metrics");
  return {
    middlewareDirectory: values.waypointMiddleware,
    filesDirectory: values.waypointFiles,
    accessLog: values.waypointAccessLog,
    traces: traces === null ? null : { ...traces, samplingPercent: values.waypointTraceSampling },
    logs: collector("waypointLogs", "/v1/logs"),
    metrics: metrics === null ? null : { ...metrics, intervalMs: values.waypointMetricsInterval },
    otlp: {
      protocol,
      headersPath: values.waypointOtlpHeaders,
      rootPath: values.waypointOtlpRoot,
    },
  };
}
