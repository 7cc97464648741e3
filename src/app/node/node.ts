/**
 * The composition root: who is handed what. Everything else takes what it needs as arguments, so that a simulator can build a
 * whole node on a host of its own.
 */
import type { DocumentsEntry } from "../../admin/node/sources.ts";
import { registerControlMetrics } from "../../agent/join/control_metrics.ts";
import type { ControlStatus } from "../../agent/join/control_status.ts";
import type { HeldDocuments } from "../../agent/xds/held_documents.ts";
import { assert } from "../../base/assert.ts";
import { upgradeLimits } from "../../base/limits/host.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import type { Config } from "../../config/node/config.ts";
import { refuseMissing } from "../../files/mesh_files.ts";
import type { Host } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import { noWorkers, type WorkerProcesses } from "../../host/workers.ts";
import type { DocumentsInForce } from "../../mesh/documents/in_force.ts";
import { type MeshChange, MeshStore } from "../../mesh/store/store.ts";
import { openProvider } from "../../pki/crypto/open_provider.ts";
import { SecretManager } from "../../pki/svid/secrets.ts";
import type { Svid } from "../../pki/svid/svid.ts";
import type { CrlSource } from "../../pki/trust/revocation.ts";
import { followTrustFiles } from "../../pki/trust/trust_files.ts";
import { TrustVerifier } from "../../pki/trust/verifier.ts";
import { createPolicyEngine } from "../../policy/wasm/engine.ts";
import { ConnectionRegistry } from "../../proxy/connections.ts";
import type { EndpointDial } from "../../proxy/endpoint_dial.ts";
import { LocalWorkloads } from "../../proxy/local_workloads.ts";
import { Names } from "../../proxy/names/names.ts";
import { NodeTunnel } from "../../proxy/node.ts";
import type { NodeContext } from "../../proxy/node_context.ts";
import { OwnListeners } from "../../proxy/own_listeners.ts";
import { inForce } from "../../proxy/policy_wait.ts";
import { Telemetry } from "../../proxy/telemetry.ts";
import { UnshownSources } from "../../proxy/unshown_sources.ts";
import { type Lifecycle, startWithin } from "../lifecycle.ts";
import type { NodeCapture } from "./capture.ts";
import { reportDryRuns } from "./dry_runs.ts";
import { type IdentitySocket, openIdentitySocket, prefetchIdentities } from "./identity.ts";
import { type Carrying, listen, pendingCapture, registerCaptureMetrics } from "./listening.ts";
import { CrlSets, followControl } from "./mesh_source.ts";
import type { NodeNames } from "./names.ts";
import { type NodePlace, wholeHost } from "./place.ts";
import { nodeSettings, reservedAddresses } from "./settings.ts";
import { SidecarPolicies } from "./sidecar_policies.ts";
import { openSigner } from "./signer.ts";
import type { NodeWorkers, NodeWorkersParts } from "./workers/node_workers.ts";
import { workerConfig } from "./workers/worker_settings.ts";

/** A node that is there, and may still wait for its mesh. */
export interface PreparedNode {
  readonly hostName: string;
  readonly context: NodeContext & { readonly secrets: SecretManager };
  readonly metrics: MetricRegistry;
  /** What holds in this mesh: as it was told, or as the control plane has it. */
  readonly trustDomain: string;
  /** Whether the local CA was made by this start. */
  readonly createdAuthority: boolean;
  /** Resolves when it listens. Rejects with a MeshError when it cannot, or was stopped before it could. */
  readonly listening: Promise<Carrying>;
  /** Those that carry the traffic; null where this process does. */
  readonly workers: NodeWorkers | null;
  documents(): DocumentsEntry;
  /** Null where documents are not known: the mesh comes from a control plane. */
  inForce(): DocumentsInForce | null;
  /** How it stands with its control plane; null without one. */
  control(): ControlStatus | null;
  /** Where local programs get identities; null without one. */
  readonly identitySocket: IdentitySocket | null;
  /** What readiness waits for, by name; empty is ready. */
  pending(): readonly string[];
  /** Keeps capture that is on trial. @param caller in words for the log. @returns why not; null when it is done. */
  confirmCapture(caller: string): Promise<string | null>;
  /** Finishes what is open, at most `drainDeadlineMs`, then stops. */
  drain(): Promise<void>;
  /** Another process has taken its place: peers are told little by little, what is open ends within `deadlineMs`, and nothing of the host is undone. */
  giveWay(deadlineMs: number): Promise<void>;
  /**
   * Another process is about to set up this host as its own; `resume` when it did not come to that. `pause` throws MeshError where it must
   * not come to that now.
   */
  readonly host: { pause(): Promise<void>; resume(): void };
  /** Cuts everything; what was set up on the host is removed. */
  stop(): Promise<void>;
}

/** Whether what is set up on this host, rules and resolver, is this process's to undo: of two that change places, it is one's. */
export interface Tenure {
  holds: boolean;
}

/** A node that listens. */
export interface RunningNode extends PreparedNode {
  readonly tunnel: NodeTunnel;
}

/** @throws MeshError when the node cannot start as it was told to; nothing is left behind then. */
export async function startNode(host: Host, config: Config, logger: LogWriter): Promise<RunningNode> {
  const node = await prepareNode(host, config, logger);
  const tunnel = await node.listening;
  assert(tunnel instanceof NodeTunnel, "a node without workers");
  return { ...node, tunnel };
}

/**
 * Everything but the listeners, which follow when the mesh is known: a host whose control plane is away can be asked what it waits for.
 *
 * @throws MeshError as `startNode`.
 */
export async function prepareNode(
  host: Host,
  config: Config,
  logger: LogWriter,
  tenure: Tenure = { holds: true },
  place: NodePlace = wholeHost(host),
  processes: WorkerProcesses = noWorkers,
): Promise<PreparedNode> {
  return await startWithin(logger, (life) => build(host, config, logger, life, { tenure, place, processes }));
}

interface Surroundings {
  readonly tenure: Tenure;
  readonly place: NodePlace;
  readonly processes: WorkerProcesses;
}

async function build(
  host: Host,
  config: Config,
  logger: LogWriter,
  life: Lifecycle,
  { tenure, place, processes }: Surroundings,
): Promise<PreparedNode> {
  const { clock, random, net, files } = host;
  const metrics = new MetricRegistry();
  const provider = await openProvider(config.cryptoProvider);
  await refuseMissing(files, config.meshPaths);

  // Identity: who signs, what we trust, and the SVIDs of the workloads that run here.
  const membership =
    config.control === null
      ? null
      : await (await import("./join_control.ts")).joinControl(host, config, config.control, logger, provider);
  if (membership !== null) life.onStop(() => membership.close());
  const { trustDomain, nodeName, network } = membership?.facts ?? config;
  const signing = await openSigner(files, config.ca, membership, { clock, provider, trustDomain }, logger);
  life.onStop(() => signing.close());
  const trust = new TrustVerifier({ clock, provider, trustDomain });
  if (signing.rootsPem !== null)
    trust.setRoots(signing.rootsPem, config.ca.kind === "control" ? "control" : "configured");
  const { signer } = signing;
  const lifetimeMs = config.svidLifetimeMs;
  const secrets = new SecretManager({ clock, random, provider, signer, lifetimeMs, trust, logger });
  life.onStop(() => secrets.close());
  signing.onReplaced(({ rootsPem }) => {
    for (const source of ["configured", "signer"]) trust.setRoots(rootsPem, source);
    // What the CA before has issued stays in use until its successor is there.
    secrets.renewAll("its CA was replaced", () => true, pkiLimits.replacementSpreadMs);
  });
  const crls = new CrlSets(trust);
  const fileTrust = {
    setRoots: (rootsPem: string) => trust.setRoots(rootsPem),
    setCrls: (lists: readonly CrlSource[]) => crls.set("files", lists),
  };
  const crlPaths = config.crlPath === null ? [] : [config.crlPath];
  life.onStop(await followTrustFiles({ files, trust: fileTrust, logger, rootsPath: null, crlPaths }));

  // The mesh: the engine is the store's first listener, so that whoever hears of a change decides by the new policies.
  const store = new MeshStore();
  const makeEngine = () => createPolicyEngine({ clock, missingPolicy: config.missingPolicy });
  const sidecar = config.layer7 === null ? null : new SidecarPolicies(clock, config.layer7, makeEngine);
  const engine = sidecar?.engine ?? makeEngine();
  store.subscribe((change, version) => {
    logger.log("info", "mesh", "mesh changed", { version, ...countChanges(change) });
    if (change.policies === undefined) return;
    sidecar?.expect(change.policies.upsert ?? [], change.policies.remove ?? []);
    engine.update(store.policies());
  });
  reportDryRuns(engine, logger);
  const telemetry = new Telemetry(clock, logger, metrics);
  const connections = new ConnectionRegistry(clock, telemetry, metrics);
  let workers: NodeWorkers | null = null;
  const mesh =
    membership === null
      ? await (await import("./mesh_of_files.ts")).followFiles(host, store, config, logger, life)
      : followControl(membership, {
          store,
          trust,
          crls,
          secrets,
          missingPolicy: config.missingPolicy,
          documents: readsDocuments(config) ? await holdDocuments(config) : null,
          documentsFor: config.layer7,
          inForce: async () => {
            await inForce(engine, connections);
            await workers?.inForce();
          },
        });
  if (membership !== null) life.onStop(() => mesh.close());

  // Flows.
  const nodeNames = config.dns === null ? null : await openNames(host, config, config.dns, logger, store);
  const locals = new LocalWorkloads(clock, logger, store, {
    names: config.workloads ?? membership?.workloads ?? null,
    services: place.services,
    nodeName,
    network,
    // A host that has joined may run what the mesh places on it by name; an address alone entitles it to nothing.
    isByAddress: () => membership?.isMember !== true,
    hostAddresses: () => net.localAddresses(),
  });
  life.onStop(() => locals.close());
  const context: PreparedNode["context"] = {
    clock,
    random,
    net,
    applications: place.applications,
    logger,
    store,
    engine,
    secrets,
    trust,
    locals,
    names: new Names(clock, nodeNames ?? net),
    virtual: nodeNames?.virtual ?? null,
    unshown: new UnshownSources(clock, logger),
    own: new OwnListeners(net, reservedAddresses(config)),
    connections,
    telemetry,
    settings: { ...nodeSettings(config), network },
  };
  membership?.useSvid(() => firstSvid(context));
  const socket = await openIdentitySocket(host, config, logger, { trust, trustDomain, secrets });
  life.onStop(() => socket?.close());
  prefetchIdentities(locals, secrets, socket);
  if (membership !== null) registerControlMetrics(metrics, clock, () => mesh.control());
  if (config.workers > 1)
    workers = await openWorkers({
      ...{ host, logger, processes, config, store, trust, crls, secrets, locals, metrics },
      settings: {
        config: workerConfig(config),
        facts: {
          ...{ trustDomain, nodeName, network },
          workloads: config.workloads ?? membership?.workloads ?? null,
          isByAddress: membership?.isMember !== true,
        },
        reserved: [config.admin, config.metrics, config.readiness].filter((address) => address !== null),
      },
    });
  let tunnel: Carrying | null = null;
  let capture: NodeCapture | null = null;
  if (config.capture.mode !== "off") registerCaptureMetrics(metrics, () => capture);
  const keepCapture = (installed: NodeCapture): void => {
    capture = installed;
  };
  const { rootNamespace } = membership?.facts ?? config;
  const facts = { ...config, trustDomain, rootNamespace };
  const waypoint = readsDocuments(config) ? await import("./waypoint.ts") : null;
  const makeWaypoint =
    waypoint === null
      ? null
      : (dial: EndpointDial) =>
          waypoint.openWaypoint({
            context,
            host,
            config: facts,
            provider,
            inForce: mesh.inForce,
            dial,
            sidecar,
          });
  const holds = (): boolean => tenure.holds;
  const serveNames = async (): Promise<void> => nodeNames?.serve(locals, context.own, metrics, life, holds);
  const withdraw = async (): Promise<void> => nodeNames?.withdraw();
  const parts = { mesh, makeWaypoint, serveNames, withdraw, holds, place, workers };
  const listening = listen(host, config, context, parts, life, keepCapture).then((open) => {
    tunnel = open;
    return open;
  });
  // Whoever waits for it hears of it there.
  listening.catch(() => {});
  let draining = false;
  const drain = async (deadlineMs: number, spreadMs: number): Promise<void> => {
    draining = true;
    // Its streams have no end of their own: clients are told to go, and cut when the traffic has ended.
    void socket?.drain();
    await tunnel?.drain(deadlineMs, spreadMs);
    // A process that is gone answers what still comes with RST, which destroys what the peer has not read yet (RFC 9112 §9.6).
    await new Promise<void>((resolve) => clock.setTimer(proxyLimits.lastWordsMs, resolve));
    await life.stop();
  };
  return {
    hostName: host.name,
    context,
    metrics,
    trustDomain,
    createdAuthority: signing.created,
    listening,
    workers,
    documents: () => mesh.documents(),
    inForce: () => (membership === null ? mesh.inForce.value : null),
    control: () => mesh.control(),
    identitySocket: socket,
    pending: () => [
      ...mesh.pending(),
      ...(config.capture.mode === "off" ? [] : pendingCapture(capture)),
      ...(sidecar?.pending(context.locals.all) ?? []),
      ...(nodeNames?.pending ?? []),
      ...(workers?.pending ?? []),
      ...pendingNames(context, draining),
    ],
    confirmCapture: async (caller) =>
      capture === null ? "nothing is captured here" : await capture.confirm(caller),
    stop: () => life.stop(),
    drain: () => drain(config.drainDeadlineMs, 0),
    giveWay: (deadlineMs) => {
      tenure.holds = false;
      membership?.giveWay();
      return drain(deadlineMs, Math.min(upgradeLimits.goawayMs, deadlineMs * upgradeLimits.goawayPart));
    },
    host: {
      pause: async () => {
        await capture?.pause();
        await membership?.stepBack();
      },
      resume: () => {
        capture?.resume();
        membership?.stepForward();
      },
    },
  };
}

async function openNames(...parts: Parameters<typeof NodeNames.open>): Promise<NodeNames> {
  const { NodeNames } = await import("./names.ts");
  return await NodeNames.open(...parts);
}

async function openWorkers(parts: NodeWorkersParts): Promise<NodeWorkers> {
  const { NodeWorkers } = await import("./workers/node_workers.ts");
  return new NodeWorkers(parts);
}

async function holdDocuments({ missingPolicy }: Config): Promise<HeldDocuments> {
  const { HeldDocuments } = await import("../../agent/xds/held_documents.ts");
  return new HeldDocuments(missingPolicy);
}

/** Whether there is HTTP to be read here, at a waypoint or inside a tunnel. */
function readsDocuments({ waypoints, layer7 }: Config): boolean {
  return waypoints.length > 0 || layer7 !== null;
}

function firstSvid({ locals, secrets }: NodeContext): Svid | null {
  for (const { identity } of locals.all) {
    const svid = secrets.current(identity);
    if (svid !== null) return svid;
  }
  return null;
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

/** Ready is: every workload of this host could show its SVID now, and we are not on our way out. */
function pendingNames(context: NodeContext, draining: boolean): readonly string[] {
  const missing = context.locals.all
    .filter((workload) => context.secrets.current(workload.identity) === null)
    .map((workload) => `certificate of ${workload.namespace}/${workload.name}`);
  return draining ? [...missing, "draining"] : missing;
}
