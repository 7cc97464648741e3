/** A worker: the data path of a node, in a process of its own. What holds it hears from the node, which alone talks to files, control plane and operators. */
import { registerWorkerMetrics } from "../../../admin/process_metrics.ts";
import { assert } from "../../../base/assert.ts";
import { faultOf, MeshError } from "../../../base/errors.ts";
import { adminLimits } from "../../../base/limits/admin.ts";
import { hostLimits, workerLimits } from "../../../base/limits/host.ts";
import { MetricRegistry } from "../../../base/metrics.ts";
import { opensIpv6Sockets } from "../../../host/capture/ipv6_sockets.ts";
import type { Host, Timer } from "../../../host/host.ts";
import { LogWriter } from "../../../host/log_writer.ts";
import type { ReceivedWorker } from "../../../host/workers.ts";
import type { SpiffeId } from "../../../mesh/identity.ts";
import { MeshStore } from "../../../mesh/store/store.ts";
import { openProvider } from "../../../pki/crypto/open_provider.ts";
import { decodePemLabel } from "../../../pki/der/pem.ts";
import type { Svid } from "../../../pki/svid/svid.ts";
import { TrustVerifier } from "../../../pki/trust/verifier.ts";
import { parseCertificate } from "../../../pki/x509/certificate.ts";
import { createPolicyEngine } from "../../../policy/wasm/engine.ts";
import { ConnectionRegistry } from "../../../proxy/connections.ts";
import { LocalWorkloads } from "../../../proxy/local_workloads.ts";
import { Names } from "../../../proxy/names/names.ts";
import { NodeTunnel } from "../../../proxy/node.ts";
import type { NodeContext } from "../../../proxy/node_context.ts";
import { OwnListeners } from "../../../proxy/own_listeners.ts";
import { inForce } from "../../../proxy/policy_wait.ts";
import { Telemetry } from "../../../proxy/telemetry.ts";
import { UnshownSources } from "../../../proxy/unshown_sources.ts";
import { TurnWatch } from "../../../transport/turn_watch.ts";
import { HandedSvids } from "../../../workers/handed_svids.ts";
import { NodeLink } from "../../../workers/link.ts";
import { snapshotOf } from "../../../workers/merged_metrics.ts";
import type { Told } from "../../../workers/messages.ts";
import { connectionEntry } from "../administration.ts";
import { reportDryRuns } from "../dry_runs.ts";
import { prefetchIdentities } from "../identity.ts";
import { anyAddresses, listenerSettings, nodeSettings, reservedAddresses } from "../settings.ts";
import type { WorkerSettings } from "./worker_settings.ts";

/** Records of different workers have different numbers, and those of one ascend. */
const idsPerWorker = 1e12;

/** @param received of the node. @returns the exit code, when there is nothing left to do. */
export async function runWorker(host: Host, received: ReceivedWorker): Promise<number> {
  const { promise: ended, resolve } = Promise.withResolvers<number>();
  // A terminal and systemd signal every process of the service; what they want is told by the node.
  host.process.onSignal(() => {});
  let worker: Worker | null = null;
  const link = new NodeLink(received.socket, {
    take: (told) => {
      if (told.kind !== "begin") {
        assert(worker !== null, "a worker begins before anything else");
        return worker.take(told);
      }
      return Worker.open(host, link, told, { received, finish: resolve }).then((opened) => {
        worker = opened;
      });
    },
    lost: (error) => {
      worker?.stop();
      // For its last words, which say why.
      host.clock.setTimer(hostLimits.logDelayMs, () => resolve(error === null ? 0 : 1));
    },
  });
  return await ended;
}

class Worker {
  readonly #host: Host;
  readonly #link: NodeLink;
  readonly #settings: WorkerSettings;
  readonly #context: NodeContext;
  readonly #store: MeshStore;
  readonly #svids: HandedSvids;
  readonly #logger: LogWriter;
  readonly #metrics: MetricRegistry;
  readonly #received: ReceivedWorker;
  readonly #finish: (code: number) => void;
  #tunnel: NodeTunnel | null = null;
  #evenOut: Timer | null = null;
  #endWatch: (() => void) | null = null;

  private constructor(parts: WorkerParts) {
    this.#host = parts.host;
    this.#link = parts.link;
    this.#settings = parts.settings;
    this.#context = parts.context;
    this.#store = parts.store;
    this.#svids = parts.svids;
    this.#logger = parts.logger;
    this.#metrics = parts.metrics;
    this.#received = parts.received;
    this.#finish = parts.finish;
  }

  static async open(
    host: Host,
    link: NodeLink,
    { worker, of, settings: given }: Extract<Told, { readonly kind: "begin" }>,
    { received, finish }: { readonly received: ReceivedWorker; readonly finish: (code: number) => void },
  ): Promise<Worker> {
    // The node is this very program, and says what it is told.
    const settings = given as WorkerSettings;
    const { config, facts, reserved } = settings;
    const { clock, random, net } = host;
    const logger = new LogWriter(
      clock,
      (text) => host.process.writeOut(text),
      config.log.format,
      config.log.level,
    );
    host.process.onUncaught((thrown) => {
      const error = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
      logger.log("error", "bug", "please report this bug of fairlead: it ended one connection", { error });
    });
    const metrics = new MetricRegistry();
    const turns = new TurnWatch(clock);
    registerWorkerMetrics(metrics, `${worker}`, {
      residentBytes: () => host.process.residentBytes(),
      cpuMicros: () => host.process.cpuMicros(),
      longestTurnSeconds: () => turns.longestMs / 1000,
      logLinesLost: () => logger.lost,
      connectionsPassed: () => received.passedOn(),
    });
    const provider = await openProvider(config.cryptoProvider);
    const trust = new TrustVerifier({ clock, provider, trustDomain: facts.trustDomain });
    const store = new MeshStore();
    const engine = createPolicyEngine({ clock, missingPolicy: config.missingPolicy });
    store.subscribe(({ policies }) => {
      if (policies !== undefined) engine.update(store.policies());
    });
    reportDryRuns(engine, logger);
    const locals = new LocalWorkloads(clock, logger, store, {
      names: facts.workloads,
      nodeName: facts.nodeName,
      network: facts.network,
      isByAddress: () => facts.isByAddress,
      hostAddresses: () => net.localAddresses(),
    });
    const svids = new HandedSvids(clock, (id: SpiffeId) => link.say({ kind: "want", id }));
    const telemetry = new Telemetry(clock, logger, metrics, worker * idsPerWorker + 1);
    const context: NodeContext = {
      clock,
      random,
      net,
      applications: net,
      logger,
      store,
      engine,
      secrets: svids,
      trust,
      locals,
      names: new Names(clock, net),
      virtual: null,
      unshown: new UnshownSources(clock, logger),
      own: new OwnListeners(net, [...reservedAddresses(config), ...reserved], true),
      connections: new ConnectionRegistry(clock, telemetry, metrics, of),
      telemetry,
      settings: { ...nodeSettings(config), network: facts.network },
    };
    prefetchIdentities(locals, svids, null);
    return new Worker({ host, link, settings, context, store, svids, logger, metrics, received, finish });
  }

  /** See `LinkEvents.take`. */
  take(told: Told): unknown {
    switch (told.kind) {
      case "begin":
        throw new MeshError("message_malformed", "peer", "a worker begins once");
      case "mesh":
        this.#store.apply(told.change);
        return inForce(this.#context.engine, this.#context.connections);
      case "trust":
        if (told.rootsPem !== "") this.#context.trust.setRoots(told.rootsPem);
        return this.#context.trust.setCrls(told.lists).then(() => this.#context.connections.decidedAgain());
      case "svid":
        return this.#svids.take(readSvid(told));
      case "no svid":
        return this.#svids.refuse(told.id, told.reason);
      case "serve":
        return this.#serve();
      case "log level":
        this.#logger.level = told.level;
        return null;
      case "watch":
        return this.#watch(told.on);
      case "ask":
        return this.#answer(told);
      case "drain":
        void this.#drain(told.deadlineMs);
        return null;
    }
  }

  /** Cuts everything. */
  stop(): void {
    this.#evenOut?.cancel();
    this.#tunnel?.stop();
    this.#logger.flush();
  }

  async #serve(): Promise<null> {
    const { config } = this.#settings;
    const hasIpv6 = await opensIpv6Sockets(this.#host.files);
    const wildcards = anyAddresses.filter((ip) => ip.isIpv4 || hasIpv6);
    this.#tunnel = new NodeTunnel(this.#context, listenerSettings(config, wildcards, null));
    this.#giveBackWhenIdle();
    this.#evenOutLater(this.#tunnel);
    return null;
  }

  /** One tunnel at a time: each is a handshake of its peer's. */
  #evenOutLater(tunnel: NodeTunnel): void {
    this.#evenOut = this.#host.clock.setTimer(workerLimits.evenOutMs, () => {
      tunnel.evenOut((source, at, held) => this.#received.hasRoomElsewhere(source, at, held));
      this.#evenOutLater(tunnel);
    });
  }

  #giveBackWhenIdle(): void {
    this.#host.clock.setTimer(hostLimits.settledMs, () => {
      if (this.#context.connections.size === 0) this.#host.process.giveBackMemory();
      else this.#giveBackWhenIdle();
    });
  }

  #watch(on: boolean): null {
    this.#endWatch?.();
    this.#endWatch = on
      ? this.#logger.watch("access", ({ wallMs, level, message, fields = {} }) =>
          this.#link.sayRecord({ kind: "record", wallMs: Math.round(wallMs), level, message, fields }),
        )
      : null;
    return null;
  }

  #answer({ what, id }: Extract<Told, { readonly kind: "ask" }>): unknown {
    const { connections, clock, telemetry } = this.#context;
    switch (what) {
      case "metrics":
        return snapshotOf(this.#metrics);
      case "ended":
        return telemetry.history.find(id);
      case "connections": {
        const listed = [];
        for (const connection of connections) {
          if (listed.length === adminLimits.maxListedConnections) break;
          listed.push(connectionEntry(connection, clock.now()));
        }
        return { listed, total: connections.size };
      }
    }
  }

  async #drain(deadlineMs: number): Promise<void> {
    this.#evenOut?.cancel();
    await this.#tunnel?.drain(deadlineMs);
    this.#logger.flush();
    this.#finish(0);
  }
}

interface WorkerParts {
  readonly host: Host;
  readonly link: NodeLink;
  readonly settings: WorkerSettings;
  readonly context: NodeContext;
  readonly store: MeshStore;
  readonly svids: HandedSvids;
  readonly logger: LogWriter;
  readonly metrics: MetricRegistry;
  readonly received: ReceivedWorker;
  readonly finish: (code: number) => void;
}

function readSvid({
  id,
  certificateChainPem,
  privateKeyPem,
}: Extract<Told, { readonly kind: "svid" }>): Svid {
  const chain = decodePemLabel(certificateChainPem, "CERTIFICATE");
  const certificates = chain.map(parseCertificate);
  const [leaf] = certificates;
  if (leaf === undefined) throw faultOf(new TypeError("an SVID has a certificate"));
  return {
    id,
    chain,
    certificateChainPem,
    privateKeyPem,
    serialNumber: leaf.serialNumber,
    notBeforeMs: leaf.notBeforeMs,
    notAfterMs: Math.min(...certificates.map(({ notAfterMs }) => notAfterMs)),
  };
}
