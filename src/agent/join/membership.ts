/**
 * This host as a member of a control plane's mesh: it joins, knows the server, and follows it. What the control plane says goes into
 * the store and the trust; what it signs are our certificates. Against ours and against a real istiod by the same code; only joining and the trust bundle are ours alone.
 */
import type { Logger } from "../../base/log.ts";
import type { ControlSettings } from "../../base/settings/node_control.ts";
import type { Host } from "../../host/host.ts";
import { nodeNamespace, SpiffeId } from "../../mesh/identity.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import type { CertificateSigner } from "../../pki/issue/ca.ts";
import type { Svid } from "../../pki/svid/svid.ts";
import { controlServiceAccount } from "../../pki/trust/audit_head.ts";
import type { CrlSource, CrlStatus } from "../../pki/trust/revocation.ts";
import { addressType, authorizationType } from "../../wire/ads/delta.ts";
import { acknowledgedLate } from "../xds/acknowledged_late.ts";
import { AuditWitness } from "../xds/audit_witness.ts";
import { DocumentStream } from "../xds/document_stream.ts";
import type { HeldDocuments } from "../xds/held_documents.ts";
import { MeshResources } from "../xds/mesh_resources.ts";
import type { ResourceHandler } from "../xds/resource_handler.ts";
import { restoreMesh } from "../xds/restored_mesh.ts";
import { type SnapshotOptions, SnapshotWriter } from "../xds/snapshot_file.ts";
import { TrustResources } from "../xds/trust_resources.ts";
import { XdsClient } from "../xds/xds_client.ts";
import { describeNode, type NodeKind } from "../xds/xds_node.ts";
import { CaClient } from "./ca_client.ts";
import { ControlServer } from "./control_server.ts";
import type { ControlStatus } from "./control_status.ts";
import { HostCredentials } from "./host_credentials.ts";
import { joinMesh, nothingToJoinBy } from "./joining.ts";
import { type LocalFacts, mergeFacts } from "./local_facts.ts";
import { type JoinedNode, readNodeFile } from "./node_file.ts";
import { NodeIdentity } from "./node_identity.ts";

export interface MembershipOptions {
  readonly host: Host;
  readonly logger: Logger;
  readonly provider: CryptoProvider;
  readonly settings: ControlSettings;
  readonly facts: LocalFacts;
  /** Of this program. */
  readonly version: string;
}

/** Where what a control plane says goes. */
export interface Followed {
  readonly store: MeshStore;
  readonly refusedPolicies: "deny" | "skip";
  /** @throws MeshError `configuration` for roots that cannot be used. */
  setRoots(rootsPem: string): void;
  /** Resolves when they are in force. */
  setCrls(sources: readonly CrlSource[]): Promise<readonly CrlStatus[]>;
  /** See `TrustSink`. */
  moveToIssuer?(issuerKeyId: string): void;
  /** Resolves when what was taken is in force wherever this node's traffic is; left out where that is at once. */
  inForce?(): Promise<void>;
  /** The control plane is there again, or for the first time. */
  onConnected(): void;
  /** Of a host that is a waypoint: takes the mesh's documents too, over a stream of their own. */
  readonly documents?: HeldDocuments;
  /** `namespace/name`: the documents are for this workload, whose tunnel has the application inside, and not for a waypoint. */
  readonly documentsFor?: string;
}

export class ControlMembership {
  /** What holds for this host: what came with the join, or what it was told. */
  readonly facts: LocalFacts;
  /** `namespace/name` this host may run, as the control plane has it; null leaves it to the host. */
  readonly workloads: readonly string[] | null;
  readonly signer: CertificateSigner;
  readonly #options: MembershipOptions;
  readonly #xdsServer: ControlServer;
  readonly #caServer: ControlServer;
  readonly #ca: CaClient;
  readonly #credentials: HostCredentials;
  readonly #identity: NodeIdentity | null;
  #xds: XdsClient | null = null;
  /** A stream of its own: who may not have documents loses that one, and not the mesh. */
  #documents: DocumentStream | null = null;
  #witness: AuditWitness | null = null;
  #snapshot: SnapshotWriter | null = null;
  #snapshotSavedAtMs: number | null = null;
  #isRestoring = false;

  private constructor(
    options: MembershipOptions,
    joined: JoinedNode | null,
    credentials: HostCredentials,
    servers: Servers,
  ) {
    const { host, logger, facts, settings } = options;
    this.#options = options;
    this.#credentials = credentials;
    this.#xdsServer = servers.xds;
    this.#caServer = servers.ca;
    this.#identity = joined === null ? null : this.#keepIdentity(joined);
    if (this.#identity === null) credentials.showToken(settings.token);
    else credentials.showCertificateOf(this.#identity);
    const impersonates = this.#identity !== null;
    this.#ca = new CaClient({ clock: host.clock, logger, caller: servers.ca, impersonates });
    this.signer = this.#ca;
    const membership = joined?.membership ?? null;
    this.facts = membership === null ? facts : mergeFacts(membership, facts, logger);
    this.workloads = membership === null || membership.workloads.length === 0 ? null : membership.workloads;
  }

  /**
   * Joins if this host has not yet; waits for a control plane that is away.
   *
   * @throws MeshError `control_refused`, `certificate_*`, `configuration`, `io`.
   */
  static async join(options: MembershipOptions): Promise<ControlMembership> {
    const { host, logger, provider, settings } = options;
    let joined = await readNodeFile(host.files, settings.stateDirectory, provider);
    const credentials = new HostCredentials(joined?.rootsPem ?? null);
    const servers = await openServers(options, credentials);
    try {
      const control = servers.xds.name;
      if (joined !== null && settings.joinToken !== null)
        logger.log("info", "join", "the join token is not used: this host has joined already", {
          control: joined.membership.control,
          identity: joined.credential.id.uri,
        });
      if (joined === null && settings.joinToken !== null) {
        joined = await joinMesh(joiningOptions(options, servers.xds, settings.joinToken.reveal()));
        credentials.trustRoots(joined.rootsPem);
        // The connection of the join was made without a certificate.
        servers.xds.renew();
      }
      if (joined === null && settings.token === null) throw nothingToJoinBy(control);
      const membership = new ControlMembership(options, joined, credentials, servers);
      // Long absence: nothing else is granted to an expired certificate, so it goes first; a failure is retried beside the rest.
      if (membership.#identity?.isExpired === true) await membership.#identity.renew();
      return membership;
    } catch (thrown) {
      servers.xds.close();
      if (servers.ca !== servers.xds) servers.ca.close();
      throw thrown;
    }
  }

  /** Whether this host has a certificate of its own, by which the mesh knows what may run here. */
  get isMember(): boolean {
    return this.#identity !== null;
  }

  /** The mesh's roots as far as they are known; null before the first certificate of a host that does not join. */
  get rootsPem(): string | null {
    return this.#credentials.rootsPem;
  }

  /** Where a workload's certificate is found when it is all that this host can show. */
  useSvid(current: () => Svid | null): void {
    this.#credentials.useSvid(current);
  }

  /**
   * Begins with what an earlier run has kept, then follows the control plane.
   *
   * @returns resolves when there is a mesh to carry traffic by.
   */
  async follow(followed: Followed): Promise<void> {
    const { store, refusedPolicies } = followed;
    const { clock } = this.#options.host;
    const onSlow = (until: Promise<unknown>): void => this.#xds?.holdUp(until);
    const resources = { store, refusedPolicies, clusterId: this.facts.clusterId, clock, onSlow };
    const policies = acknowledgedLate(new MeshResources(authorizationType, resources), followed.inForce);
    const addresses = acknowledgedLate(new MeshResources(addressType, resources), followed.inForce);
    const trustResources = new TrustResources({
      setRoots: (rootsPem) => {
        // The snapshot is written seconds late, this host's own file at once: roots that came between are in the file alone, and by
        // the others the control plane may not be known any more.
        const known = this.#isRestoring ? this.rootsPem : null;
        followed.setRoots(known ?? rootsPem);
      },
      keepRoots: async (rootsPem) => {
        if (this.#isRestoring) return null;
        const reason = (await this.#identity?.setRoots(rootsPem)) ?? null;
        return reason === null
          ? null
          : `the roots are in force and are not on this host's disk, so it would not know the control plane after a restart: ${reason}`;
      },
      setCrls: (sources) => followed.setCrls(sources),
      moveToIssuer: (issuerKeyId) => {
        followed.moveToIssuer?.(issuerKeyId);
        this.#identity?.moveToIssuer(issuerKeyId);
      },
    });
    const trust = acknowledgedLate(trustResources, followed.inForce);
    const witness = await this.#openWitness();
    const handlers: readonly ResourceHandler[] = [policies, addresses];
    this.#documents = this.#documentStream(followed, () => this.#snapshot?.changed());
    const all = [trust, ...handlers, ...(this.#documents?.handlers ?? [])];
    const kept = this.#snapshotOptions();
    const writer = new SnapshotWriter(kept, () =>
      all.map((handler) => ({ typeUrl: handler.typeUrl, resources: [...handler.resources()] })),
    );
    this.#snapshot = writer;
    const xds = new XdsClient({
      ...this.#stream(),
      handlers,
      ownHandlers: this.isMember ? [trust, witness] : [trust],
      onChange: () => writer.changed(),
      onConnected: (identifier) => {
        followed.onConnected();
        this.#documents?.follow(identifier);
      },
    });
    this.#xds = xds;
    this.#isRestoring = true;
    this.#snapshotSavedAtMs = await restoreMesh(kept, xds, this.#documents);
    this.#isRestoring = false;
    xds.start();
    await xds.ready;
  }

  /** A stream of its own to the control plane. @param more metadata of the node. */
  #stream(more: Readonly<Record<string, string>> = {}, kind: NodeKind = "ztunnel") {
    const { host, logger, version } = this.#options;
    return {
      ...{ clock: host.clock, random: host.random, logger },
      open: this.#xdsServer.openAds,
      server: this.#xdsServer.name,
      node: () => describeNode(this.#describe(), this.facts, version, more, kind),
    };
  }

  #documentStream({ documents, documentsFor }: Followed, onChange: () => void): DocumentStream | null {
    if (documents === undefined) return null;
    const stream = (more: Readonly<Record<string, string>>, kind?: NodeKind) => this.#stream(more, kind);
    return new DocumentStream({ stream, held: documents, forWorkload: documentsFor ?? null, onChange });
  }

  status(): ControlStatus {
    const { token, stateDirectory } = this.#options.settings;
    return {
      server: this.#xdsServer.name,
      ca: this.#caServer.name,
      credential: this.#identity !== null ? "node certificate" : token !== null ? "token" : "none",
      node: this.#identity?.status() ?? null,
      stateDirectory,
      xds: this.#xds?.status() ?? null,
      restoredFromMs: this.#snapshotSavedAtMs,
      clockSkewMs: this.#ca.skewMs,
      audit: this.#witness?.status ?? null,
    };
  }

  /** Another process becomes this host: it keeps the host's certificate from now on. */
  async stepBack(): Promise<void> {
    await this.#identity?.follow();
  }

  /** It did not. */
  stepForward(): void {
    this.#identity?.lead();
  }

  /** It has: the mesh on the disk is written by it alone. What the control plane says is still obeyed here. */
  giveWay(): void {
    this.#snapshot?.stop();
  }

  async close(): Promise<void> {
    this.#xds?.close();
    this.#documents?.close();
    this.#identity?.close();
    this.#xdsServer.close();
    if (this.#caServer !== this.#xdsServer) this.#caServer.close();
    await this.#snapshot?.flush();
  }

  async #openWitness(): Promise<AuditWitness> {
    const { host, logger, provider, settings } = this.#options;
    const { trustDomain, rootNamespace } = this.facts;
    this.#witness = await AuditWitness.open({
      clock: host.clock,
      logger,
      files: host.files,
      provider,
      path: `${settings.stateDirectory}/control-audit-heads.json`,
      id: new SpiffeId(trustDomain, rootNamespace, controlServiceAccount),
      rootsPem: () => this.rootsPem ?? "",
    });
    return this.#witness;
  }

  #snapshotOptions(): SnapshotOptions {
    const { host, logger, provider, settings } = this.#options;
    return {
      clock: host.clock,
      files: host.files,
      provider,
      logger,
      directory: settings.stateDirectory,
      mesh: `${this.#xdsServer.name} ${this.facts.trustDomain}`,
    };
  }

  #keepIdentity(node: JoinedNode): NodeIdentity {
    const { host, logger, provider, settings } = this.#options;
    return new NodeIdentity(
      {
        clock: host.clock,
        random: host.random,
        files: host.files,
        provider,
        logger,
        directory: settings.stateDirectory,
        caller: this.#xdsServer,
        // What was refused since it could not be kept is sent on the next stream.
        onKept: () => this.#xds?.reconnect(),
        onRenewed: () => {
          this.#xdsServer.renew();
          if (this.#caServer !== this.#xdsServer) this.#caServer.renew();
          // The stream of now is of the old certificate, and ends with it at the latest.
          this.#xds?.reconnect();
          this.#documents?.reconnect();
        },
      },
      node,
    );
  }

  /**
   * istiod wants the namespace of whoever calls (`checkConnectionIdentity` of `pilot/pkg/xds/auth.go`); a joined host's
   * is its own.
   */
  #describe(): ControlSettings["node"] {
    const { node } = this.#options.settings;
    if (this.#identity === null) return node;
    return {
      ...node,
      podName: node.podName === "" ? this.facts.nodeName : node.podName,
      podNamespace: node.podNamespace === "" ? nodeNamespace : node.podNamespace,
    };
  }
}

interface Servers {
  readonly xds: ControlServer;
  /** The same one where one address does both. */
  readonly ca: ControlServer;
}

async function openServers(options: MembershipOptions, credentials: HostCredentials): Promise<Servers> {
  const { host, logger, provider, settings, facts } = options;
  const open = (server: ControlSettings["xds"]): Promise<ControlServer> =>
    ControlServer.open({
      host,
      logger,
      provider,
      server,
      pin: settings.pin,
      clusterId: facts.clusterId,
      credentials,
    });
  const xds = await open(settings.xds);
  const isSame = JSON.stringify(settings.xds) === JSON.stringify(settings.ca);
  return { xds, ca: isSame ? xds : await open(settings.ca) };
}

function joiningOptions(options: MembershipOptions, caller: ControlServer, token: string) {
  const { host, logger, provider, settings, facts, version } = options;
  const { clock, random, files, net } = host;
  const named = settings.joinAddresses.map(({ text }) => text);
  const own = net
    .localAddresses()
    .filter((ip) => !ip.isLoopback)
    .map(({ text }) => text);
  return {
    clock,
    random,
    files,
    provider,
    logger,
    caller,
    control: caller.name,
    directory: settings.stateDirectory,
    token,
    nodeName: facts.nodeName,
    addresses: named.length > 0 ? named : own,
    labels: settings.joinLabels,
    network: facts.network,
    trustDomain: facts.trustDomain,
    version,
  };
}
