/** `trafficPolicy` of a DestinationRule (Istio `validateTrafficPolicy` and what it calls). */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import {
  type ConnectionPool,
  defaultConnectionPool,
  type OutlierDetection,
  type RetryBudget,
} from "../../../traffic/destination_policy.ts";
import { type ObjectReader, type Problems, readInteger } from "../../reader.ts";
import type { PolicyParts, TrafficPolicySpec } from "../../traffic_specs.ts";
import { checkCount } from "../bounds.ts";
import { readLoadBalancer } from "./load_balancer.ts";
import { readFlag, readNumber, readTime } from "./scalars.ts";
import { readUpstreamTls } from "./upstream_tls.ts";

const portParts = ["loadBalancer", "connectionPool", "outlierDetection", "tls"];
const fields = {
  known: [...portParts, "portLevelSettings", "proxyProtocol", "retryBudget"],
  unsupported: { tunnel: "a waypoint does not apply it, Istio's neither" },
};
const most = 4_294_967_295;

/** @param namespace of the document: whose files are meant. */
export function readTrafficPolicy(
  owner: ObjectReader,
  namespace: string,
  problems: Problems,
): TrafficPolicySpec | null {
  const reader = owner.object("trafficPolicy", fields);
  if (reader === null) return null;
  if (reader.isEmpty) problems.add(reader.at, `${reader.name} is empty; remove it`);
  return {
    at: reader.at,
    ...readParts(reader, namespace, problems),
    ports: readPorts(reader, namespace, problems),
  };
}

function readParts(reader: ObjectReader, namespace: string, problems: Problems): PolicyParts {
  const proxyProtocol = reader.object("proxyProtocol", { known: ["version"] });
  const version = proxyProtocol?.choice("version", ["V1", "V2"])?.value ?? "V1";
  return {
    ...readLoadBalancer(reader, problems),
    pool: readPool(reader, problems),
    outlier: readOutlier(reader, problems),
    tls: readUpstreamTls(reader, namespace, problems),
    proxyProtocol: proxyProtocol === null ? null : version === "V2" ? 2 : 1,
    retryBudget: readBudget(reader, problems),
  };
}

function readPorts(
  policy: ObjectReader,
  namespace: string,
  problems: Problems,
): ReadonlyMap<number, PolicyParts> {
  const ports = new Map<number, PolicyParts>();
  const readers = policy.objects("portLevelSettings", { known: ["port", ...portParts] });
  checkCount(policy, "portLevelSettings", readers.length, trafficLimits.maxPortPolicies, problems);
  for (const reader of readers) {
    const port = reader.object("port", { known: ["number"] });
    const number = port?.integer("number", 1, 65535) ?? null;
    if (port?.has("number") !== true) problems.add(reader.at, `${reader.path("port.number")} is missing`);
    if (!portParts.some((field) => reader.has(field)))
      problems.add(reader.at, `${reader.name} says nothing but its port`);
    if (number === null) continue;
    if (ports.has(number.value))
      problems.add(number.at, `${policy.path("portLevelSettings")}: ${number.value} is given twice`);
    ports.set(number.value, readParts(reader, namespace, problems));
  }
  return ports;
}

function readPool(policy: ObjectReader, problems: Problems): ConnectionPool | null {
  const reader = policy.object("connectionPool", { known: ["tcp", "http"] });
  if (reader === null) return null;
  if (reader.isEmpty) problems.add(reader.at, `${reader.name} must have tcp or http`);
  return { ...defaultConnectionPool, ...readTcp(reader, problems), ...readHttp(reader, problems) };
}

function readTcp(pool: ObjectReader, problems: Problems): Partial<ConnectionPool> {
  const reader = pool.object("tcp", {
    known: ["maxConnections", "connectTimeout", "tcpKeepalive", "maxConnectionDuration", "idleTimeout"],
  });
  if (reader === null) return {};
  const keepalive = reader.object("tcpKeepalive", { known: ["probes", "time", "interval"] });
  const connections = count(reader, "maxConnections");
  return {
    maxConnections: connections ?? defaultConnectionPool.maxConnections,
    connectTimeoutMs: readTime(reader, "connectTimeout", problems) ?? defaultConnectionPool.connectTimeoutMs,
    keepalive:
      keepalive === null
        ? null
        : {
            probes: keepalive.integer("probes", 0, most)?.value ?? null,
            timeMs: readTime(keepalive, "time", problems),
            intervalMs: readTime(keepalive, "interval", problems),
          },
    maxConnectionDurationMs: readTime(reader, "maxConnectionDuration", problems),
    tcpIdleTimeoutMs:
      readTime(reader, "idleTimeout", problems, true) ?? defaultConnectionPool.tcpIdleTimeoutMs,
  };
}

function readHttp(pool: ObjectReader, problems: Problems): Partial<ConnectionPool> {
  const reader = pool.object("http", {
    known: [
      ...[
        "http1MaxPendingRequests",
        "http2MaxRequests",
        "maxRequestsPerConnection",
        "maxRetries",
        "idleTimeout",
      ],
      ...["h2UpgradePolicy", "useClientProtocol", "maxConcurrentStreams", "http2KeepAlive"],
    ],
  });
  if (reader === null) return {};
  const upgrade = reader.choice("h2UpgradePolicy", ["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"])?.value;
  const asClient = readFlag(reader, "useClientProtocol", problems) ?? false;
  if (asClient && upgrade === "UPGRADE")
    problems.add(
      reader.where("useClientProtocol"),
      `${reader.path("useClientProtocol")} cannot be given with h2UpgradePolicy UPGRADE`,
      "useClientProtocol",
    );
  const keepalive = reader.object("http2KeepAlive", { known: ["interval", "timeout"] });
  for (const field of ["interval", "timeout"])
    if (keepalive !== null && !keepalive.has(field))
      problems.add(keepalive.at, `${keepalive.path(field)} is missing`);
  return {
    maxPendingRequests: count(reader, "http1MaxPendingRequests") ?? most,
    maxRequests: count(reader, "http2MaxRequests") ?? most,
    maxRequestsPerConnection: reader.integer("maxRequestsPerConnection", 0, most)?.value ?? 0,
    maxRetries: count(reader, "maxRetries") ?? most,
    httpIdleTimeoutMs: readTime(reader, "idleTimeout", problems) ?? defaultConnectionPool.httpIdleTimeoutMs,
    http: asClient ? "as-client" : upgrade === "UPGRADE" ? "upgrade" : "as-port",
    maxConcurrentStreams: count(reader, "maxConcurrentStreams") ?? defaultConnectionPool.maxConcurrentStreams,
    http2Keepalive:
      keepalive === null
        ? null
        : {
            intervalMs: readTime(keepalive, "interval", problems) ?? 1_000,
            timeoutMs: readTime(keepalive, "timeout", problems) ?? 1_000,
          },
  };
}

/** 0 is as good as nothing (Istio `applyConnectionPool`). */
function count(reader: ObjectReader, field: string): number | null {
  const read = reader.integer(field, 0, most)?.value ?? 0;
  return read === 0 ? null : read;
}

function readOutlier(policy: ObjectReader, problems: Problems): OutlierDetection | null {
  const reader = policy.object("outlierDetection", {
    known: [
      ...["consecutive5xxErrors", "consecutiveGatewayErrors", "consecutiveLocalOriginFailures", "interval"],
      ...["splitExternalLocalOriginErrors", "baseEjectionTime", "maxEjectionPercent", "minHealthPercent"],
      ...["outlierDetectionHttpErrorCodes"],
    ],
    unsupported: { consecutiveErrors: "write consecutive5xxErrors or consecutiveGatewayErrors" },
  });
  if (reader === null) return null;
  const split = readFlag(reader, "splitExternalLocalOriginErrors", problems) ?? false;
  const local = reader.integer("consecutiveLocalOriginFailures", 0, most)?.value ?? 0;
  if (local > 0 && !split)
    problems.add(
      reader.where("consecutiveLocalOriginFailures"),
      `${reader.path("consecutiveLocalOriginFailures")} has no effect without splitExternalLocalOriginErrors`,
      "consecutiveLocalOriginFailures",
    );
  const codes = reader
    .list("outlierDetectionHttpErrorCodes")
    .flatMap(
      (node, index) =>
        readInteger(node, `${reader.path("outlierDetectionHttpErrorCodes")}[${index}]`, 100, 599, problems) ??
        [],
    );
  const ejected = reader.integer("maxEjectionPercent", 0, 100)?.value ?? 0;
  return {
    // Envoy's defaults (`OutlierDetection`); of gateway errors Istio enforces what is said alone.
    consecutive5xx: reader.integer("consecutive5xxErrors", 0, most)?.value ?? 5,
    consecutiveGatewayErrors: reader.integer("consecutiveGatewayErrors", 0, most)?.value ?? 0,
    consecutiveLocalOriginFailures: split ? local || 5 : 0,
    splitLocalOrigin: split,
    intervalMs: readTime(reader, "interval", problems) ?? 10_000,
    baseEjectionMs: readTime(reader, "baseEjectionTime", problems) ?? 30_000,
    maxEjectionPercent: ejected === 0 ? 10 : ejected,
    minHealthPercent: reader.integer("minHealthPercent", 0, 100)?.value ?? 0,
    httpErrorCodes: codes.length === 0 ? null : codes.map(({ value }) => ({ from: value, to: value })),
  };
}

function readBudget(policy: ObjectReader, problems: Problems): RetryBudget | null {
  const reader = policy.object("retryBudget", {
    known: ["percent", "minRetryConcurrency", "budgetInterval"],
  });
  if (reader === null) return null;
  return {
    percent: readNumber(reader, "percent", 0, 100, problems) ?? 20,
    minConcurrency: reader.integer("minRetryConcurrency", 0, most)?.value ?? 3,
    intervalMs: readTime(reader, "budgetInterval", problems, true) ?? 0,
  };
}
