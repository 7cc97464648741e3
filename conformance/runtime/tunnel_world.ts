/**
 * Two nodes on loopback, one under Node or Deno and one under Bun, each with a workload, its application, and a second workload that no
 * policy lets in. Both nodes have every way in; both are called and call.
 */
import { copyFileSync, renameSync, writeFileSync } from "node:fs";
import { connect as dial, type Socket } from "node:net";
import { join } from "node:path";
import { Processes, type Running } from "../demo/processes.ts";
import { type Leaf, TestAuthority } from "../peer/lab/authority.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { bulk, bulkBytes, TunnelApplication } from "./tunnel_application.ts";

export interface Place {
  /** The workload's name, and what its service is called: `NAME.shop.mesh`. */
  readonly name: string;
  readonly ip: string;
  /** A workload of the same node that may call no one. */
  readonly outsider: string;
  readonly outsiderIp: string;
}

/** A member beside `second` on Bun's node, whose certificate is revoked. */
const third = "third";

/** A member without a node of ours: who answers at its address is a test's to say. */
const absent = "absent";

export interface TunnelNode {
  readonly place: Place;
  readonly running: Running;
  readonly socket: string;
  readonly crlPath: string;
  readonly application: TunnelApplication;
}

const servicePort = 80;
const targetPort = 8080;
const hbonePort = 15008;
const adminPort = 15000;
const readinessPort = 15021;
const socksPort = 1080;
const mapPort = 18080;
const outsiderPort = 18081;
const thirdPort = 18082;

export class TunnelWorld {
  readonly processes: Processes;
  readonly authority: TestAuthority;
  readonly nodes: { readonly other: TunnelNode; readonly bun: TunnelNode };
  #lists = 0;

  private constructor(
    processes: Processes,
    authority: TestAuthority,
    nodes: { readonly other: TunnelNode; readonly bun: TunnelNode },
  ) {
    this.processes = processes;
    this.authority = authority;
    this.nodes = nodes;
  }

  /** @param corner of 127.0.0.0/8. @param commands of the program under either runtime. */
  static async create(
    corner: string,
    commands: { readonly other: readonly string[]; readonly bun: readonly string[] },
  ): Promise<TunnelWorld> {
    const processes = await Processes.create();
    const other = { name: "first", ip: `${corner}.1`, outsider: "stranger", outsiderIp: `${corner}.3` };
    const bun = { name: "second", ip: `${corner}.2`, outsider: "visitor", outsiderIp: `${corner}.4` };
    const authority = TestAuthority.create(join(processes.directory, "ca"), "mesh");
    const mesh = join(processes.directory, "mesh.yaml");
    const thirdIp = `${corner}.5`;
    writeFileSync(mesh, documents([other, bun], thirdIp, `${corner}.6`));
    const start = async (
      place: Place,
      peer: Place,
      command: readonly string[],
      more: (application: TunnelApplication) => readonly string[],
    ): Promise<TunnelNode> => {
      const application = await TunnelApplication.listen();
      const crlPath = join(processes.directory, `${place.name}.crl`);
      copyFileSync(authority.revoke([]), crlPath);
      const socket = join(processes.directory, `${place.name}.sock`);
      const running = processes.start(place.name, [
        ...command,
        "up",
        ...["--file", mesh, "--bind", "addresses", "--hbone-port", String(hbonePort)],
        ...["--workload", `shop/${place.name}`, "--workload", `shop/${place.outsider}`],
        ...["--ca-cert", authority.certPath, "--ca-key", authority.keyPath, "--ca-root", authority.certPath],
        ...["--crl", crlPath, "--admin-socket", socket, "--metrics", "off", "--log-format", "json"],
        ...["--admin", `${place.ip}:${adminPort}`, "--readiness", `${place.ip}:${readinessPort}`],
        ...["--application", `${place.ip}:${targetPort}=127.0.0.1:${application.port}`],
        ...["--socks5", `${place.ip}:${socksPort}@shop/${place.name}`],
        ...["--map", `${place.ip}:${mapPort}=${peer.name}.shop.mesh:${servicePort}@shop/${place.name}`],
        ...[
          "--map",
          `${place.ip}:${outsiderPort}=${peer.name}.shop.mesh:${servicePort}@shop/${place.outsider}`,
        ],
        ...["--drain-deadline", "60s"],
        ...more(application),
      ]);
      return { place, running, socket, crlPath, application };
    };
    const nodes = {
      other: await start(other, bun, commands.other, () => [
        ...["--map", `${other.ip}:${thirdPort}=${third}.shop.mesh:${servicePort}@shop/${other.name}`],
      ]),
      bun: await start(bun, other, commands.bun, ({ port }) => [
        ...["--workload", `shop/${third}`, "--application", `${thirdIp}:${targetPort}=127.0.0.1:${port}`],
        ...["--map", `${bun.ip}:${thirdPort}=${other.name}.shop.mesh:${servicePort}@shop/${third}`],
      ]),
    };
    return new TunnelWorld(processes, authority, nodes);
  }

  async ready(): Promise<void> {
    for (const node of [this.nodes.other, this.nodes.bun])
      await eventually(
        `${node.place.name}'s node is ready`,
        async () =>
          (await fetch(`http://${node.place.ip}:${readinessPort}/healthz/ready`).catch(() => null))?.ok,
        () => node.running.lines.slice(-12).join("\n"),
      );
  }

  /** By SOCKS5 into the mesh, to a service by its name. @throws with the proxy's word when it refuses. */
  bySocks(from: TunnelNode, to: TunnelNode): Promise<Caller> {
    return this.#bySocks(from, to.place.name);
  }

  async #bySocks({ place }: TunnelNode, name: string): Promise<Caller> {
    const caller = await Caller.dial(place.ip, socksPort);
    const host = new TextEncoder().encode(`${name}.shop.mesh`);
    caller.send(Uint8Array.of(5, 1, 0));
    await caller.take(2);
    caller.send(Uint8Array.of(5, 1, 0, 3, host.length, ...host, 0, servicePort));
    const [, word = 255, , family] = await caller.take(4);
    await caller.take(family === 4 ? 18 : 6);
    if (word !== 0) throw new Error(`SOCKS5 answered ${word}`);
    return caller;
  }

  /** Where the tunnel of the member without a node would be. */
  get absentHbone(): { readonly host: string; readonly port: number } {
    return { host: this.nodes.other.place.ip.replace(/\.\d+$/, ".6"), port: hbonePort };
  }

  bySocksToAbsent(from: TunnelNode): Promise<Caller> {
    return this.#bySocks(from, absent);
  }

  /** A key and a certificate of the mesh's CA. @param name of the files. */
  issue(account: string, name: string): Leaf {
    return this.authority.issueFor(`spiffe://cluster.local/ns/shop/sa/${account}`, name);
  }

  /** By a local port that leads to the other node's service. */
  byMap({ place }: TunnelNode, as: "member" | "outsider" = "member"): Promise<Caller> {
    return Caller.dial(place.ip, as === "member" ? mapPort : outsiderPort);
  }

  /** From Bun's node as `third`, from the other to it. */
  byThird({ place }: TunnelNode): Promise<Caller> {
    return Caller.dial(place.ip, thirdPort);
  }

  /** The first line of a node's log with all of these, as text. */
  line({ running }: TunnelNode, ...wanted: readonly string[]): Promise<string> {
    return eventually(
      `a line of ${running.name} with ${wanted.join(", ")}`,
      () => running.lines.find((line) => wanted.every((part) => line.includes(part))),
      () => running.lines.slice(-12).join("\n"),
    );
  }

  /** What Bun's node shows of its certificates: `third`'s, in PEM. */
  async certificateOfThird(): Promise<string> {
    const { ip } = this.nodes.bun.place;
    const dump = (await (await fetch(`http://${ip}:${adminPort}/config_dump`)).json()) as {
      readonly certificates: readonly {
        readonly identity: string;
        readonly certChain: readonly { readonly pem: string }[];
      }[];
    };
    const found = dump.certificates.find(({ identity }) => identity.endsWith(`/sa/${third}`));
    return atob(found?.certChain[0]?.pem ?? "");
  }

  /** Puts a certificate on the list of one node, in one step. */
  revokeAt(node: TunnelNode, pem: string): void {
    const certPath = join(this.processes.directory, `revoked-${this.#lists++}.pem`);
    writeFileSync(certPath, pem);
    copyFileSync(this.authority.revoke([{ certPath, keyPath: "" }]), `${node.crlPath}.new`);
    renameSync(`${node.crlPath}.new`, node.crlPath);
  }

  identity({ place }: TunnelNode): string {
    return `spiffe://cluster.local/ns/shop/sa/${place.name}`;
  }

  hboneOf({ place }: TunnelNode): { readonly host: string; readonly port: number } {
    return { host: place.ip, port: hbonePort };
  }

  async close(): Promise<void> {
    await this.processes.stopAll();
    for (const { application } of Object.values(this.nodes)) application.close();
  }
}

/** One connection of an application. */
export class Caller {
  readonly socket: Socket;
  #unread: Uint8Array[] = [];
  #bytes = 0;
  isEnded = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (bytes: Uint8Array) => {
      this.#unread.push(bytes);
      this.#bytes += bytes.length;
    });
    const end = (): void => {
      this.isEnded = true;
    };
    socket.on("end", end).on("close", end).on("error", end);
  }

  static dial(host: string, port: number): Promise<Caller> {
    return new Promise((resolve, reject) => {
      const socket = dial({ host, port, allowHalfOpen: true });
      socket.once("error", reject);
      socket.once("connect", () => resolve(new Caller(socket)));
    });
  }

  send(bytes: Uint8Array | string): void {
    this.socket.write(bytes);
  }

  /** @throws when it ends before. */
  async take(count: number): Promise<Uint8Array> {
    await eventually(`${count} bytes`, () => this.#bytes >= count || this.isEnded);
    if (this.#bytes < count) throw new Error(`it ended after ${this.#bytes} bytes, not ${count}`);
    const all = Buffer.concat(this.#unread);
    this.#unread = [all.subarray(count)];
    this.#bytes = all.length - count;
    return all.subarray(0, count);
  }

  async says(text: string): Promise<boolean> {
    return Buffer.from(await this.take(text.length)).toString() === text;
  }

  /** How many bytes came before the end. */
  async ended(): Promise<number> {
    await eventually("the end", () => this.isEnded);
    return this.#bytes;
  }

  /** Reads to the end; whether it was the bulk, byte for byte. */
  async takesBulk(): Promise<boolean> {
    let offset = 0;
    let isSame = true;
    const look = (): void => {
      for (const bytes of this.#unread) {
        isSame &&= Buffer.compare(bytes, bulk().subarray(offset, offset + bytes.length)) === 0;
        offset += bytes.length;
      }
      this.#unread = [];
      this.#bytes = 0;
    };
    await eventually("the whole bulk", () => {
      look();
      return this.isEnded || offset >= bulkBytes;
    });
    look();
    this.socket.end();
    return isSame && offset === bulkBytes;
  }

  close(): void {
    this.socket.destroy();
  }
}

function documents(places: readonly Place[], thirdIp: string, absentIp: string): string {
  const members = [...places, { name: third, ip: thirdIp }, { name: absent, ip: absentIp }];
  const parts = [
    ...places.map(({ outsider, outsiderIp }) => workload(outsider, outsiderIp)),
    ...members.flatMap(({ name, ip }) => [workload(name, ip), service(name)]),
  ];
  const principals = members.map(({ name }) => `cluster.local/ns/shop/sa/${name}`).join(", ");
  return [
    ...parts,
    `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
`,
    `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: members, namespace: shop}
spec:
  action: ALLOW
  rules:
  - from: [{source: {principals: [${principals}]}}]
`,
  ].join("---\n");
}

function workload(name: string, ip: string): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: shop, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${ip}, serviceAccount: ${name}, labels: {app: ${name}}}
`;
}

function service(name: string): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop}
spec:
  hosts: [${name}.shop.mesh]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: ${servicePort}, name: tcp, protocol: TCP, targetPort: ${targetPort}}]
  workloadSelector: {labels: {app: ${name}}}
`;
}
