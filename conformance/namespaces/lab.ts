/** Two hosts, a CA, mesh documents, nodes and applications; all of it gone at the end, however that comes. */
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestAuthority } from "../peer/lab/authority.ts";
import { cleanUp, scratchDirectory } from "../peer/lab/cleanup.ts";
import { Application, killAllApplications } from "./application.ts";
import { service, workload } from "./documents.ts";
import { closeAllHosts, type Host, type Hosts, openHosts } from "./hosts.ts";
import { type NodeOptions, NodeProcess } from "./node_process.ts";
import type { Roughness } from "./roughness.ts";
import { closeAllDisks, TinyDisk } from "./tiny_disk.ts";

/** cart on the client's host calls db on the server's; both in both families. */
export const cart = {
  ip: "10.78.0.11",
  ip6: "fd78::11",
  id: "spiffe://cluster.local/ns/shop/sa/cart",
} as const;
export const db = { ip: "10.78.0.21", ip6: "fd78::21", id: "spiffe://cluster.local/ns/shop/sa/db" } as const;
/** Addresses of no host: one service for each family, so that it is known which is dialled. */
export const dbService = { ip: "10.99.0.21", ip6: "fd99::21", port: 5432, targetPort: 15432 } as const;

export const shop = [
  workload("cart", cart.ip),
  workload("cart-6", cart.ip6, "cart"),
  workload("db", db.ip),
  workload("db-6", db.ip6, "db"),
  service("db", dbService.ip, dbService.port, dbService.targetPort),
  service("db-6", dbService.ip6, dbService.port, dbService.targetPort),
].join("");

export type StartOptions = Partial<Omit<NodeOptions, "name">>;

export class Lab {
  readonly hosts: Hosts;
  readonly directory: string;
  readonly meshPath: string;
  readonly authority: TestAuthority;
  readonly #nodes: NodeProcess[] = [];
  readonly #applications: Application[] = [];
  readonly #disks: TinyDisk[] = [];

  constructor(label: string, documents: string = shop, rough: Roughness | null = null) {
    this.directory = scratchDirectory(label);
    this.meshPath = join(this.directory, "mesh");
    mkdirSync(this.meshPath);
    this.publish("mesh", documents);
    this.authority = TestAuthority.create(join(this.directory, "pki"), "lab root");
    this.hosts = openHosts(rough);
  }

  /** Replaces a file of documents in one step. */
  publish(name: string, text: string): void {
    const path = join(this.meshPath, `${name}.yaml`);
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  }

  withdraw(name: string): void {
    rmSync(join(this.meshPath, `${name}.yaml`));
  }

  /** A node of this mesh with the CA of this lab; it need not become ready. */
  node(host: Host, settings: readonly string[], options: StartOptions = {}): NodeProcess {
    const { certPath, keyPath } = this.authority;
    return this.run(
      host,
      [
        "node",
        "-f",
        this.meshPath,
        "--ca-cert",
        certPath,
        "--ca-key",
        keyPath,
        "--ca-root",
        certPath,
        ...settings,
      ],
      options,
    );
  }

  /** Any command of the program that keeps running. */
  run(host: Host, words: readonly string[], options: StartOptions = {}): NodeProcess {
    const name = `${host.name}-${this.#nodes.length}`;
    const node = new NodeProcess(host, words, {
      name,
      logPath: join(this.directory, `${name}.log`),
      ...options,
    });
    this.#nodes.push(node);
    return node;
  }

  /** Both nodes, with capture, ready. */
  async nodes(
    settings: readonly string[] = [],
    options: StartOptions = {},
  ): Promise<{ readonly client: NodeProcess; readonly server: NodeProcess }> {
    const start = (host: Host) => this.node(host, ["--capture", "redirect", ...settings], options);
    const [client, server] = [start(this.hosts.client), start(this.hosts.server)];
    await Promise.all([client.ready(), server.ready()]);
    return { client, server };
  }

  application(host: Host, wrap?: (argv: readonly string[]) => readonly string[]): Application {
    const application = new Application(host, wrap);
    this.#applications.push(application);
    return application;
  }

  /** A file system that is soon full. */
  disk(kilobytes: number): TinyDisk {
    const disk = new TinyDisk(join(this.directory, `disk-${this.#disks.length}`), kilobytes);
    this.#disks.push(disk);
    return disk;
  }

  async close(): Promise<void> {
    for (const application of this.#applications) application.kill();
    await Promise.all(this.#nodes.map((node) => node.process.stop()));
    this.hosts.close();
    for (const disk of this.#disks) disk.close();
    if (process.env.KEEP_LOGS === undefined) rmSync(this.directory, { recursive: true, force: true });
  }
}

process.on("exit", () => {
  killAllApplications();
  closeAllHosts();
  closeAllDisks();
  cleanUp();
});
