/**
 * The composition root: who is handed what. Everything else takes what it needs as arguments, so that a simulator can build a
 * whole node on a host of its own.
 */
import { MeshError } from "./base/errors.ts";
import { formatSocketAddress, IpAddress } from "./base/ip.ts";
import { MetricRegistry } from "./base/metrics.ts";
import type { Config } from "./config/config.ts";
import { MeshIngest } from "./control/ingest.ts";
import { type CaptureOptions, installCapture } from "./host/capture.ts";
import type { Files, Host } from "./host/host.ts";
import type { LogWriter } from "./host/log_writer.ts";
import type { SpiffeId } from "./mesh/identity.ts";
import { type MeshChange, MeshStore } from "./mesh/store.ts";
import type { AuthorityOptions, CertificateAuthority } from "./pki/ca.ts";
import { loadAuthority, openAuthority } from "./pki/ca_files.ts";
import { type CryptoProvider, peculiarProvider, runtimeProvider } from "./pki/provider.ts";
import { SecretManager } from "./pki/secrets.ts";
import { TrustVerifier } from "./pki/trust.ts";
import { followTrustFiles } from "./pki/trust_files.ts";
import { createPolicyEngine } from "./policy/engine.ts";
import { ConnectionRegistry } from "./proxy/connections.ts";
import type { ListenerSettings } from "./proxy/listeners.ts";
import { LocalWorkloads } from "./proxy/local_workloads.ts";
import { NodeTunnel } from "./proxy/node.ts";
import type { NodeContext, NodeSettings } from "./proxy/node_context.ts";
import { Telemetry } from "./proxy/telemetry.ts";

export interface RunningNode {
  readonly hostName: string;
  readonly context: NodeContext;
  readonly tunnel: NodeTunnel;
  readonly ingest: MeshIngest;
  readonly metrics: MetricRegistry;
  readonly authority: CertificateAuthority;
  /** Whether the local CA was made by this start. */
  readonly createdAuthority: boolean;
  /** What readiness waits for, by name; empty is ready. */
  pending(): readonly string[];
  /** Finishes what is open, at most `drainDeadlineMs`, then stops. */
  drain(): Promise<void>;
  /** Cuts everything; what was set up on the host is removed. */
  stop(): Promise<void>;
}

/** Takes back one step of the start. */
type Undo = () => void | Promise<void>;

/** @throws MeshError when the node cannot start as it was told to; nothing is left behind then. */
export async function startNode(host: Host, config: Config, logger: LogWriter): Promise<RunningNode> {
  const undo: Undo[] = [];
  // One stop, however often it is asked for: whoever waits for it waits until the last thing is undone.
  let stopping: Promise<void> | null = null;
  const stop = (): Promise<void> => {
    stopping ??= undoAll(undo).finally(() => logger.flush());
    return stopping;
  };
  try {
    return await build(host, config, logger, undo, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function undoAll(steps: Undo[]): Promise<void> {
  for (let step = steps.pop(); step !== undefined; step = steps.pop()) await step();
}

async function build(
  host: Host,
  config: Config,
  logger: LogWriter,
  undo: Undo[],
  stop: () => Promise<void>,
): Promise<RunningNode> {
  const { clock, random, net, files } = host;
  const metrics = new MetricRegistry();
  const provider: CryptoProvider =
    config.cryptoProvider === "runtime" ? runtimeProvider() : peculiarProvider();

  // Identity: the CA, what we trust, and the SVIDs of the workloads that run here.
  const { authority, created } = await openCa(host, config, {
    clock,
    provider,
    trustDomain: config.trustDomain,
  });
  const trust = new TrustVerifier({ clock, provider, trustDomain: config.trustDomain });
  trust.setRoots(authority.rootsPem);
  const secrets = new SecretManager({
    clock,
    random,
    provider,
    signer: authority,
    lifetimeMs: config.svidLifetimeMs,
    trust,
    logger,
  });
  undo.push(() => secrets.close());
  const crlPaths = config.crlPath === null ? [] : [config.crlPath];
  undo.push(await followTrustFiles({ files, trust, logger, rootsPath: null, crlPaths }));

  // The mesh: the engine is the store's first listener, so that whoever hears of a change decides by the new policies.
  const store = new MeshStore();
  const engine = createPolicyEngine({ missingPolicy: config.missingPolicy });
  store.subscribe((change, version) => {
    logger.log("info", "mesh", "mesh changed", { version, ...countChanges(change) });
    if (change.policies !== undefined) engine.update(store.policies());
  });
  engine.onDryRun = (policy, rule, action, connection) =>
    logger.log("info", "policy", "dry run matched", {
      policy,
      rule,
      action,
      source: connection.sourceIdentity?.uri ?? connection.sourceIp.text,
      "dst.addr": formatSocketAddress({ ip: connection.destinationIp, port: connection.destinationPort }),
    });
  await refuseMissing(files, config.meshPaths);
  const ingest = new MeshIngest(host, store, config, logger);
  undo.push(() => ingest.close());
  await ingest.ready;

  // Flows.
  const telemetry = new Telemetry(clock, logger, metrics);
  const locals = new LocalWorkloads(clock, store, {
    names: config.workloads,
    nodeName: config.nodeName,
    hostAddresses: () => net.localAddresses(),
  });
  undo.push(() => locals.close());
  if (locals.all.length === 0)
    logger.log(
      "warn",
      "node",
      "no workload runs here yet: no document has an address or the node name of this host",
    );
  const context: NodeContext = {
    clock,
    random,
    net,
    logger,
    store,
    engine,
    secrets,
    trust,
    locals,
    connections: new ConnectionRegistry(telemetry, metrics),
    telemetry,
    settings: nodeSettings(config),
  };
  prefetchIdentities(context);
  const tunnel = new NodeTunnel(context, listenerSettings(config));
  undo.push(() => tunnel.stop());
  // Last, so that nothing is redirected to a port that does not listen yet; and first undone.
  if (config.capture.mode === "redirect") undo.push(await installCapture(host, captureOptions(config)));
  let draining = false;
  return {
    hostName: host.name,
    context,
    tunnel,
    ingest,
    metrics,
    authority,
    createdAuthority: created,
    pending: () => pendingNames(context, draining),
    stop,
    drain: async () => {
      draining = true;
      await tunnel.drain(config.drainDeadlineMs);
      await stop();
    },
  };
}

/** How many of each kind came, changed or went; a kind without a change is left out. */
function countChanges(change: MeshChange): Record<string, number | null> {
  const count = (part: MeshChange["workloads" | "services" | "policies"]): number | null =>
    part === undefined ? null : (part.upsert?.length ?? 0) + (part.remove?.length ?? 0);
  return {
    workloads: count(change.workloads),
    services: count(change.services),
    policies: count(change.policies),
  };
}

/**
 * A running node keeps what it has when a path goes away; at the start a path that is not there is a wrong word, and a node
 * without documents would look as if it worked.
 *
 * @throws MeshError `io`, blame local.
 */
export async function refuseMissing(files: Files, paths: readonly string[]): Promise<void> {
  for (const path of paths)
    if (!(await files.exists(path))) throw new MeshError("io", "local", `${path} does not exist`);
}

/** SVIDs are made before they are needed, and forgotten with the last workload that had them. */
function prefetchIdentities(context: NodeContext): void {
  let held = new Map<string, SpiffeId>();
  const follow = (): void => {
    const wanted = new Map(context.locals.all.map((workload) => [workload.identity.uri, workload.identity]));
    for (const [uri, id] of held) if (!wanted.has(uri)) context.secrets.release(id);
    // A failure is kept by the secret itself, retried, and shown by readiness.
    for (const [uri, id] of wanted) if (!held.has(uri)) context.secrets.svid(id).catch(() => {});
    held = wanted;
  };
  follow();
  context.locals.subscribe(follow);
}

/** Ready is: every workload of this host could show its SVID now, and we are not on our way out. */
function pendingNames(context: NodeContext, draining: boolean): readonly string[] {
  const missing = context.locals.all
    .filter((workload) => context.secrets.current(workload.identity) === null)
    .map((workload) => `certificate of ${workload.namespace}/${workload.name}`);
  return draining ? [...missing, "draining"] : missing;
}

async function openCa(
  host: Host,
  config: Config,
  options: AuthorityOptions,
): Promise<{ readonly authority: CertificateAuthority; readonly created: boolean }> {
  const { ca } = config;
  if (ca.kind === "local") return openAuthority(host.files, ca.stateDirectory, options);
  const paths = {
    certificate: ca.certificatePath,
    privateKey: ca.keyPath,
    root: ca.rootPath,
    chain: ca.chainPath,
  };
  return { authority: await loadAuthority(host.files, paths, options), created: false };
}

function nodeSettings(config: Config): NodeSettings {
  const { ports, capture } = config;
  return {
    network: config.network,
    hbonePort: ports.hbone,
    mark: capture.mode === "off" ? null : capture.mark,
    originalSource:
      config.capture.mode === "off" && config.originalSource === "auto" ? "off" : config.originalSource,
    h2: config.h2,
    maxStreamsPerConnection: config.pool.maxStreamsPerConnection,
    poolUnusedMs: config.pool.unusedMs,
    illegalPorts: new Set([
      ports.hbone,
      ports.outbound,
      ports.inboundPlaintext,
      ...config.socks5.map((entry) => entry.listen.port),
    ]),
    applicationAddresses: new Map(
      config.applications.map(({ workload, listens }) => [formatSocketAddress(workload), listens]),
    ),
  };
}

function captureOptions(config: Config): CaptureOptions {
  const { ports, capture } = config;
  const own = [config.admin, config.metrics, config.readiness].filter((address) => address !== null);
  return {
    outboundPort: ports.outbound,
    inboundPort: ports.inboundPlaintext,
    mark: capture.mark,
    ownPorts: [ports.hbone, ports.outbound, ports.inboundPlaintext, ...own.map((address) => address.port)],
    includeCidrs: capture.includeCidrs,
    excludeCidrs: capture.excludeCidrs,
    excludePorts: capture.excludePorts,
    originalSource: config.originalSource !== "off",
  };
}

function listenerSettings(config: Config): ListenerSettings {
  const { ports, capture } = config;
  return {
    bindInbound: config.bindInbound,
    hbonePort: ports.hbone,
    wildcards: anyAddresses,
    captured:
      capture.mode === "off" ? null : { outboundPort: ports.outbound, inboundPort: ports.inboundPlaintext },
    socks5: config.socks5,
    httpConnect: config.httpConnect,
    localPorts: config.localPorts,
    applications: config.applications.map((application) => application.workload),
  };
}

const anyAddresses = [IpAddress.fromBytes(new Uint8Array(4)), IpAddress.fromBytes(new Uint8Array(16))].filter(
  (ip) => ip !== null,
);
