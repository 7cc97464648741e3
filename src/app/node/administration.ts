/** What administration is handed of a running node: words and numbers, nothing it could hold on to. */
import { createAdminApp, createSocketAdminApp } from "../../admin/node/app.ts";
import type {
  AdminSources,
  CertificateEntry,
  ConnectionEntry,
  IdentitySocketEntry,
  PartyEntry,
  UpgradeSource,
} from "../../admin/node/sources.ts";
import { createMetricsApp, createReadinessApp } from "../../admin/probes.ts";
import { formatAddress, type SocketAddress } from "../../base/ip.ts";
import type { Config } from "../../config/node/config.ts";
import type { Host } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import { dumpMesh } from "../../mesh/codec/dump.ts";
import { serviceKey } from "../../mesh/service.ts";
import type { Workload } from "../../mesh/workload.ts";
import { decodePemLabel, encodePem } from "../../pki/der/pem.ts";
import type { SecretEntry } from "../../pki/svid/secrets.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import type { Connection } from "../../proxy/connections.ts";
import type { Party } from "../../proxy/parties.ts";
import type { HttpApp, Ports } from "../served.ts";
import { versionFields } from "../version.ts";
import { openAdminSocket } from "./admin_socket.ts";
import type { IdentitySocket } from "./identity.ts";
import type { PreparedNode } from "./node.ts";
import type { NodeWorkers } from "./workers/node_workers.ts";

/** Opens the ports and the socket that are configured. */
export async function serveAdministration(
  host: Host,
  node: PreparedNode,
  config: Config,
  logger: LogWriter,
  ports: Ports,
  actions: AdminActions,
): Promise<void> {
  const sources = adminSources(node, config, logger, actions);
  const serve = (address: SocketAddress | null, app: HttpApp): void => {
    const opened = ports.serve(address, app);
    // Whoever reached it through the tunnel would be local.
    if (opened !== null) ports.onClose(node.context.own.add(opened));
  };
  const socketPath = await openAdminSocket(
    host,
    config.adminSocket,
    logger,
    ports,
    createSocketAdminApp(sources),
  );
  serve(config.admin, createAdminApp(sources, { reads: config.adminReads, socketPath }));
  serve(config.metrics, createMetricsApp(sources));
  serve(config.readiness, createReadinessApp(sources));
}

/** What administration may have the program do. */
export interface AdminActions {
  readonly drain: () => void;
  readonly upgrades: UpgradeSource;
}

function adminSources(
  node: PreparedNode,
  config: Config,
  logger: LogWriter,
  { drain, upgrades }: AdminActions,
): AdminSources {
  const { context } = node;
  return {
    meshDump: () => dumpMesh(context.store),
    localWorkloads: () =>
      context.locals.all.map(({ uid, name, namespace, identity }) => ({
        uid,
        name,
        namespace,
        trustDomain: identity.trustDomain,
        serviceAccount: identity.serviceAccount,
      })),
    config: () => config,
    version: () => versionFields(node.hostName),
    certificates: () =>
      context.secrets.entries().map((entry) => certificateEntry(entry, context.trust.rootsPem)),
    *connections() {
      if (node.workers !== null) yield* node.workers.connections.listed;
      for (const connection of context.connections) yield connectionEntry(connection, context.clock.now());
    },
    openConnections: () => node.workers?.connections.total ?? context.connections.size,
    ...(node.workers === null ? {} : refreshed(node.workers)),
    documents: () => node.documents(),
    explain: async (question) => (await import("./explain.ts")).explainOnNode(node, config, question),
    control: () => node.control(),
    identitySocket: () => identitySocketEntry(node.identitySocket),
    metrics: node.workers?.metrics ?? node.metrics,
    pending: () => node.pending(),
    logLevel: () => logger.level,
    setLogLevel: (level, caller) => {
      logger.log("info", "admin", "log level changed", { from: logger.level, to: level, by: caller });
      logger.level = level;
      node.workers?.setLogLevel(level);
    },
    watchRecords: (listener) => node.workers?.watchRecords(listener) ?? logger.watch("access", listener),
    confirmCapture: (caller) => node.confirmCapture(caller),
    drain: (caller) => {
      logger.log("info", "admin", "asked to drain and stop", { by: caller });
      drain();
    },
    upgrades,
  };
}

function refreshed(workers: NodeWorkers): Pick<AdminSources, "refresh"> {
  return { refresh: () => workers.refresh() };
}

function certificateEntry(entry: SecretEntry, rootsPem: string): CertificateEntry {
  return {
    identity: entry.id.uri,
    state: entry.state,
    error: entry.error?.message ?? null,
    chain: entry.svid === null ? [] : describeCertificates(entry.svid.certificateChainPem),
    roots: describeCertificates(rootsPem),
  };
}

function identitySocketEntry(socket: IdentitySocket | null): IdentitySocketEntry | null {
  if (socket === null) return null;
  const rules = socket.rules.map(({ uid, gid, id }) => ({ uid, gid, identity: id.uri }));
  return { path: socket.path, rules, ...socket.status() };
}

/** As administration shows it. */
export function connectionEntry(connection: Connection, now: number): ConnectionEntry {
  const { record } = connection;
  const { direction, source, destination } = record.parties;
  const outbound = direction === "outbound";
  return {
    id: connection.id,
    direction,
    source: partyEntry(source, source.identity?.uri ?? null),
    destination: {
      ...partyEntry(destination, record.verifiedDestination?.uri ?? null),
      hboneAddress: destination.hboneAddress,
      service: destination.service === null ? null : serviceKey(destination.service),
    },
    ageMs: Math.round(now - record.openedAtMs),
    bytesSent: outbound ? record.bytesToUpstream : record.bytesToDownstream,
    bytesReceived: outbound ? record.bytesToDownstream : record.bytesToUpstream,
    policy: record.allowedBy,
  };
}

function partyEntry(party: Party, identity: string | null): PartyEntry {
  return { address: formatAddress(party.address), workload: workloadName(party.workload), identity };
}

function workloadName(workload: Workload | null): string | null {
  return workload === null ? null : `${workload.namespace}/${workload.name}`;
}

/** Each certificate of a PEM text, in order. */
function describeCertificates(pem: string): CertificateEntry["roots"] {
  return decodePemLabel(pem, "CERTIFICATE").map((der) => {
    const { serialNumber, notBeforeMs, notAfterMs } = parseCertificate(der);
    return { pem: encodePem("CERTIFICATE", der), serialNumber, notBeforeMs, notAfterMs };
  });
}
