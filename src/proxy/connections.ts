/**
 * Every open connection, so that each can be decided again. A connection is registered first and decided afterwards:
 * a policy that changes in between finds it here and cannot be missed (ztunnel `connection_manager.rs`).
 */
import { MeshError } from "../base/errors.ts";
import type { Gauge, MetricRegistry } from "../base/metrics.ts";
import { type Listed, notListed, Roster } from "../base/roster.ts";
import { sweep } from "../base/turns/time_slice.ts";
import type { Clock } from "../host/host.ts";
import type { VerifiedPeer } from "../pki/trust/verifier.ts";
import type { Parties } from "./parties.ts";
import { sharedLimits } from "./shared_limits.ts";
import type { ConnectionRecord, Telemetry } from "./telemetry.ts";

/** How a connection into a workload is decided again. */
export interface UnderPolicy {
  readonly workloadUid: string;
  /** @returns why it may not go on; null while it may. */
  decide(): MeshError | null;
}

/** What a connection has by now, and is torn down with it. */
export interface Held {
  abort(error: MeshError): void;
}

export class Connection implements Listed {
  rosterAt = notListed;
  readonly record: ConnectionRecord;
  /** The tunnel's peer, whose certificate may be revoked meanwhile; null for plaintext. */
  peer: VerifiedPeer | null = null;
  /** Null where no policy applies (outbound), and before the first decision. */
  underPolicy: UnderPolicy | null = null;
  /** Each step sets its own; of a connection that is carried, the `Copy`. */
  held: Held | null = null;
  readonly #registry: ConnectionRegistry;
  #ended = false;

  constructor(registry: ConnectionRegistry, record: ConnectionRecord) {
    this.#registry = registry;
    this.record = record;
  }

  get id(): number {
    return this.record.id;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** It has come to its end; the first reason is the one that is recorded. */
  finish(error: MeshError | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#registry.remove(this);
    this.record.close(error);
  }

  /** Ends it from outside. The reason is recorded before anything is torn down, so that no reset that follows can take its place. */
  abort(error: MeshError): void {
    if (this.#ended) return;
    this.finish(error);
    this.held?.abort(error);
  }
}

export class ConnectionRegistry {
  readonly #clock: Pick<Clock, "now" | "defer">;
  readonly #telemetry: Telemetry;
  readonly #maxConnections: number;
  readonly #maxPerPeer: number;
  readonly #open = new Roster<Connection>();
  /** Workloads by uid. */
  readonly #postponed = new Set<string>();
  /** Those that decide again and have not come to their end. */
  readonly #sweeps = new Set<Promise<void>>();
  readonly #perPeer = new Map<string, number>();
  readonly #gauges: Readonly<Record<Parties["direction"], Gauge>>;

  /** @param workers of so many processes this is one: each has its share of what is bounded. */
  constructor(
    clock: Pick<Clock, "now" | "defer">,
    telemetry: Telemetry,
    metrics: MetricRegistry,
    workers = 1,
  ) {
    this.#clock = clock;
    const { maxConnections, maxConnectionsPerPeer } = sharedLimits(workers);
    this.#maxConnections = maxConnections;
    this.#maxPerPeer = maxConnectionsPerPeer;
    this.#telemetry = telemetry;
    const family = metrics.gauge("istio_tcp_sockets_open", "The current number of open TCP connections", [
      "reporter",
    ]);
    this.#gauges = {
      inbound: family.with({ reporter: "destination" }),
      outbound: family.with({ reporter: "source" }),
    };
    metrics.onCollect(() => {
      for (const connection of this.#open) connection.record.flushBytes();
    });
  }

  get size(): number {
    return this.#open.size;
  }

  /** Identities that something is kept for. */
  get peers(): number {
    return this.#perPeer.size;
  }

  /** @returns a MeshError `limit_reached` (blame peer for its own limit, local for ours) instead; it is on record then, and must not be recorded again. */
  open(parties: Parties): Connection | MeshError {
    const connection = new Connection(this, this.#telemetry.opened(parties));
    const refusal = this.#refusal(parties);
    this.#add(connection);
    if (refusal === null) return connection;
    connection.finish(refusal);
    return refusal;
  }

  /** For `Connection.finish`. */
  remove(connection: Connection): void {
    this.#open.delete(connection);
    const { direction, source } = connection.record.parties;
    this.#gauges[direction].add(-1);
    if (direction !== "inbound" || source.identity === null) return;
    const left = (this.#perPeer.get(source.identity.uri) ?? 1) - 1;
    if (left === 0) this.#perPeer.delete(source.identity.uri);
    else this.#perPeer.set(source.identity.uri, left);
  }

  /**
   * Decides again about every connection under policy whose workload `touches` names, and ends those that lose: in slices, since
   * others must not wait for a hundred thousand. What is decided late is decided by the policies of then.
   */
  recheckPolicy(touches: (workloadUid: string) => boolean): void {
    const byUid = new Map<string, boolean>();
    const touched: Connection[] = [];
    for (const uid of [...this.#postponed]) if (touches(uid)) this.#postponed.delete(uid);
    for (const connection of this.#open) {
      const uid = connection.underPolicy?.workloadUid;
      if (uid === undefined) continue;
      const known = byUid.get(uid) ?? touches(uid);
      byUid.set(uid, known);
      if (known) touched.push(connection);
    }
    this.#sweep(touched, (connection) => connection.underPolicy?.decide() ?? null);
  }

  /** A decision about connections of this workload cannot be made yet: `recheckPostponed` makes it. */
  postpone(workloadUid: string): void {
    this.#postponed.add(workloadUid);
  }

  recheckPostponed(): void {
    const due = new Set(this.#postponed);
    this.#postponed.clear();
    if (due.size > 0) this.recheckPolicy((uid) => due.has(uid));
  }

  /**
   * Resolves when every open connection has been decided again by what was in force when this was called, but for what is postponed.
   *
   * @returns null where they all are.
   */
  decidedAgain(): Promise<void> | null {
    return this.#sweeps.size === 0 ? null : Promise.all(this.#sweeps).then(() => {});
  }

  /**
   * Ends every connection whose peer is not trusted any more, in slices.
   *
   * @param judge the verdict on one peer, null while it is trusted. @param onDone all of them have ended.
   */
  recheckTrust(judge: (peer: VerifiedPeer) => MeshError | null, onDone: () => void): void {
    const verdicts = new Map<VerifiedPeer, MeshError | null>();
    const verdictOn = ({ peer }: Connection): MeshError | null => {
      if (peer === null) return null;
      const known = verdicts.get(peer);
      const verdict = known === undefined ? judge(peer) : known;
      verdicts.set(peer, verdict);
      return verdict;
    };
    this.#sweep([...this.#open], verdictOn, onDone);
  }

  #sweep(
    connections: readonly Connection[],
    verdictOn: (connection: Connection) => MeshError | null,
    onDone?: () => void,
  ): void {
    const visit = (connection: Connection): void => {
      const error = connection.ended ? null : verdictOn(connection);
      if (error !== null) connection.abort(error);
    };
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#sweeps.add(promise);
    sweep(this.#clock, connections, visit, () => {
      onDone?.();
      this.#sweeps.delete(promise);
      resolve();
    });
  }

  /** Ends everything that is still open. */
  abortAll(error: MeshError): void {
    for (const connection of [...this.#open]) connection.abort(error);
  }

  [Symbol.iterator](): IterableIterator<Connection> {
    return this.#open[Symbol.iterator]();
  }

  #add(connection: Connection): void {
    this.#open.add(connection);
    const { direction, source } = connection.record.parties;
    this.#gauges[direction].add(1);
    if (direction === "inbound" && source.identity !== null) {
      this.#perPeer.set(source.identity.uri, (this.#perPeer.get(source.identity.uri) ?? 0) + 1);
    }
  }

  #refusal(parties: Parties): MeshError | null {
    if (this.#open.size >= this.#maxConnections) {
      return new MeshError("limit_reached", "local", `${this.#maxConnections} connections are open already`);
    }
    const { identity } = parties.source;
    if (parties.direction !== "inbound" || identity === null) return null;
    const held = this.#perPeer.get(identity.uri) ?? 0;
    if (held < this.#maxPerPeer) return null;
    return new MeshError("limit_reached", "peer", `${identity.uri} holds ${held} connections already`);
  }
}
