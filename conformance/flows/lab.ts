/** A small mesh in memory for tests of the flows: machines with nodes, applications, clients, and peers that speak HBONE by hand. */

import "../../src/app/testing/loaded.ts";
import { type RunningNode, startNode } from "../../src/app/node/node.ts";
import { assert } from "../../src/base/assert.ts";
import { parseSocketAddress, type SocketAddress } from "../../src/base/ip.ts";
import { loadConfig } from "../../src/config/load.ts";
import type { Config } from "../../src/config/node/config.ts";
import type { SettingName } from "../../src/config/settings.ts";
import { LogWriter } from "../../src/host/log_writer.ts";
import type { MemoryHost, ProcessOptions } from "../../src/host/memory/process.ts";
import { type MemoryMachine, MemoryWorld } from "../../src/host/memory/world.ts";
import { Recorder } from "../../src/host/testing/recorder.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { peculiarProvider } from "../../src/pki/crypto/peculiar_provider.ts";
import { CertificateAuthority } from "../../src/pki/issue/ca.ts";
import { authorityFile } from "../../src/pki/issue/ca_files.ts";

const stateDirectory = "/state";
const provider = peculiarProvider();

export function at(text: string): SocketAddress {
  const address = parseSocketAddress(text);
  assert(address !== null, text);
  return address;
}

/** Whether the addresses of these tests are IPv6: `over_ipv6.ts` rewrites those in their text, this one too. */
export const isIpv6: boolean = "10.0.0.1".includes(":");

/** An address of either family with a port. */
export function withPort(ip: string, port: number): string {
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** One line of a node's access log. */
export type AccessLine = Readonly<Record<string, string | number>>;

export interface LabNode {
  readonly machine: MemoryMachine;
  readonly host: MemoryHost;
  readonly node: RunningNode;
  /** The access log so far. */
  access(): readonly AccessLine[];
  /** Writes a mesh document file and waits until it is in force. */
  documents(name: string, text: string): Promise<void>;
}

export class FlowLab {
  readonly world: MemoryWorld;
  readonly #authorityPem: string;
  readonly authority: CertificateAuthority;

  private constructor(world: MemoryWorld, authority: CertificateAuthority) {
    this.world = world;
    this.authority = authority;
    const pem = authority.exportPem();
    this.#authorityPem = `${pem.privateKeyPem}${pem.certificatePem}`;
  }

  static async create(seed = 1): Promise<FlowLab> {
    const world = new MemoryWorld(seed);
    const clock = world.machine("authority", { addresses: ["10.255.0.1"] }).start().clock;
    return new FlowLab(
      world,
      await CertificateAuthority.create({ clock, provider, trustDomain: "cluster.local" }),
    );
  }

  /** A machine with a node on it, whose workloads are those with one of its addresses. */
  async node(
    name: string,
    addresses: readonly string[],
    documents: string,
    settings: Partial<Record<SettingName, string>> = {},
    modules: NonNullable<ProcessOptions["modules"]> = {},
  ): Promise<LabNode> {
    const machine = this.world.machine(name, { addresses });
    this.prepare(machine, documents);
    for (const path of Object.keys(modules)) machine.disk.write(path, "a module");
    return this.start(machine, settings, modules);
  }

  /** Puts the lab's CA and mesh documents on a machine's disk. */
  prepare(machine: MemoryMachine, documents: string): void {
    machine.disk.write(`${stateDirectory}/${authorityFile}`, this.#authorityPem);
    machine.disk.write("/mesh/base.yaml", documents);
  }

  /** A process of the node on a machine that is there. */
  async start(
    machine: MemoryMachine,
    settings: Partial<Record<SettingName, string>> = {},
    modules: NonNullable<ProcessOptions["modules"]> = {},
  ): Promise<LabNode> {
    let output = "";
    const host = machine.start({
      modules,
      onOutput: (_stream, text) => {
        output += text;
      },
    });
    const logger = new LogWriter(host.clock, (text) => host.process.writeOut(text), "json", "info");
    const node = await this.world.settle(startNode(host, labConfig(settings), logger));
    const lines = (): readonly AccessLine[] => {
      logger.flush();
      return output
        .split("\n")
        .flatMap((line) => (line.includes('"scope":"access"') ? [JSON.parse(line)] : []));
    };
    return {
      machine,
      host,
      node,
      access: lines,
      documents: async (name, text) => {
        const before = node.context.store.version;
        machine.disk.write(`/mesh/${name}`, text);
        await this.world.runUntil(() => node.context.store.version > before, this.world.nowMs + 5_000);
      },
    };
  }

  /** A connection of a client on `from`, with everything that happens to it written down. */
  /** @param source `address:port` of the caller's own host, where it has several. */
  async connect(from: MemoryHost, to: string, source?: string): Promise<Recorder> {
    const bound = source === undefined ? {} : { from: { ...at(source), transparent: false } };
    return new Recorder(
      await this.world.settle(from.net.connect({ to: at(to), timeoutMs: 5_000, ...bound })),
    );
  }

  /** Accepts on `address` and writes down what comes; `onAccept` plays the application. */
  application(
    host: MemoryHost,
    address: string,
    onAccept: (peer: Recorder) => void = () => {},
  ): readonly Recorder[] {
    const accepted: Recorder[] = [];
    host.net.listen({ address: at(address) }, (socket) => {
      const recorder = new Recorder(socket);
      accepted.push(recorder);
      onAccept(recorder);
    });
    return accepted;
  }

  run(ms: number): Promise<void> {
    return this.world.run(this.world.nowMs + ms);
  }

  /** Until `condition` holds. @throws when it does not within `limitMs` of simulated time. */
  async until(condition: () => boolean, what: string, limitMs = 10_000): Promise<void> {
    assert(await this.world.runUntil(condition, this.world.nowMs + limitMs), `it never came to ${what}`);
  }
}

/** A node without administration; with `control` it has no documents. */
export function labConfig(given: Partial<Record<SettingName, string>>): Config {
  const all: Partial<Record<SettingName, string>> = {
    ...(given.control === undefined ? { mesh: "/mesh" } : {}),
    stateDirectory,
    cryptoProvider: "peculiar",
    admin: "off",
    metrics: "off",
    readiness: "off",
    ...given,
  };
  const flags = new Map(Object.entries(all).map(([name, text]) => [name as SettingName, [text]]));
  const loaded = loadConfig({ flags, environment: {}, file: null });
  assert(loaded.config !== null, loaded.config === null ? JSON.stringify(loaded.errors) : "");
  return loaded.config;
}

/** `shop/NAME` with service account NAME, taking HBONE. */
export function workloadEntry(name: string, address: string, extra = ""): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: ${name}
  namespace: shop
  labels: {app: ${name}}
  annotations: {ambient.istio.io/redirection: enabled}
spec: {address: ${address}, serviceAccount: ${name}}
${extra}---
`;
}

export function serviceEntry(name: string, vip: string, port: number, targetPort: number): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop}
spec:
  hosts: [${name}.shop]
  addresses: [${vip}]
  ports: [{number: ${port}, name: tcp, protocol: TCP, targetPort: ${targetPort}}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: ${name}}}
---
`;
}

export const strictMutualTls = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
`;

/** Only these service accounts of `shop` may reach `app`. */
export function allowOnly(app: string, ...accounts: readonly string[]): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${app}-callers, namespace: shop}
spec:
  selector: {matchLabels: {app: ${app}}}
  action: ALLOW
  rules:
  - from: [{source: {principals: [${accounts.map((account) => `cluster.local/ns/shop/sa/${account}`).join(", ")}]}}]
---
`;
}

export function shopId(serviceAccount: string): SpiffeId {
  return new SpiffeId("cluster.local", "shop", serviceAccount);
}
