/** The control plane's composition: state, keys, documents, identity, xDS and administration behind one port. */

import { createControlApp } from "../../admin/control/app.ts";
import type { DocumentInput } from "../../admin/control/sources.ts";
import { asMeshError } from "../../base/errors.ts";
import { formatSocketAddress, IpAddress, type SocketAddress } from "../../base/ip.ts";
import { controlLimits } from "../../base/limits/control.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import type { ControlPlaneConfig } from "../../config/control/config.ts";
import { type ControlIdentity, createControlIdentity } from "../../control/ca/control_identity.ts";
import { ServingCertificates } from "../../control/ca/serving_certificates.ts";
import type { ControlConnection } from "../../control/documents/lock_out.ts";
import { MeshDocuments } from "../../control/documents/mesh_documents.ts";
import { MeshAuthority } from "../../control/keys/mesh_authority.ts";
import { Rotation } from "../../control/rotation/rotation.ts";
import { ControlState } from "../../control/state/control_state.ts";
import { XdsServer } from "../../control/xds/server.ts";
import type { Host, Listener, Timer } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { MeshState } from "../../mesh/store/change.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import type { Workload } from "../../mesh/workload.ts";
import { type CryptoProvider, peculiarProvider, runtimeProvider } from "../../pki/crypto/provider.ts";
import type { TrustBundle } from "../../pki/trust/trust_bundle.ts";
import { TrustVerifier } from "../../pki/trust/verifier.ts";
import { describeDenial } from "../../policy/decision.ts";
import { createReferenceEngine } from "../../policy/reference.ts";
import { serveHttp } from "../../transport/http/serve.ts";
import { type RpcPeer, RpcServer } from "../../transport/rpc/server.ts";
import { GrpcService } from "../../wire/grpc/server.ts";
import { versionFields } from "../version.ts";
import { administratorId, bootstrapAdministrator, firstAdministrator } from "./administrator.ts";
import { followDocumentFiles } from "./files.ts";
import { reachOf, readGiven } from "./given.ts";
import { AuthorityList, type OpenedKeys, openKeys } from "./keys.ts";
import { GroupMembers } from "./members.ts";
import { controlSources, removeHalfBackups } from "./sources.ts";
import { cutWithCredentials } from "./streams.ts";

export interface RunningControl {
  readonly address: SocketAddress;
  readonly metrics: MetricRegistry;
  readonly parts: ControlParts;
  /** What readiness waits for, by name; empty is ready. */
  pending(): readonly string[];
  /** No new calls; those that are open end, then everything stops. */
  drain(): Promise<void>;
  stop(): Promise<void>;
}

/** What administration looks at. */
export interface ControlParts {
  readonly config: ControlPlaneConfig;
  /** Administrator documents that are in force whatever is applied. */
  readonly administrators: readonly DocumentInput[];
  readonly controlId: SpiffeId;
  readonly startedAtMs: number;
  readonly state: ControlState;
  readonly keys: OpenedKeys;
  readonly authorityList: AuthorityList;
  readonly authority: MeshAuthority;
  /** Null where the CA is an operator's own, in files. */
  readonly rotation: Rotation | null;
  readonly members: GroupMembers;
  readonly documents: MeshDocuments;
  readonly identity: ControlIdentity;
  readonly trust: TrustVerifier;
  readonly xds: XdsServer;
  readonly store: MeshStore;
}

type Undo = () => void | Promise<void>;

/** @throws MeshError when it cannot start as it was told to; nothing is left open then. */
export async function startControl(
  host: Host,
  config: ControlPlaneConfig,
  logger: LogWriter,
): Promise<RunningControl> {
  const undo: Undo[] = [];
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
  config: ControlPlaneConfig,
  logger: LogWriter,
  undo: Undo[],
  stop: () => Promise<void>,
): Promise<RunningControl> {
  const { clock } = host;
  const { trustDomain, rootNamespace, stateDirectory } = config;
  const given = await readGiven(host.files, config);
  const reach = reachOf(host, config);
  const metrics = new MetricRegistry();
  const provider: CryptoProvider =
    config.cryptoProvider === "runtime" ? runtimeProvider() : peculiarProvider();
  const controlId = new SpiffeId(trustDomain, rootNamespace, "fairlead-control");
  const startedAtMs = clock.wallMs();

  const state = await ControlState.open(host, stateDirectory, logger);
  undo.push(() => state.close());
  await removeHalfBackups(host.files, stateDirectory);
  undo.push(sweep(host, state, logger));

  // Keys, and whom to believe.
  const options = { clock, provider, trustDomain };
  const keys = await openKeys(host, state, config, options, logger);
  undo.push(() => keys.close());
  const authority = await MeshAuthority.open({
    clock,
    provider,
    logger,
    records: state,
    authorities: keys.view,
  });
  undo.push(() => authority.close());
  const trust = new TrustVerifier(options);
  await followBundle(trust, authority, undo);

  // The mesh.
  const store = new MeshStore();
  const members = new GroupMembers(clock, state, logger);
  undo.push(() => members.close());
  const documents = await MeshDocuments.open({
    clock,
    logger,
    state,
    store,
    context: config,
    derive: (parsed) => members.derive(parsed),
    facts: () => ({
      addresses: reach.addresses,
      port: config.listen.port,
      names: reach.names.filter((name) => IpAddress.parse(name) === null),
      identity: controlId,
      clients: state.registrations.list().flatMap(({ addresses }) => addresses.flatMap(parseIp)),
      neededIdentities: [],
      denies,
    }),
  });
  members.onChange = () =>
    void documents.refresh().catch((thrown) => {
      const { message } = asMeshError(thrown, "configuration", "local");
      logger.log("error", "control", "members of WorkloadGroups could not be taken in", { error: message });
    });
  undo.push(await followDocumentFiles({ host, logger, documents, paths: config.meshPaths }));

  // Who calls, and what they get.
  const identity = createControlIdentity({
    host,
    logger,
    metrics,
    provider,
    state,
    authority,
    trust,
    store,
    groupIdentity: (group) => members.identityOf(documents.documents, group, trustDomain),
    issuers: given.issuers,
    settings: { ...config, nodeLifetimeMs: controlLimits.nodeLifetimeMs },
    controlId,
    reserved: [administratorId(config)],
    controlUrl: () => reach.url,
    maxLifetimeMs: config.svidLifetimeMs,
  });
  const serving = await ServingCertificates.start({
    clock,
    logger,
    authority,
    id: controlId,
    hosts: reach.names,
    records: state.certificates,
  });
  undo.push(() => serving.close());
  const xds = new XdsServer({
    clock,
    logger,
    store,
    bundle: authority.bundle,
    authenticator: identity.authenticator,
    version: versionFields(host.name).version ?? "unknown",
    metrics,
    onNodeConnected: (caller) => members.connected(caller),
    onNodeGone: (caller) => members.gone(caller),
  });
  undo.push(() => xds.close());
  undo.push(cutWithCredentials(clock, { xds, identity, trust, state }));
  undo.push(await bootstrapAdministrator({ host, logger, provider, authority, config }));
  const rotation =
    keys.own === null
      ? null
      : new Rotation({
          clock,
          logger,
          records: state,
          authorities: keys.own,
          mesh: authority,
          knowledge: {
            nodes: () => activeNodes(state),
            acknowledged: () => acknowledgedBundles(xds, config, authority),
          },
        });
  undo.push(() => rotation?.close());

  // One port for all of it.
  const parts: ControlParts = {
    config,
    administrators: [firstAdministrator(config), ...given.administrators],
    controlId,
    startedAtMs,
    state,
    keys,
    authorityList: await AuthorityList.follow(keys.view, provider, undo),
    authority,
    rotation,
    documents,
    identity,
    trust,
    xds,
    store,
    members,
  };
  const pending = (): readonly string[] => pendingNames(parts);
  const service = new GrpcService<RpcPeer>();
  identity.register(service);
  xds.register(service);
  const app = createControlApp(controlSources(host, parts, logger, pending));
  const http = {
    clock,
    logger,
    handler: (request: Request, peer: RpcPeer) => app.fetch(request, peer),
  };
  const server = new RpcServer({
    host,
    logger,
    service,
    credentials: () => serving.credentials,
    fallback: (stream, headers, endStream, peer) => serveHttp(http, stream, headers, endStream, peer),
  });
  undo.push(() => server.close());
  const listener: Listener = server.listen(config.listen);
  logger.log("info", "control", "listening", {
    address: formatSocketAddress(listener.address),
    url: reach.url,
  });
  return {
    address: listener.address,
    metrics,
    parts,
    pending,
    stop,
    drain: async () => {
      await server.drain();
      await stop();
    },
  };
}

/** The verifier believes what every node is told to believe, and as soon. */
async function followBundle(trust: TrustVerifier, authority: MeshAuthority, undo: Undo[]): Promise<void> {
  const take = async ({ rootsPem, crls }: TrustBundle): Promise<void> => {
    trust.setRoots(rootsPem);
    await trust.setCrls(crls.map((bytes, index) => ({ name: `own list ${index + 1}`, bytes })));
  };
  await take(authority.bundle.value);
  undo.push(authority.bundle.subscribe((bundle) => void take(bundle)));
}

/** @returns a function that ends it. */
function sweep(host: Host, state: ControlState, logger: LogWriter): () => void {
  let timer: Timer;
  const after = (delayMs: number): void => {
    timer = host.clock.setTimer(delayMs, () => {
      let hasMore = false;
      try {
        hasMore = state.prune();
      } catch (thrown) {
        // A full disk, say: whoever writes something that matters is told; sweeping waits.
        logger.log("warn", "control", "could not sweep", {
          error: asMeshError(thrown, "io", "local").message,
        });
      }
      // As fast as rows come they have to go, or the state grows for ever.
      after(hasMore ? controlLimits.pruneAgainMs : controlLimits.pruneIntervalMs);
    });
  };
  after(controlLimits.pruneIntervalMs);
  return () => timer.cancel();
}

function parseIp(text: string): readonly IpAddress[] {
  const ip = IpAddress.parse(text);
  return ip === null ? [] : [ip];
}

/** What policy would say to somebody in plain text, as nodes and people come to the control plane. */
function denies(state: MeshState, workload: Workload, connection: ControlConnection): string | null {
  const engine = createReferenceEngine({ missingPolicy: "deny" });
  engine.update(state.policies);
  const decision = engine.decide(workload, {
    sourceIp: connection.source,
    sourceIdentity: null,
    destinationIp: connection.destination,
    destinationPort: connection.port,
  });
  return decision.allowed ? null : describeDenial(decision);
}

function* activeNodes(state: ControlState): Iterable<string> {
  for (const { node, revokedAtMs } of state.registrations.list()) if (revokedAtMs === null) yield node;
}

function acknowledgedBundles(
  xds: XdsServer,
  config: ControlPlaneConfig,
  authority: MeshAuthority,
): ReadonlyMap<string, string> {
  // The first administrator's file is ours to write, roots included.
  const held = new Map([[administratorId(config).uri, authority.bundle.value.version]]);
  for (const { caller, version } of xds.trustHolders())
    if (caller.kind === "node" && version !== null) held.set(caller.node, version);
  return held;
}

/** A disk that is full is no reason to send nodes away: they go on being served, and `status` says what is refused. */
function pendingNames({ keys, authority }: ControlParts): readonly string[] {
  const pending: string[] = [];
  const { active } = keys.view.value;
  if (active?.ca == null) pending.push(`key of the authority: ${active?.unavailable ?? "there is none"}`);
  if (authority.pendingRevocation !== null) pending.push(`revocation list: ${authority.pendingRevocation}`);
  return pending;
}
