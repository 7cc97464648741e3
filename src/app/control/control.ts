/** The control plane's composition: state, keys, documents, identity, xDS and administration behind one port. */

import { createControlApp } from "../../admin/control/app.ts";
import { formatSocketAddress, IpAddress, type SocketAddress } from "../../base/ip.ts";
import { controlLimits } from "../../base/limits/control.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import type { ControlPlaneConfig } from "../../config/control/config.ts";
import { createControlIdentity } from "../../control/ca/control_identity.ts";
import {
  administratorId,
  bootstrapAdministrator,
  firstAdministrator,
} from "../../control/ca/first_administrator.ts";
import { FirstRole } from "../../control/ca/first_role.ts";
import { HostRemoval } from "../../control/ca/host_removal.ts";
import { KeptServing } from "../../control/ca/kept_serving.ts";
import { ServingCertificates } from "../../control/ca/serving_certificates.ts";
import { followDocumentFiles } from "../../control/documents/document_files.ts";
import { GroupMembers, groupIdentity } from "../../control/documents/group_members.ts";
import { joinClaims } from "../../control/documents/join_claims.ts";
import { JoinedHosts, joinedAddresses } from "../../control/documents/joined_hosts.ts";
import { MeshDocuments } from "../../control/documents/mesh_documents.ts";
import { AuthorityList } from "../../control/keys/authority_description.ts";
import { MeshAuthority } from "../../control/keys/mesh_authority.ts";
import { openKeys } from "../../control/keys/open_keys.ts";
import { Rotation } from "../../control/rotation/rotation.ts";
import { ControlState } from "../../control/state/control_state.ts";
import { cutWithCredentials } from "../../control/xds/credential_cut.ts";
import { XdsServer } from "../../control/xds/server.ts";
import { WaypointIdentities } from "../../control/xds/waypoint_callers.ts";
import type { Host, Listener } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { openProvider } from "../../pki/crypto/open_provider.ts";
import { controlServiceAccount } from "../../pki/trust/audit_head.ts";
import type { TrustBundle } from "../../pki/trust/trust_bundle.ts";
import { TrustVerifier } from "../../pki/trust/verifier.ts";
import { serveHttp } from "../../transport/http/serve.ts";
import { type RpcPeer, RpcServer } from "../../transport/rpc/server.ts";
import { GrpcService } from "../../wire/grpc/server.ts";
import { type Lifecycle, startWithin } from "../lifecycle.ts";
import { versionFields } from "../version.ts";
import { keepAudit } from "./audit.ts";
import { GivenFiles, reachOf } from "./given.ts";
import type { ControlParts } from "./parts.ts";
import { policyOf, policyTester } from "./policies.ts";
import { controlSources, pendingNames, removeHalfBackups } from "./sources.ts";

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

/** @throws MeshError when it cannot start as it was told to; nothing is left open then. */
export async function startControl(
  host: Host,
  config: ControlPlaneConfig,
  logger: LogWriter,
): Promise<RunningControl> {
  return await startWithin(logger, (life) => build(host, config, logger, life));
}

async function build(
  host: Host,
  config: ControlPlaneConfig,
  logger: LogWriter,
  life: Lifecycle,
): Promise<RunningControl> {
  const { clock } = host;
  const { trustDomain, rootNamespace, stateDirectory } = config;
  const administrator = administratorId(trustDomain, rootNamespace);
  const given = await GivenFiles.open(host.files, config, [firstAdministrator(administrator)], logger);
  life.onStop(() => given.close());
  const reach = reachOf(host, config);
  const metrics = new MetricRegistry();
  const provider = await openProvider(config.cryptoProvider);
  const controlId = new SpiffeId(trustDomain, rootNamespace, controlServiceAccount);
  const startedAtMs = clock.wallMs();
  const version = versionFields(host.name).version ?? "unknown";

  const state = await ControlState.open(host, stateDirectory, logger);
  life.onStop(() => state.close());
  await removeHalfBackups(host.files, stateDirectory);

  // Keys, and whom to believe.
  const options = { clock, provider, trustDomain };
  const keys = await openKeys(host, state.authorities, config, options, logger);
  life.onStop(() => keys.close());
  const authority = await MeshAuthority.open({
    clock,
    provider,
    logger,
    records: state,
    authorities: keys.view,
    outside: keys.outside,
  });
  life.onStop(() => authority.close());
  life.onStop(state.health.subscribe(({ writable }) => void (writable && authority.resume())));
  const trust = new TrustVerifier(options);
  await followBundle(trust, authority, life);

  // The mesh.
  const store = new MeshStore();
  const members = new GroupMembers(clock, state.registrations, logger);
  life.onStop(() => members.close());
  const hosts = new JoinedHosts(state.registrations, (node) => members.isPresent(node));
  life.onStop(() => hosts.close());
  const documents = await MeshDocuments.open({
    clock,
    logger,
    state,
    store,
    context: config,
    derived: members,
    facts: () => ({
      addresses: reach.addresses,
      port: config.listen.port,
      names: reach.names.filter((name) => IpAddress.parse(name) === null),
      identity: controlId,
      clients: [],
      joined: () => joinedAddresses(state.registrations),
      neededIdentities: [],
      policyOf,
    }),
    hosts,
    policyTester: policyTester(config.rootNamespace),
  });
  life.onStop(() => documents.close());
  life.onStop(await followDocumentFiles({ host, logger, documents, paths: config.meshPaths }));

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
    groupIdentity: (group) => groupIdentity(documents.documents, group, trustDomain),
    claims: joinClaims(() => documents.ownership()),
    issuers: given.issuers,
    settings: { ...config, nodeLifetimeMs: controlLimits.nodeLifetimeMs, version },
    controlId,
    reserved: [administrator],
    controlUrl: () => reach.url,
    maxLifetimeMs: config.svidLifetimeMs,
  });
  given.subscribe(() => identity.tokens.setIssuers(given.issuers));
  const serving = await ServingCertificates.start({
    clock,
    logger,
    authority,
    id: controlId,
    hosts: reach.names,
    records: state.certificates,
    ...(keys.sealed === null
      ? {}
      : {
          kept: new KeptServing({
            clock,
            logger,
            settings: state.settings,
            sealed: keys.sealed,
            rootsPem: () => authority.bundle.value.rootsPem,
            isRevoked: (serial) => state.revocations.get("serial", serial) !== null,
          }),
        }),
  });
  life.onStop(() => serving.close());
  const keptAudit = await keepAudit({
    host,
    config,
    logger,
    life,
    provider,
    metrics,
    state,
    id: controlId,
    hostName: reach.names[0] ?? "localhost",
    credentials: serving.watch,
    rootsPem: () => authority.bundle.value.rootsPem,
  });
  const waypoints = new WaypointIdentities(store);
  const xds = new XdsServer({
    clock,
    logger,
    store,
    bundle: authority.bundle,
    auditHead: keptAudit.auditHeads.published,
    authenticator: identity.authenticator,
    waypointDocuments: {
      documents: documents.inForce,
      mayHave: (caller) => waypoints.all.some((id) => identity.mayActAs(caller, id)),
      mayHaveFor: (caller, workload) => identity.mayActAsWorkload(caller, workload),
      rootNamespace: config.rootNamespace,
    },
    version,
    metrics,
    onNodeConnected: (caller) => members.connected(caller),
    onNodeGone: (caller) => members.gone(caller),
  });
  life.onStop(() => xds.close());
  life.onStop(
    cutWithCredentials({
      clock,
      xds,
      recheck: (caller) => identity.authenticator.recheck(caller),
      trust: eitherOf(trust.changes, given),
      registrations: state.registrations,
    }),
  );
  const firstRole = await FirstRole.open({ clock, logger, files: host.files, state, stateDirectory });
  life.onStop(
    await bootstrapAdministrator({
      host,
      logger,
      provider,
      authority,
      id: administrator,
      stateDirectory,
      role: firstRole,
    }),
  );
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
            nodes: () => activeNodes(state, members),
            ownSerials: (node) => ownSerials(state, node),
            isGone: (holder) => members.isGone(holder),
            acknowledged: () => acknowledgedBundles(xds, [administrator, controlId], authority),
          },
        });
  life.onStop(() => rotation?.close());

  const hostRemoval = new HostRemoval({
    clock,
    logger,
    state,
    authority,
    isConnected: (node) => members.isConnected(node),
    onRemoved: () => void xds.cutStreams((caller) => identity.authenticator.recheck(caller) !== null),
    afterMs: config.hostRetentionMs,
  });
  life.onStop(() => hostRemoval.close());

  const authorityList = await AuthorityList.follow(keys.view, provider);
  life.onStop(() => authorityList.close());

  // One port for all of it.
  const parts: ControlParts = {
    config,
    administrators: () => given.administrators,
    firstRole,
    controlId,
    startedAtMs,
    state,
    keys,
    ...keptAudit,
    authorityList,
    authority,
    serving,
    rotation,
    documents,
    identity,
    trust,
    xds,
    store,
    members,
    hostRemoval,
  };
  const pending = (): readonly string[] => pendingNames(parts, clock.wallMs());
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
    metrics,
    credentials: () => serving.credentials,
    fallback: (stream, headers, endStream, peer) => serveHttp(http, stream, headers, endStream, peer),
  });
  life.onStop(() => server.close());
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
    stop: () => life.stop(),
    drain: async () => {
      await server.drain();
      await life.stop();
    },
  };
}

interface Changes {
  subscribe(listener: () => void): () => void;
}

function eitherOf(...sources: readonly Changes[]): Changes {
  return {
    subscribe: (listener) => {
      const ends = sources.map((source) => source.subscribe(listener));
      return () => {
        for (const end of ends) end();
      };
    },
  };
}

/** The verifier believes what every node is told to believe, and as soon. */
async function followBundle(trust: TrustVerifier, authority: MeshAuthority, life: Lifecycle): Promise<void> {
  const take = async ({ rootsPem, crls }: TrustBundle): Promise<void> => {
    trust.setRoots(rootsPem);
    await trust.setCrls(crls.map((bytes, index) => ({ name: `own list ${index + 1}`, bytes })));
  };
  await take(authority.bundle.value);
  life.onStop(authority.bundle.subscribe((bundle) => void take(bundle)));
}

function* activeNodes(state: ControlState, members: GroupMembers): Iterable<string> {
  for (const { node, revokedAtMs } of state.registrations.list())
    if (revokedAtMs === null) if (!members.isGone(node)) yield node;
}

function ownSerials(state: ControlState, node: string): readonly string[] | null {
  const { currentSerial = null, pendingSerial = null } = state.registrations.byNode(node) ?? {};
  if (currentSerial === null) return null;
  return pendingSerial === null ? [currentSerial] : [currentSerial, pendingSerial];
}

function acknowledgedBundles(
  xds: XdsServer,
  own: readonly SpiffeId[],
  authority: MeshAuthority,
): ReadonlyMap<string, string> {
  // This process has all roots, and the first administrator's file is ours to write, roots included.
  const held = new Map(own.map(({ uri }) => [uri, authority.bundle.value.version]));
  for (const { caller, version } of xds.trustHolders())
    if (caller.kind === "node" && version !== null) held.set(caller.node, version);
  return held;
}
