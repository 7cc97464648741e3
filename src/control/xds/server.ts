/**
 * The control plane's xDS server: the mesh and the roots to every node that is connected, over delta ADS. A change costs what it
 * changes, once, and a look at each subscriber.
 */
import { adsLimits } from "../../base/limits/rpc.ts";
import type { Logger } from "../../base/log.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import { networkSource } from "../../base/network_source.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Watch } from "../../base/watch.ts";
import type { Clock } from "../../host/host.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type { TrustBundle } from "../../pki/trust/trust_bundle.ts";
import { auditHeadType, controlPlanePrefix, documentType, trustBundleType } from "../../wire/ads/delta.ts";
import { ResourceSet } from "../../wire/ads/resource_set.ts";
import { ResponseEncoder } from "../../wire/ads/response_parts.ts";
import { DeltaSession, type SessionLimits } from "../../wire/ads/server_session.ts";
import type { DeltaRequestMessage } from "../../wire/grpc/delta_request.ts";
import type { GrpcService } from "../../wire/grpc/server.ts";
import type { StreamHandler } from "../../wire/grpc/server_stream.ts";
import { aggregatedDiscovery } from "../../wire/grpc/services.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import type { DeltaDiscoveryResponse } from "../../wire/messages/envoy_discovery.gen.ts";
import { encodeAuditHeadMessage, encodeTrustBundleMessage } from "../../wire/messages/mesh_resources.ts";
import { type CallPeer, credentialsOf } from "../identity/call_credentials.ts";
import { type Caller, type CallerAuthenticator, callerName } from "../identity/caller.ts";
import type { PublishedHead } from "../records/audit.ts";
import type { StoredDocument } from "../records/document_versions.ts";
import { contentResource, MeshResourceSets, nodeGroup } from "./mesh_resource_sets.ts";
import { type NodeInfo, skewOf } from "./node_info.ts";
import { PushTimer } from "./push_timer.ts";
import { StreamShares } from "./stream_shares.ts";
import { Subscriber, type SubscriberHost, type SubscriberStatus } from "./subscriber.ts";
import { WaypointDocuments } from "./waypoint_documents.ts";
import { XdsMetrics } from "./xds_metrics.ts";

export interface XdsServerOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: MeshStore;
  readonly bundle: Watch<TrustBundle>;
  /** Of the audit log, for nodes to keep. */
  readonly auditHead?: Watch<PublishedHead | null>;
  readonly authenticator: Pick<CallerAuthenticator, "authenticate"> & {
    /** @returns null while the caller may still be believed, else why not. */
    recheck?(caller: Caller): string | null;
  };
  /** For waypoints, and for no one else: what tenants have written is not every node's to read. */
  readonly waypointDocuments?: {
    readonly documents: Watch<readonly StoredDocument[]>;
    /** All of them. */
    readonly mayHave: (caller: Caller) => boolean;
    /** Those that concern the workload `namespace/name`, whose tunnel has a waypoint's application inside. */
    readonly mayHaveFor?: (caller: Caller, workload: string) => boolean;
    readonly rootNamespace?: string;
  };
  /** For `control_plane.identifier`, after `fairlead/`. */
  readonly version: string;
  readonly metrics?: MetricRegistry;
  /** A client's first stream is there, its last one is gone. */
  readonly onNodeConnected?: (caller: Caller, node: NodeInfo) => void;
  readonly onNodeGone?: (caller: Caller, node: NodeInfo) => void;
  readonly limits?: Partial<XdsLimits>;
}

export type XdsLimits = SessionLimits & {
  readonly [Name in
    | "quietMs"
    | "maxDelayMs"
    | "maxStreams"
    | "reservedStreams"
    | "maxStreamsPerClient"]: number;
};

/** Which trust bundle a client took last: what a rotation of roots waits for. */
export interface TrustHolder {
  readonly caller: Caller;
  readonly node: NodeInfo;
  /** The bundle's own version, or what `trustVersion` was; null when it holds none, as a ztunnel, or none yet. */
  readonly version: string | null;
}

const trustName = "trust";
const auditHeadName = "audit";

export class XdsServer {
  readonly #options: XdsServerOptions;
  readonly #limits: XdsLimits;
  readonly #metrics: XdsMetrics;
  readonly #encoder: ResponseEncoder;
  readonly #mesh: MeshResourceSets;
  readonly #trust = new ResourceSet(trustBundleType);
  readonly #auditHeads = new ResourceSet(auditHeadType);
  readonly #documents: WaypointDocuments;
  /** Versions of the bundle by revision, for those that a node may still have. */
  readonly #trustVersions = new Map<number, string>();
  readonly #sets: ReadonlyMap<string, ResourceSet>;
  readonly #timer: PushTimer;
  readonly #subscribers = new Set<Subscriber>();
  /** Those that have said who they are, by client, the oldest first. */
  readonly #clients = new Map<string, Subscriber[]>();
  readonly #shares: StreamShares;
  readonly #host: SubscriberHost;
  readonly #unwatch: readonly (() => void)[];
  #newHead = false;
  #closed = false;

  constructor(options: XdsServerOptions) {
    this.#options = options;
    this.#limits = { ...adsLimits, ...options.limits };
    const { maxStreams, reservedStreams } = this.#limits;
    this.#shares = new StreamShares({ max: maxStreams, reserved: reservedStreams, each: maxStreams });
    this.#metrics = new XdsMetrics(options.metrics ?? new MetricRegistry());
    this.#encoder = new ResponseEncoder(`${controlPlanePrefix}${options.version}`);
    this.#timer = new PushTimer(options.clock, this.#limits, (sinceMs) => void this.#push(sinceMs));
    this.#mesh = new MeshResourceSets(options.store, () => this.#timer.changed());
    this.#documents = new WaypointDocuments({
      clock: options.clock,
      documents: options.waypointDocuments?.documents ?? null,
      rootNamespace: options.waypointDocuments?.rootNamespace ?? "",
      onChange: () => this.#pumpAll(),
    });
    const { set: documents } = this.#documents;
    this.#sets = new Map(
      [this.#mesh.policies, this.#mesh.addresses, this.#trust, this.#auditHeads, documents].map((set) => [
        set.typeUrl,
        set,
      ]),
    );
    this.#setTrust(options.bundle.value);
    this.#setAuditHead(options.auditHead?.value ?? null);
    this.#unwatch = [
      options.bundle.subscribe((bundle) => {
        // A revocation does not wait for a quiet moment.
        if (this.#setTrust(bundle)) this.#pumpAll();
      }),
      options.auditHead?.subscribe((head) => {
        if (this.#setAuditHead(head)) this.#timer.changed();
      }) ?? (() => {}),
    ];
    this.#host = {
      clock: options.clock,
      logger: options.logger,
      metrics: this.#metrics,
      recheck: (caller) => options.authenticator.recheck?.(caller) ?? null,
      openSession: (info, caller) => this.#openSession(info, caller),
      refuseType: (typeUrl, caller, info) =>
        typeUrl === documentType ? this.#refuseDocuments(caller, info) : null,
      isSettled: () => this.#mesh.isSettled,
      onKnown: ({ source }, caller) => {
        const whose = this.#shares.enter(caller, source);
        if (whose !== null) throw new GrpcError(grpcCode.resourceExhausted, `too many streams of ${whose}`);
      },
      onIdentified: (subscriber) => this.#admit(subscriber),
      onClosed: (subscriber) => this.#remove(subscriber),
    };
  }

  register<Peer extends CallPeer>(service: Pick<GrpcService<Peer>, "stream">): void {
    const open: StreamHandler<DeltaRequestMessage, DeltaDiscoveryResponse, Peer> = (stream) => {
      if (this.#closed) throw new GrpcError(grpcCode.unavailable, "the control plane is stopping");
      if (this.#subscribers.size >= this.#limits.maxStreams && !this.#evictUnproven())
        throw new GrpcError(grpcCode.resourceExhausted, "too many streams");
      const caller = this.#options.authenticator.authenticate(credentialsOf(stream));
      const source = networkSource(stream.peer.remote.ip);
      const subscriber = new Subscriber(this.#host, stream, source, caller);
      this.#subscribers.add(subscriber);
      return subscriber;
    };
    // Read of known callers alone: until then a stream is paused, and holds a window.
    service.stream(aggregatedDiscovery.delta, open, { maxRequestBytes: adsLimits.maxRequestBytes });
  }

  /** Pushes what waits for a quiet moment, now: a revocation, the answer to an operator's command. */
  flush(): void {
    this.#timer.close();
    this.#pushNow();
  }

  /** One entry for each stream that has said who it is. */
  status(): readonly SubscriberStatus[] {
    return [...this.#subscribers].flatMap((subscriber) => subscriber.status() ?? []);
  }

  /** Of the bundle that is served now. */
  get trustVersion(): string {
    return this.#trust.get(trustName)?.version ?? "";
  }

  /** One entry for each stream that has said who it is. */
  trustHolders(): readonly TrustHolder[] {
    return [...this.#subscribers].flatMap((subscriber) => {
      const { caller, node, trustRevision } = subscriber;
      if (caller === null || node === null) return [];
      const version = trustRevision === null ? null : (this.#trustVersions.get(trustRevision) ?? null);
      return [{ caller, node, version }];
    });
  }

  /** Ends at once the streams of callers whose credential is no longer good. @returns how many. */
  cutStreams(predicate: (caller: Caller) => boolean): number {
    const cut = [...this.#subscribers].filter(({ caller }) => caller !== null && predicate(caller));
    for (const subscriber of cut)
      subscriber.cut(new GrpcError(grpcCode.unauthenticated, "the credential was revoked"));
    return cut.length;
  }

  close(): void {
    this.#closed = true;
    for (const unwatch of this.#unwatch) unwatch();
    this.#documents.close();
    this.#mesh.close();
    this.#timer.close();
    for (const subscriber of [...this.#subscribers])
      subscriber.cut(new GrpcError(grpcCode.unavailable, "the control plane is stopping"));
  }

  #openSession(info: NodeInfo, caller: Caller): DeltaSession {
    const implicit = info.nodeName === "" ? [] : [nodeGroup(info.nodeName)];
    return new DeltaSession(this.#setsFor(info, caller), this.#encoder, implicit, this.#limits);
  }

  /** @throws GrpcError where a host asks for a workload that is not its own: never the documents of all in their place. */
  #setsFor(info: NodeInfo, caller: Caller): ReadonlyMap<string, ResourceSet> {
    if (info.layer7 === "") return this.#sets;
    const refusal = this.#refuseDocuments(caller, info);
    if (refusal !== null) throw refusal;
    return new Map([...this.#sets, [documentType, this.#documents.viewOf(namespaceOf(info.layer7))]]);
  }

  #mayHaveFor({ layer7 }: NodeInfo, caller: Caller): boolean {
    return layer7 !== "" && this.#options.waypointDocuments?.mayHaveFor?.(caller, layer7) === true;
  }

  /** Never an empty answer: a waypoint would take it for a mesh without policies. */
  #refuseDocuments(caller: Caller, info: NodeInfo): GrpcError | null {
    if (!this.#documents.isReady)
      return new GrpcError(grpcCode.unavailable, "the documents are still being read");
    if (info.layer7 !== "") {
      if (this.#mayHaveFor(info, caller)) return null;
      return new GrpcError(
        grpcCode.permissionDenied,
        `documents for ${info.layer7} are for the host that it runs on; no document places it on this one`,
      );
    }
    if (this.#options.waypointDocuments?.mayHave(caller) === true) return null;
    return new GrpcError(
      grpcCode.permissionDenied,
      "documents are for waypoints; nothing is bound to one that this caller may act as",
    );
  }

  async #push(sinceMs: number): Promise<void> {
    const { clock } = this.#options;
    if (this.#mesh.waiting <= adsLimits.encodedAtOnce) this.#pushNow();
    else {
      const slice = new TimeSlice(clock);
      await slice.run(this.#mesh.prepare());
      const isChanged = await slice.run(this.#mesh.flushInSteps());
      // Those that asked meanwhile were not answered, changed or not.
      if (!this.#closed) await this.#pumpInSlices(slice, isChanged);
      // What came while it went on.
      if (this.#mesh.waiting > 0) this.#timer.changed();
    }
    this.#metrics.pushed(clock.now() - sinceMs);
  }

  #pushNow(): void {
    const hasHead = this.#newHead;
    this.#newHead = false;
    if (!this.#closed && (this.#mesh.flush() || hasHead)) this.#pumpAll();
  }

  #pumpAll(): void {
    for (const subscriber of [...this.#subscribers]) subscriber.pump();
  }

  async #pumpInSlices(slice: TimeSlice, isChanged: boolean): Promise<void> {
    for (const subscriber of [...this.#subscribers]) {
      if (!isChanged && !subscriber.isWaiting) continue;
      subscriber.pump();
      await slice.giveWay();
    }
  }

  #setTrust({ rootsPem, crls, version, wantedIssuerKeyId }: TrustBundle): boolean {
    const value = encodeTrustBundleMessage({
      rootsPem,
      crls: [...crls],
      wantedIssuerKeyId: wantedIssuerKeyId ?? "",
    });
    const resource = contentResource(trustName, value);
    // The bundle's own version, where it has one, is what whoever made it knows it by.
    const changed = this.#trust.apply([version === undefined ? resource : { ...resource, version }], []);
    if (!changed) return false;
    this.#trustVersions.set(this.#trust.revision, this.trustVersion);
    this.#forgetTrustVersions();
    return true;
  }

  /** With the next push: nothing waits for it. */
  #setAuditHead(head: PublishedHead | null): boolean {
    if (head === null) return false;
    const { stateId, id, hash, atMs, signature, chainPem, sinceId, sinceHash, digests } = head;
    const value = encodeAuditHeadMessage({
      stateId,
      id: BigInt(id),
      hash: Uint8Array.fromHex(hash),
      atMs: BigInt(atMs),
      signature: Uint8Array.fromBase64(signature),
      chainPem,
      sinceId: BigInt(sinceId),
      sinceHash: Uint8Array.fromHex(sinceHash),
      digests,
    });
    this.#newHead = this.#auditHeads.apply([contentResource(auditHeadName, value)], []) || this.#newHead;
    return this.#newHead;
  }

  #forgetTrustVersions(): void {
    const held = new Set([...this.#subscribers].map(({ trustRevision }) => trustRevision));
    for (const revision of this.#trustVersions.keys())
      if (revision !== this.#trust.revision && !held.has(revision)) this.#trustVersions.delete(revision);
  }

  /** The oldest whose caller is not known gives its place to the next one. */
  #evictUnproven(): boolean {
    for (const subscriber of this.#subscribers) {
      if (subscriber.caller !== null) continue;
      subscriber.cut(new GrpcError(grpcCode.resourceExhausted, "too many streams"));
      return true;
    }
    return false;
  }

  /** The newest stream of a client is the live one; the others may not have noticed yet that they are dead. */
  #admit(subscriber: Subscriber): void {
    const { caller, node } = subscriber;
    if (caller === null || node === null) return;
    const key = clientKey(caller, node);
    const streams = this.#clients.get(key) ?? [];
    streams.push(subscriber);
    this.#clients.set(key, streams);
    this.#metrics.connected(this.#clients.size);
    if (streams.length === 1) this.#options.onNodeConnected?.(caller, node);
    this.#tellOfSkew(caller, node);
    if (streams.length > this.#limits.maxStreamsPerClient)
      streams[0]?.cut(new GrpcError(grpcCode.aborted, "a newer stream of the same client replaced it"));
  }

  /** It is served all the same: who is cut off learns of no revocation. */
  #tellOfSkew(caller: Caller, node: NodeInfo): void {
    const { version, logger } = this.#options;
    const apart = skewOf(node, version);
    if (apart === null) return;
    const fields = { caller: callerName(caller), version: node.version, own: version };
    logger.log(
      "warn",
      "xds",
      `a node of a much ${apart} version follows; it may not understand all of it`,
      fields,
    );
  }

  #remove(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber);
    const { caller, node, source } = subscriber;
    if (node !== null && node.layer7 !== "") {
      const namespace = namespaceOf(node.layer7);
      const isWanted = [...this.#subscribers].some(
        (other) => namespaceOf(other.node?.layer7 ?? "") === namespace,
      );
      if (!isWanted) this.#documents.forgetView(namespace);
    }
    if (caller !== null) this.#shares.leave(caller, source);
    if (caller === null || node === null) return;
    const key = clientKey(caller, node);
    const streams = this.#clients.get(key) ?? [];
    const index = streams.indexOf(subscriber);
    if (index === -1) return;
    streams.splice(index, 1);
    if (streams.length > 0) return;
    this.#clients.delete(key);
    this.#metrics.connected(this.#clients.size);
    this.#options.onNodeGone?.(caller, node);
  }
}

/** @param workload `namespace/name`. */
function namespaceOf(workload: string): string {
  return workload.slice(0, Math.max(0, workload.indexOf("/")));
}

/** A node is one client; a workload's identity may be that of many instances. */
function clientKey(caller: Caller, node: NodeInfo): string {
  return caller.kind === "node" ? callerName(caller) : `${callerName(caller)} ${node.id}`;
}
