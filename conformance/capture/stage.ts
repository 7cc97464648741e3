/** One place with the processes of a group of cases, and what the cases ask of them. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BackendName, CaptureMethod } from "../../src/host/capture/options.ts";
import { Application } from "../namespaces/application.ts";
import { strictMutualTls } from "../namespaces/documents.ts";
import type { Host } from "../namespaces/hosts.ts";
import { fromSource, NodeProcess } from "../namespaces/node_process.ts";
import { TestAuthority } from "../peer/lab/authority.ts";
import { runToEnd } from "../peer/lab/subprocess.ts";
import { Place, peer as peerAddresses, service, vm as vmAddresses } from "./place.ts";

/** Where the VM's application listens, on every address. */
export const applicationPort = 9000;

export class Stage {
  readonly backend: BackendName;
  readonly method: CaptureMethod;
  readonly place = new Place();
  readonly directory: string;
  readonly #authority: TestAuthority;
  readonly #nodes: NodeProcess[] = [];
  readonly #applications = new Map<Host, Application>();

  constructor(directory: string, backend: BackendName, method: CaptureMethod) {
    this.backend = backend;
    this.method = method;
    this.directory = directory;
    mkdirSync(join(directory, "mesh"), { recursive: true });
    writeFileSync(join(directory, "mesh", "mesh.yaml"), mesh);
    this.#authority = TestAuthority.create(join(directory, "pki"), "capture root");
  }

  strict(): void {
    writeFileSync(join(this.directory, "mesh", "strict.yaml"), strictMutualTls);
  }

  /** A node that captures by the back-end of this stage; ready unless said otherwise. */
  node(host: Host, ...settings: readonly string[]): NodeProcess {
    const { certPath, keyPath } = this.#authority;
    const name = `${host.name}-${this.#nodes.length}`;
    const node = new NodeProcess(
      host,
      [
        ...["node", "-f", join(this.directory, "mesh"), "--workload", `shop/${host.name}`],
        ...["--ca-cert", certPath, "--ca-key", keyPath, "--ca-root", certPath],
        ...["--capture", this.method, "--capture-backend", this.backend, ...settings],
      ],
      { name, logPath: join(this.directory, `${name}.log`) },
    );
    this.#nodes.push(node);
    return node;
  }

  application(host: Host): Application {
    const known = this.#applications.get(host);
    if (known !== undefined) return known;
    const made = new Application(host);
    this.#applications.set(host, made);
    return made;
  }

  /** The VM's application, on every IPv4 address and the one of IPv6. */
  async serve(port = applicationPort): Promise<void> {
    for (const ip of ["0.0.0.0", vmAddresses.ip6])
      await this.application(this.place.vm).listen(ip, port, { kind: "greet" });
  }

  /** The `iptables` that other programs of this host would use; nftables hosts have the one over nf_tables. */
  get iptables(): string {
    return this.backend === "iptables-legacy" ? "iptables-legacy" : "iptables";
  }

  /** A command of fairlead in the VM. */
  fairlead(...words: readonly string[]): { readonly code: number; readonly text: string } {
    const { exitCode, stdout, stderr } = Bun.spawnSync(this.place.vm.command([...fromSource, ...words]));
    return { code: exitCode, text: `${stdout}${stderr}` };
  }

  /** A raw packet from outside. */
  send(kind: string, from: string, sport: number, to: string, port: number): void {
    const script = join(import.meta.dir, "packets.ts");
    const words = [kind, from, String(sport), to, String(port)];
    runToEnd(this.place.outside.command([process.execPath, script, ...words]));
  }

  /** To which port of the VM the connection from `sport` came, of those that wait for the end of their handshake now. */
  halfOpen(sport: number): number | null {
    const remote = `:${sport.toString(16).toUpperCase().padStart(4, "0")}`;
    const table = runToEnd(this.place.vm.command(["cat", "/proc/net/tcp", "/proc/net/tcp6"]));
    for (const line of table.split("\n")) {
      const [, local = "", to = "", state] = line.trim().split(/\s+/);
      if (state === synReceived && to.endsWith(remote)) return Number.parseInt(local.split(":")[1] ?? "", 16);
    }
    return null;
  }

  /** Every capture rule of the VM that is loaded, by program. */
  loaded(): { readonly [program: string]: number } {
    const count = (argv: readonly string[]): number => {
      const { stdout } = Bun.spawnSync(this.place.vm.command(argv));
      return stdout.toString().match(/fairlead/gi)?.length ?? 0;
    };
    return {
      nftables: count(["nft", "list", "tables"]),
      iptables: count(["iptables-save"]) + count(["ip6tables-save"]),
      "iptables-legacy": count(["iptables-legacy-save"]) + count(["ip6tables-legacy-save"]),
    };
  }

  async close(): Promise<void> {
    for (const application of this.#applications.values()) application.kill();
    await Promise.all(this.#nodes.map((node) => node.process.stop()));
    this.place.close();
  }
}

/** TCP_SYN_RECV (net/tcp_states.h). */
const synReceived = "03";

function workload(name: string, address: string): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: shop, labels: {app: ${name}}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: "${address}", serviceAccount: ${name}}
---
`;
}

const mesh = `${workload("vm", vmAddresses.ip)}${workload("peer", peerAddresses.ip)}apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ring, namespace: shop}
spec:
  hosts: [ring.shop]
  addresses: [${service}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: ${applicationPort}, name: tcp, protocol: TCP}]
  workloadSelector: {labels: {app: vm}}
`;
