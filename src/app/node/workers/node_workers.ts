/** The processes that carry a node's traffic, as the node sees them: what it tells them of its state, and what it hears of theirs. */
import type { ConnectionEntry } from "../../../admin/node/sources.ts";
import { workerLimits } from "../../../base/limits/host.ts";
import type { LogEntry, LogLevel } from "../../../base/log.ts";
import type { MetricRegistry, MetricSource } from "../../../base/metrics.ts";
import type { Config } from "../../../config/node/config.ts";
import type { Host, Timer } from "../../../host/host.ts";
import type { LogWriter } from "../../../host/log_writer.ts";
import type { WorkerProcesses } from "../../../host/workers.ts";
import { changeInParts } from "../../../mesh/store/change.ts";
import type { MeshChange, MeshStore } from "../../../mesh/store/store.ts";
import type { SecretManager } from "../../../pki/svid/secrets.ts";
import type { Svid } from "../../../pki/svid/svid.ts";
import type { TrustVerifier } from "../../../pki/trust/verifier.ts";
import type { EndedConnection } from "../../../proxy/connection_history.ts";
import type { LocalWorkloads } from "../../../proxy/local_workloads.ts";
import { Crew } from "../../../workers/crew.ts";
import { MergedMetrics, readSnapshot } from "../../../workers/merged_metrics.ts";
import type { Told } from "../../../workers/messages.ts";
import type { Lifecycle } from "../../lifecycle.ts";
import type { CrlSets } from "../mesh_source.ts";
import type { WorkerSettings } from "./worker_settings.ts";

export interface NodeWorkersParts {
  readonly host: Host;
  readonly logger: LogWriter;
  readonly processes: WorkerProcesses;
  readonly config: Config;
  readonly settings: WorkerSettings;
  readonly store: MeshStore;
  readonly trust: TrustVerifier;
  readonly crls: CrlSets;
  readonly secrets: SecretManager;
  readonly locals: LocalWorkloads;
  readonly metrics: MetricRegistry;
}

export class NodeWorkers {
  readonly #parts: NodeWorkersParts;
  #crew: Crew | null = null;
  readonly #metrics: MergedMetrics;
  readonly #watchers = new Set<(entry: LogEntry) => void>();
  readonly #subscriptions: (() => void)[] = [];
  #connections: readonly ConnectionEntry[] = [];
  #total = 0;
  #inForce: Promise<void> = Promise.resolve();
  #ask: Timer | null = null;
  #isOver = false;

  constructor(parts: NodeWorkersParts) {
    this.#parts = parts;
    this.#metrics = new MergedMetrics(parts.metrics);
  }

  /**
   * Starts them: there is a mesh to carry traffic by, and whatever changes from now on they are told. Resolves when all of them serve.
   *
   * @throws MeshError when one cannot: a port that cannot be had; or `stopped`.
   */
  async start(life: Lifecycle): Promise<Pick<NodeWorkers, "drain">> {
    const { host, logger, processes, config, store, trust, secrets, metrics } = this.#parts;
    const ended = metrics
      .counter("fairlead_worker_ends", "Workers that ended, each replaced by another", [])
      .with({});
    const crew = new Crew({
      clock: host.clock,
      random: host.random,
      logger,
      count: config.workers,
      start: (worker) => processes.start(worker, config.workers),
      state: (worker) => this.#state(worker),
      onWant: (id, worker) => void this.#hand(id, (told) => worker.tell(told)),
      onRecord: (record) => {
        for (const watcher of this.#watchers) watcher({ ...record, target: "access" });
      },
      onEnd: (worker) => {
        if (!this.#isOver) ended.add(1);
        this.#metrics.end(`${worker}`);
      },
    });
    this.#crew = crew;
    life.onStop(() => this.stop());
    this.#subscriptions.push(
      store.subscribe((change) => this.#tellMesh(change)),
      trust.changes.subscribe(() => this.#tell(this.#trust())),
      secrets.subscribe((svid) => {
        if (this.#isLocal(svid.id.uri)) this.#tell(handed(svid));
      }),
    );
    this.#askLater(crew);
    await crew.serving;
    return this;
  }

  /** Resolves when what holds now is in force in each of them. */
  inForce(): Promise<void> {
    return this.#inForce;
  }

  get metrics(): MetricSource {
    return this.#metrics;
  }

  /** As of the last `refresh`. */
  get connections(): { readonly listed: readonly ConnectionEntry[]; readonly total: number } {
    return { listed: this.#connections, total: this.#total };
  }

  /** What readiness waits for. */
  get pending(): readonly string[] {
    const { workers } = this.#parts.config;
    const missing = workers - (this.#crew?.states.filter(({ serves }) => serves).length ?? 0);
    return missing === 0 ? [] : [`${missing} of ${workers} workers`];
  }

  /** Hears of each its counters and its open connections. */
  async refresh(): Promise<void> {
    const crew = this.#crew;
    if (crew === null) return;
    const [metrics, connections] = await Promise.all([crew.ask("metrics"), crew.ask("connections")]);
    this.#takeMetrics(metrics);
    const pages = [...connections.values()].map(readConnections);
    this.#connections = pages.flatMap(({ listed }) => listed);
    this.#total = pages.reduce((total, page) => total + page.total, 0);
  }

  /** A connection that has ended, by the number of its record. */
  async ended(id: number): Promise<EndedConnection | null> {
    for (const answer of (await this.#crew?.ask("ended", id))?.values() ?? [])
      if (typeof answer === "object" && answer !== null && "id" in answer) return answer as EndedConnection;
    return null;
  }

  setLogLevel(level: LogLevel): void {
    this.#tell({ kind: "log level", level });
  }

  watchRecords(listener: (entry: LogEntry) => void): () => void {
    this.#watchers.add(listener);
    if (this.#watchers.size === 1) this.#tell({ kind: "watch", on: true });
    return () => {
      if (this.#watchers.delete(listener) && this.#watchers.size === 0)
        this.#tell({ kind: "watch", on: false });
    };
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#end();
    await this.#crew?.drain(deadlineMs);
  }

  async stop(): Promise<void> {
    this.#end();
    await this.#crew?.stop();
  }

  #end(): void {
    this.#isOver = true;
    this.#ask?.cancel();
    for (const unsubscribe of this.#subscriptions) unsubscribe();
  }

  #tell(told: Told): void {
    if (this.#crew !== null) this.#inForce = this.#crew.tell(told);
  }

  /** Of files a change may be all of the mesh: no frame holds a turn at either end, or outgrows its bound. */
  #tellMesh(whole: MeshChange): void {
    for (const change of changeInParts(whole, workerLimits.changesPerFrame))
      this.#tell({ kind: "mesh", change });
  }

  *#state(worker: number): Generator<Told> {
    const { config, settings, store, secrets, logger } = this.#parts;
    yield { kind: "begin", worker, of: config.workers, settings };
    yield { kind: "log level", level: logger.level };
    if (this.#watchers.size > 0) yield { kind: "watch", on: true };
    yield this.#trust();
    const whole = {
      workloads: { upsert: [...store.workloads()] },
      services: { upsert: [...store.services()] },
      policies: { upsert: [...store.policies()] },
    };
    for (const change of changeInParts(whole, workerLimits.changesPerFrame)) yield { kind: "mesh", change };
    for (const { svid } of secrets.entries())
      if (svid !== null && this.#isLocal(svid.id.uri)) yield handed(svid);
  }

  #trust(): Told {
    const { trust, crls } = this.#parts;
    return { kind: "trust", rootsPem: trust.rootsPem, lists: crls.lists };
  }

  /** Of this host alone: a worker speaks with strangers, and is not believed further than it has to be. */
  #isLocal(uri: string): boolean {
    return this.#parts.locals.all.some(({ identity }) => identity.uri === uri);
  }

  async #hand(id: Svid["id"], tell: (told: Told) => void): Promise<void> {
    const { secrets, locals } = this.#parts;
    const local = locals.all.find(({ identity }) => identity.uri === id.uri);
    if (local === undefined) {
      tell({ kind: "no svid", id, reason: "no workload of this host has it" });
      return;
    }
    try {
      tell(handed(await secrets.svid(local.identity)));
    } catch (thrown) {
      tell({ kind: "no svid", id, reason: thrown instanceof Error ? thrown.message : String(thrown) });
    }
  }

  #takeMetrics(answers: ReadonlyMap<number, unknown>): void {
    for (const [worker, answer] of answers) {
      const snapshot = readSnapshot(answer);
      if (snapshot !== null) this.#metrics.set(`${worker}`, snapshot);
    }
  }

  /** For what one has counted by its end, and to see that each still answers. */
  #askLater(crew: Crew): void {
    this.#ask = this.#parts.host.clock.setTimer(workerLimits.askMs, () => {
      void crew.ask("metrics").then((answers) => {
        this.#takeMetrics(answers);
        if (!this.#isOver) this.#askLater(crew);
      });
    });
  }
}

function handed({ id, certificateChainPem, privateKeyPem }: Svid): Told {
  return { kind: "svid", id, certificateChainPem, privateKeyPem };
}

function readConnections(answer: unknown): {
  readonly listed: readonly ConnectionEntry[];
  readonly total: number;
} {
  if (typeof answer !== "object" || answer === null || !("listed" in answer) || !("total" in answer))
    return { listed: [], total: 0 };
  const { listed, total } = answer;
  return {
    listed: Array.isArray(listed) ? listed : [],
    total: typeof total === "number" ? total : 0,
  };
}
