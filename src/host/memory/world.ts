/**
 * A world in memory: machines, the network between them, and one seeded course of time. The same seed and the same
 * program give the same run, event by event; every `Host` here passes the same contract as the real one.
 */
import { assert } from "../../base/assert.ts";
import { formatSocketAddress, IpAddress, type SocketAddress } from "../../base/ip.ts";
import { MemoryDisk } from "./files.ts";
import { HttpServices } from "./http_services.ts";
import { Link, type NetworkConditions, type Side } from "./link.ts";
import { ListenerTable, UnixSocketTable } from "./listener.ts";
import type { MachineNetwork } from "./machine_network.ts";
import { type Machine, MemoryHost, type ProcessOptions } from "./process.ts";
import { SeededRandom } from "./random.ts";
import { Schedule } from "./schedule.ts";

export interface MachineOptions extends ProcessOptions {
  readonly addresses: readonly string[];
  /** CAP_NET_ADMIN: sources that are not its own. */
  readonly privileged?: boolean;
}

/** What REDIRECT rules do: connects of applications go to `outboundPort`, what comes from outside to `inboundPort`. */
export interface CaptureRules {
  readonly outboundPort: number;
  readonly inboundPort: number;
  /** Traffic with this mark is left alone. */
  readonly mark: number;
  /** Ports that are never redirected, either way. */
  readonly excludedPorts: ReadonlySet<number>;
}

/** 2026-01-01T00:00:00Z. */
const epochMs = 1_767_225_600_000;

export class MemoryWorld {
  readonly schedule = new Schedule();
  /** Services of elsewhere that answer HTTP. */
  readonly http = new HttpServices();
  readonly random: SeededRandom;
  readonly conditions: NetworkConditions = {
    latencyMs: 0.5,
    jitterMs: 0,
    splitRate: 0,
    bufferBytes: 512 * 1024,
  };
  /** Sees everything that is sent, as on a wire. */
  onSegment: ((link: Link, from: Side, bytes: Uint8Array) => void) | null = null;
  readonly #machines = new Map<string, MemoryMachine>();
  readonly #partitions = new Set<string>();
  readonly #names = new Map<string, readonly IpAddress[]>();
  readonly #links = new Set<Link>();
  #nextLink = 1;

  constructor(seed: number) {
    this.random = new SeededRandom(seed, "world");
  }

  get nowMs(): number {
    return this.schedule.nowMs;
  }

  /** A machine. Several processes may run on it, one after the other or at once. */
  machine(name: string, options: MachineOptions): MemoryMachine {
    assert(!this.#machines.has(name), `there is a machine ${name} already`);
    const addresses = options.addresses.map(parseIp);
    for (const ip of addresses)
      assert(this.#machineOf(ip) === null, `${ip.text} is another machine's already`);
    const machine = new MemoryMachine(this, name, addresses, options);
    this.#machines.set(name, machine);
    return machine;
  }

  /** A machine with one process. */
  host(name: string, options: MachineOptions): MemoryHost {
    return this.machine(name, options).start();
  }

  /** @see Schedule.run */
  run(untilMs: number): Promise<void> {
    return this.schedule.run(untilMs);
  }

  runUntilQuiet(limitMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    return this.schedule.runUntilQuiet(limitMs);
  }

  runUntil(condition: () => boolean, limitMs: number): Promise<boolean> {
    return this.schedule.runUntil(condition, limitMs);
  }

  /** Runs the world until `promise` is settled. @throws what it rejects with, or when it takes longer than `limitMs` of simulated time. */
  async settle<T>(promise: Promise<T>, limitMs = this.nowMs + 60_000): Promise<T> {
    let settled = false;
    const mark = () => {
      settled = true;
    };
    promise.then(mark, mark);
    await this.runUntil(() => settled, limitMs);
    assert(settled, `nothing came of it within ${limitMs} ms of simulated time`);
    return promise;
  }

  /** Name service, the same everywhere. */
  setName(hostname: string, addresses: readonly string[]): void {
    this.#names.set(hostname, addresses.map(parseIp));
  }

  resolve(hostname: string): readonly IpAddress[] | null {
    return this.#names.get(hostname) ?? null;
  }

  /** Nothing passes between two machines until `heal`; what was sent waits and is sent again. */
  partition(a: string, b: string): void {
    this.#partitions.add(pair(a, b));
  }

  /** @param a and b: only between these two. */
  heal(a?: string, b?: string): void {
    if (a !== undefined && b !== undefined) this.#partitions.delete(pair(a, b));
    else this.#partitions.clear();
    for (const link of this.#links) link.heal();
  }

  isPartitioned(a: string, b: string): boolean {
    return this.#partitions.size > 0 && this.#partitions.has(pair(a, b));
  }

  /** Every connection that somebody still holds, the oldest first. */
  get links(): ReadonlySet<Link> {
    return this.#links;
  }

  newLink(client: string, server: string): Link {
    const { schedule, conditions } = this;
    const random = this.random.fork(`link ${this.#nextLink}`);
    const context = {
      schedule,
      random,
      conditions,
      isPartitioned: (a: string, b: string) => this.isPartitioned(a, b),
      onGone: (gone: Link) => this.#links.delete(gone),
      onSegment: (sent: Link, from: Side, bytes: Uint8Array) => this.onSegment?.(sent, from, bytes),
    };
    const link = new Link(context, this.#nextLink++, { client, server });
    this.#links.add(link);
    return link;
  }

  machineOf(ip: IpAddress): MemoryMachine | null {
    return this.#machineOf(ip);
  }

  #machineOf(ip: IpAddress): MemoryMachine | null {
    for (const machine of this.#machines.values()) if (machine.owns(ip)) return machine;
    return null;
  }
}

const localLatencyMs = 0.02;

export class MemoryMachine implements Machine, MachineNetwork {
  readonly name: string;
  readonly addresses: readonly IpAddress[];
  readonly disk = new MemoryDisk();
  readonly random: SeededRandom;
  readonly schedule: Schedule;
  readonly listeners = new ListenerTable();
  readonly unixSockets = new UnixSocketTable();
  readonly mayUseForeignAddresses: boolean;
  capture: CaptureRules | null = null;
  readonly #world: MemoryWorld;
  readonly #options: ProcessOptions;
  #wallOffsetMs = 0;
  #nextPort = 32_768;
  #nextPid = 1;

  constructor(
    world: MemoryWorld,
    name: string,
    addresses: readonly IpAddress[],
    options: ProcessOptions & { readonly privileged?: boolean },
  ) {
    this.#world = world;
    this.name = name;
    this.addresses = addresses;
    this.#options = options;
    this.mayUseForeignAddresses = options.privileged ?? true;
    this.schedule = world.schedule;
    this.random = world.random.fork(`machine ${name}`);
  }

  get machine(): string {
    return this.name;
  }

  get network(): MachineNetwork {
    return this;
  }

  /** A new process; `options` add to the machine's. */
  start(options: ProcessOptions = {}): MemoryHost {
    return new MemoryHost(this, this.#nextPid++, { ...this.#options, ...options });
  }

  get httpServices(): HttpServices {
    return this.#world.http;
  }

  hasFile(path: string): boolean {
    return this.disk.exists(path);
  }

  wallMs(): number {
    return epochMs + this.schedule.nowMs + this.#wallOffsetMs;
  }

  /** NTP, an operator, or a resumed virtual machine. Negative goes back. */
  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  owns(ip: IpAddress): boolean {
    return this.addresses.some((own) => own.equals(ip));
  }

  redirect(to: SocketAddress, mark: number | null): SocketAddress | null {
    const { capture } = this;
    if (capture === null || mark === capture.mark || capture.excludedPorts.has(to.port)) return null;
    // What a machine says to itself goes over its loopback interface, which the rules leave alone.
    if (to.ip.isLoopback || this.owns(to.ip)) return null;
    return { ip: parseIp(to.ip.isIpv4 ? "127.0.0.1" : "::1"), port: capture.outboundPort };
  }

  redirectInbound(to: SocketAddress): SocketAddress | null {
    const { capture } = this;
    if (capture === null || capture.excludedPorts.has(to.port)) return null;
    return { ip: to.ip, port: capture.inboundPort };
  }

  nextPort(): number {
    this.#nextPort = this.#nextPort >= 60_999 ? 32_768 : this.#nextPort + 1;
    return this.#nextPort;
  }

  machineOf(ip: IpAddress): MachineNetwork | null {
    if (ip.isLoopback || this.owns(ip)) return this;
    return this.#world.machineOf(ip);
  }

  isPartitioned(other: string): boolean {
    return this.#world.isPartitioned(this.name, other);
  }

  latencyMs(other: string): number {
    const { conditions } = this.#world;
    if (other === this.name) return localLatencyMs;
    return conditions.latencyMs + this.random.float() * conditions.jitterMs;
  }

  resolve(hostname: string): readonly IpAddress[] | null {
    const literal = IpAddress.parse(hostname);
    return literal === null ? this.#world.resolve(hostname) : [literal];
  }

  newLink(client: string, server: string): Link {
    return this.#world.newLink(client, server);
  }

  /** `ip:port` of this machine's first address, for tests. */
  at(port: number): SocketAddress {
    const [ip] = this.addresses;
    assert(ip !== undefined, `${this.name} has no address`);
    return { ip, port };
  }

  toString(): string {
    return `${this.name} (${this.addresses.map((ip) => formatSocketAddress({ ip, port: 0 })).join(", ")})`;
  }
}

function pair(a: string, b: string): string {
  return a < b ? `${a}|${b}` : `${b}|${a}`;
}

function parseIp(text: string): IpAddress {
  const ip = IpAddress.parse(text);
  assert(ip !== null, `${text} is no IP address`);
  return ip;
}
