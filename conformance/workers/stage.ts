/** Two nodes on loopback addresses, each with workers: `shop/cart` calls `shop/db`, which sends back what it gets. */
import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestAuthority } from "../peer/lab/authority.ts";
import { bulkHangMs, eventually } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import { repository } from "../peer/lab/tools.ts";

export interface OpenConnection {
  readonly id: number;
  readonly direction: "inbound" | "outbound";
  readonly source: { readonly address: string };
}

/** Addresses that no other run on this machine has by chance. */
const prefix = `127.${20 + (process.pid % 200)}.${(process.pid >> 8) % 250}`;
const cart = `${prefix}.1`;
const db = `${prefix}.2`;
const application = 7_000;
const entry = 7_001;

/** Connections of one worker have numbers from here on (`src/app/node/worker.ts`). */
const idsPerWorker = 1e12;

export function workerOf({ id }: Pick<OpenConnection, "id">): number {
  return Math.floor(id / idsPerWorker);
}

export class NodeUnderTest {
  readonly process: Subprocess;
  readonly #admin: string;
  readonly #metrics: string;
  readonly #readiness: string;

  private constructor(process: Subprocess, address: string, admin: string) {
    this.process = process;
    this.#admin = admin;
    this.#metrics = `http://${address}:15020/metrics`;
    this.#readiness = `http://${address}:15021/healthz/ready`;
  }

  /** @param source where mesh and certificates come from. */
  static start(
    { directory }: Pick<Stage, "directory">,
    name: "cart" | "db",
    source: readonly string[],
    flags: readonly string[],
  ): NodeUnderTest {
    const address = name === "cart" ? cart : db;
    const admin = join(directory, `${name}.sock`);
    const process = Subprocess.start({
      name,
      argv: [
        ...program,
        ...["node", ...source, "--admin-socket", admin, "--admin", `${address}:15000`],
        ...["--metrics", `${address}:15020`, "--readiness", `${address}:15021`],
        ...flags,
      ],
      logPath: join(directory, `${name}.log`),
    });
    return new NodeUnderTest(process, address, admin);
  }

  /** Those that it has now, oldest first. */
  get workers(): readonly number[] {
    const children = readFileSync(`/proc/${this.process.pid}/task/${this.process.pid}/children`, "utf8");
    return children.split(" ").filter(Boolean).map(Number);
  }

  async ready(): Promise<void> {
    await eventually(
      `${this.process.name} is ready`,
      async () => {
        if (!this.process.running) throw new Error(`it ended:\n${this.process.log()}`);
        return (await fetch(this.#readiness).catch(() => null))?.ok === true;
      },
      () => this.process.log(),
      bulkHangMs,
    );
  }

  async metric(name: string, ...parts: readonly string[]): Promise<number> {
    const text = await (await fetch(this.#metrics)).text();
    let sum = 0;
    for (const line of text.split("\n"))
      if (line.startsWith(name) && parts.every((part) => line.includes(part)))
        sum += Number(line.slice(line.lastIndexOf(" ") + 1));
    return sum;
  }

  async connections(): Promise<readonly OpenConnection[]> {
    const { out } = await this.cli("get", "connections", "-o", "json");
    return JSON.parse(out);
  }

  /** The certificate that it shows, in PEM. */
  async certificate(): Promise<string> {
    const { out } = await this.cli("get", "certificates", "-o", "json");
    const [{ certChain }] = JSON.parse(out);
    return Buffer.from(certChain[0].pem, "base64").toString();
  }

  async cli(...words: readonly string[]): Promise<{ readonly code: number; readonly out: string }> {
    const child = Bun.spawn([...program, ...words, "--admin", `unix:${this.#admin}`], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, error, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { code, out: out + error };
  }

  /** What it watches until it is ended. */
  follow(directory: string, ...words: readonly string[]): Subprocess {
    return Subprocess.start({
      name: words.join(" "),
      argv: [...program, ...words, "--admin", `unix:${this.#admin}`],
      logPath: join(directory, `${words[0]}.log`),
    });
  }
}

const program =
  process.env.FAIRLEAD === undefined
    ? [process.execPath, join(repository, "src/main.ts")]
    : [process.env.FAIRLEAD];

export class Stage {
  readonly directory: string;
  readonly authority: TestAuthority;
  readonly crlPath: string;
  readonly #server: Bun.TCPSocketListener;
  readonly #open = new Set<Call>();
  readonly nodes: NodeUnderTest[] = [];
  #control: ControlPlane | null = null;

  constructor(directory: string) {
    this.directory = directory;
    mkdirSync(directory, { recursive: true });
    this.authority = TestAuthority.create(join(directory, "pki"), "workers root");
    this.crlPath = join(directory, "lists.pem");
    writeFileSync(this.crlPath, readFileSync(this.authority.revoke([])));
    for (const name of ["cart", "db"] as const) {
      mkdirSync(this.meshPath(name));
      writeFileSync(join(this.meshPath(name), "mesh.yaml"), documents);
      this.allow(name, "cart");
    }
    this.#server = Bun.listen({
      hostname: db,
      port: application,
      socket: { data: (socket, bytes) => void socket.write(bytes) },
    });
  }

  meshPath(name: "cart" | "db"): string {
    return join(this.directory, `mesh_${name}`);
  }

  /** @param account of the caller that may reach the application. */
  allow(name: "cart" | "db", account: string): void {
    writeFileSync(join(this.meshPath(name), "policy.yaml"), policyFor(account));
  }

  /** Revokes a certificate, for both nodes. */
  revoke(certificatePem: string): void {
    const certPath = join(this.directory, "revoked.pem");
    writeFileSync(certPath, certificatePem);
    const list = this.authority.revoke([{ certPath, keyPath: "" }]);
    writeFileSync(this.crlPath, readFileSync(list));
  }

  start(name: "cart" | "db", ...flags: readonly string[]): NodeUnderTest {
    const entries = name === "cart" ? ["--map", `${cart}:${entry}=db.shop.mesh:80@shop/cart`] : [];
    const { authority } = this;
    const source = this.#control?.source(name) ?? [
      ...["-f", this.meshPath(name), "--workload", `shop/${name}`, "--crl", this.crlPath],
      ...["--ca-cert", authority.certPath, "--ca-key", authority.keyPath, "--ca-root", authority.certPath],
    ];
    const node = NodeUnderTest.start(this, name, source, [...entries, ...flags]);
    this.nodes.push(node);
    return node;
  }

  /** Mesh and certificates of nodes that start from now on come from a control plane. */
  async control(): Promise<ControlPlane> {
    this.#control = await ControlPlane.start(this.directory);
    return this.#control;
  }

  /** A connection from end to end, with one answer. Null when it did not come about. */
  async call(): Promise<Call | null> {
    const call = await Call.open();
    if (call !== null) this.#open.add(call);
    return call;
  }

  /** So many that go through. */
  async calls(count: number): Promise<readonly Call[]> {
    const calls = await Promise.all(Array.from({ length: count }, () => this.call()));
    const open = calls.filter((call) => call !== null);
    if (open.length < count) throw new Error(`${open.length} of ${count} calls went through`);
    return open;
  }

  async close(): Promise<void> {
    for (const call of this.#open) call.end();
    await Promise.all(this.nodes.map(({ process }) => process.stop()));
    await this.#control?.process.stop();
    this.#server.stop(true);
  }
}

/** A control plane of the same mesh. */
export class ControlPlane {
  readonly process: Subprocess;
  readonly #directory: string;
  readonly #url = `https://${prefix}.3:25012`;
  readonly #joinLines = new Map<string, readonly string[]>();

  private constructor(directory: string) {
    this.#directory = directory;
    this.process = Subprocess.start({
      name: "control",
      argv: [
        ...program,
        ...["control", "--serving-name", `${prefix}.3`, "--control-listen", `${prefix}.3:25012`],
        ...["--state-directory", join(directory, "control"), "--metrics", "off"],
        ...["--readiness", "off"],
      ],
      logPath: join(directory, "control.log"),
    });
  }

  static async start(directory: string): Promise<ControlPlane> {
    const control = new ControlPlane(directory);
    await eventually(
      "the control plane has its mesh",
      () => {
        if (!control.process.running) throw new Error(`it ended:\n${control.process.log()}`);
        return control.allow("cart");
      },
      () => control.process.log(),
      bulkHangMs,
    );
    for (const name of ["cart", "db"] as const) {
      const { stdout, stderr } = control.command("join-token", "create", "--workload", `shop/${name}`);
      const text = `${stdout}${stderr}`;
      const token = /fjt_\w+/.exec(text)?.[0] ?? "";
      const pin = /sha256:[0-9a-f]+/.exec(text)?.[0] ?? "";
      control.#joinLines.set(name, ["--join-token", token, "--ca-pin", pin]);
    }
    return control;
  }

  /** What a node of it is started with. */
  source(name: string): readonly string[] {
    const state = join(this.#directory, `state_${name}`);
    return ["--control", this.#url, "--state-directory", state, ...(this.#joinLines.get(name) ?? [])];
  }

  /** @returns whether it was done. */
  allow(account: string): boolean {
    const path = join(this.#directory, "applied.yaml");
    writeFileSync(path, `${documents}---\n${policyFor(account)}`);
    return this.command("apply", "-f", path, "--yes").exitCode === 0;
  }

  /** The version of policies that the called node has acknowledged; null while it lacks what it was sent last. */
  get acknowledged(): string | null {
    const nodes: readonly {
      readonly node: string;
      readonly subscriptions: readonly {
        readonly typeUrl: string;
        readonly sent: string;
        readonly acknowledged: string;
      }[];
    }[] = JSON.parse(`${this.command("nodes", "-o", "json").stdout}`);
    const policies = nodes
      .find(({ node }) => node.startsWith("db"))
      ?.subscriptions.find(({ typeUrl }) => typeUrl.endsWith("Authorization"));
    return policies?.sent === policies?.acknowledged ? (policies?.acknowledged ?? null) : null;
  }

  command(...words: readonly string[]) {
    return Bun.spawnSync([...program, ...words], {
      env: {
        ...process.env,
        FAIRLEAD_CONTROL: this.#url,
        FAIRLEAD_IDENTITY: join(this.#directory, "control", "admin.pem"),
      },
    });
  }
}

/** One connection of the caller's application. */
export class Call {
  readonly localPort: number;
  readonly #socket: Bun.Socket;
  #isOver = false;
  #take: (() => void) | null = null;

  private constructor(socket: Bun.Socket) {
    this.#socket = socket;
    this.localPort = socket.localPort;
  }

  static async open(): Promise<Call | null> {
    // Its own end may come before it is known which it is.
    const told: { answer: () => void; end: () => void } = { answer: () => {}, end: () => {} };
    const socket = await Bun.connect({
      hostname: cart,
      port: entry,
      socket: { data: () => told.answer(), close: () => told.end(), error: () => told.end() },
    }).catch(() => null);
    if (socket === null) return null;
    const call = new Call(socket);
    told.answer = () => call.#take?.();
    told.end = () => call.#end();
    return (await call.echo()) ? call : null;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** @returns whether an answer came. */
  async echo(): Promise<boolean> {
    if (this.#isOver) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#take = () => resolve(!this.#isOver);
    this.#socket.write("x");
    return await promise;
  }

  end(): void {
    this.#socket.end();
  }

  #end(): void {
    this.#isOver = true;
    this.#take?.();
  }
}

/** Descriptors that are files of a disk: there is none that a worker writes to or has secrets from. */
export function openFiles(pid: number): readonly string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/${pid}/fd/${fd}`);
      return target.startsWith("/") && !target.startsWith("/dev/") ? [target] : [];
    } catch {
      return [];
    }
  });
}

const documents = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${cart}, serviceAccount: cart}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: db, namespace: shop, labels: {app: db}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${db}, serviceAccount: db}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.shop.mesh]
  addresses: [${prefix}.9]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: tcp, protocol: TCP, targetPort: ${application}}]
  workloadSelector: {labels: {app: db}}
`;

function policyFor(account: string): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: shop}
spec:
  selector: {matchLabels: {app: db}}
  action: ALLOW
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/${account}]}}]}]
`;
}
