/** What a flow of a node has around it, for tests: a mesh, a register with its log, and connections that are made when the test says so. */
import { MeshError } from "../../base/errors.ts";
import type { IpAddress, SocketAddress } from "../../base/ip.ts";
import type { LogFields } from "../../base/log.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import type { ConnectOptions } from "../../host/host.ts";
import { FakeSocket } from "../../host/testing/fake_socket.ts";
import type { Service } from "../../mesh/service.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { ip } from "../../mesh/testing/fixture.ts";
import type { Workload } from "../../mesh/workload.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { ConnectionRegistry } from "../connections.ts";
import type { NodeContext } from "../node_context.ts";
import { OwnListeners } from "../own_listeners.ts";
import { Telemetry } from "../telemetry.ts";
import { at } from "../tunnel/testing/tunnel_scene.ts";
import { UnshownSources } from "../unshown_sources.ts";

/** A socket of whoever is at `remote`. */
export function socketFrom(remote: SocketAddress, local: SocketAddress): FakeSocket {
  return Object.assign(new FakeSocket(), { local, remote });
}

/** A connection that was dialled, and waits for the test. */
export interface Dialled {
  readonly options: ConnectOptions;
  readonly socket: FakeSocket;
  connects(): Promise<void>;
  fails(error: MeshError): Promise<void>;
}

export class FlowScene {
  readonly clock = new FakeClock(0);
  readonly store = new MeshStore();
  readonly lines: LogFields[] = [];
  readonly dialled: Dialled[] = [];
  /** What names resolve to; an error is thrown. */
  readonly named = new Map<string, readonly IpAddress[] | MeshError>();
  readonly lookups: string[] = [];
  readonly forgotten: string[] = [];
  readonly connections: ConnectionRegistry;
  readonly telemetry: Telemetry;
  readonly own: OwnListeners;

  constructor(things: readonly (Workload | Service)[], hostAddresses: readonly string[] = ["10.0.0.1"]) {
    this.store.apply({
      workloads: { upsert: things.flatMap((thing) => ("uid" in thing ? [thing] : [])) },
      services: { upsert: things.flatMap((thing) => ("uid" in thing ? [] : [thing])) },
    });
    const metrics = new MetricRegistry();
    const logger = {
      log: (_level: unknown, _target: unknown, _message: unknown, fields: LogFields = {}) =>
        void this.lines.push(fields),
    };
    this.telemetry = new Telemetry(this.clock, logger, metrics);
    this.connections = new ConnectionRegistry(this.clock, this.telemetry, metrics);
    this.own = new OwnListeners(
      {
        localAddresses: () => hostAddresses.map(ip),
        listen: ({ address }) => ({ address, close() {} }),
      },
      [],
    );
  }

  /** The reasons on record, by their codes; null of an end in order. */
  get codes(): readonly (string | null)[] {
    return this.lines.map(({ error }) => (typeof error === "string" ? (error.split(":")[0] ?? "") : null));
  }

  /** There is no room for another connection, which the register puts on record itself. */
  fill(): void {
    this.connections.open = () => new MeshError("limit_reached", "local", "there is no room");
  }

  context(more: Partial<NodeContext> = {}): NodeContext {
    const net = { connect: (options: ConnectOptions) => this.#dial(options) };
    return {
      ...{ clock: this.clock, net, applications: net, store: this.store, own: this.own },
      ...{ connections: this.connections, telemetry: this.telemetry, virtual: null },
      random: { float: () => 0, fill: () => {} },
      trust: { recheck: () => null },
      locals: {
        isHostAddress: () => true,
        byAddress: (address: IpAddress) => this.store.workloadByAddress("", address),
      },
      unshown: new UnshownSources(this.clock, { log: () => {} }),
      names: {
        resolve: async (name: string) => {
          this.lookups.push(name);
          const found = this.named.get(name);
          if (found instanceof Error) throw found;
          if (found === undefined) throw new MeshError("name_not_found", "upstream", `${name}: no such name`);
          return found;
        },
        forget: (name: string) => void this.forgotten.push(name),
      },
      settings: {
        ...{ network: "", hbonePort: 15008, mark: null, originalSource: "off" },
        ...{ applicationAddresses: new Map(), workers: 1 },
      },
      ...more,
    } as unknown as NodeContext;
  }

  settle(): Promise<void> {
    return this.clock.advance(0);
  }

  #dial(options: ConnectOptions): Promise<FakeSocket> {
    const { promise, resolve, reject } = Promise.withResolvers<FakeSocket>();
    const socket = socketFrom(options.to, at("10.0.0.1", 40_000));
    this.dialled.push({
      options,
      socket,
      connects: () => {
        resolve(socket);
        return this.settle();
      },
      fails: (error) => {
        reject(error);
        return this.settle();
      },
    });
    return promise;
  }
}
