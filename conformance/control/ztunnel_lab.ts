/**
 * A real ztunnel and a node of ours, each in a network namespace of its own, with one control plane of ours between them: `shop/cart`
 * runs behind our node (it joined by token), `shop/db` behind ztunnel (it has a JWT). Our node is reached at a mapped port, so that
 * the same host can also call in plain text; ztunnel has the host's traffic redirected to it.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { comesTrue, hangMs } from "../peer/lab/eventually.ts";
import { openNamespaces, type Place, type Side } from "../peer/lab/place.ts";
import { runToEnd, Subprocess } from "../peer/lab/subprocess.ts";
import type { AccessRecord } from "../peer/subjects/subject.ts";
import { accessRecord } from "../peer/subjects/ztunnel_log.ts";
import { ControlProcess, fairleadArgv } from "./control_process.ts";

export const appPort = 8080;
/** Where the control plane is, on our node's host: a policy for a workload of its address would be one for itself. */
const controlIp = "10.77.0.9";
/** Of our node: leads to `appPort` of the other host. */
const mappedPort = 18_080;
/**
 * With istiod's 2 minutes that certificates begin in the past, ztunnel renews a few seconds after it got one
 * (`refresh_at` of `src/tls/certificate.rs`).
 */
const shortLifetime = "130s";

export type Direction = "cart to db" | "db to cart" | "cart to db in plain text";

export class ZtunnelLab {
  readonly place: Place;
  readonly control: ControlProcess;
  readonly directory: string;
  readonly #ztunnel: string;
  readonly #python: string;
  #node: Subprocess | null = null;
  #tunnel: Subprocess | null = null;
  #held = 0;

  private constructor(
    place: Place,
    control: ControlProcess,
    directory: string,
    ztunnel: string,
    python: string,
  ) {
    this.place = place;
    this.control = control;
    this.directory = directory;
    this.#ztunnel = ztunnel;
    this.#python = python;
  }

  static async open(directory: string, ztunnel: string, python: string): Promise<ZtunnelLab> {
    const meshFiles = join(directory, "mesh");
    mkdirSync(meshFiles, { recursive: true });
    const place = openNamespaces();
    writeFileSync(join(meshFiles, "hosts.yaml"), hosts(place));
    writeFileSync(join(meshFiles, "ghost.yaml"), workloadEntry("ghost", "10.77.0.99", "nowhere"));
    runToEnd(place.client.command(["ip", "addr", "add", `${controlIp}/24`, "dev", "eth0"]));
    const control = await ControlProcess.start({
      directory: join(directory, "control"),
      ip: controlIp,
      port: 15012,
      place: (argv) => place.client.command(argv),
      meshFiles,
    });
    const lab = new ZtunnelLab(place, control, directory, ztunnel, python);
    await lab.#startApplications();
    lab.#redirect();
    return lab;
  }

  get node(): Subprocess {
    if (this.#node === null) throw new Error("our node does not run");
    return this.#node;
  }

  get tunnel(): Subprocess {
    if (this.#tunnel === null) throw new Error("ztunnel does not run");
    return this.#tunnel;
  }

  async close(): Promise<void> {
    await Promise.all([this.#node?.stop(), this.#tunnel?.stop(), this.control.stop()]);
    this.place.close();
  }

  /** A document file beside those that are applied; it is there, or with null it is not, also while the control plane is down. */
  meshFile(name: string, text: string | null): void {
    const path = join(this.directory, "mesh", name);
    if (text === null) rmSync(path);
    else writeFileSync(path, text);
  }

  async startNode(): Promise<void> {
    const { address } = this.place.client;
    const other = this.place.server.address;
    const words = await this.control.joinWords("--node", "host-a");
    this.#node = this.#spawn("node", this.place.client, [
      ...fairleadArgv(),
      ...words,
      ...["--state-directory", join(this.directory, "node"), "--svid-lifetime", shortLifetime],
      ...["--map", `${address}:${mappedPort}=${other}:${appPort}@shop/cart`],
      ...["--admin", `${address}:15000`, "--metrics", "off", "--readiness", `${address}:15021`],
    ]);
    await this.#ready("our node", this.place.client, `http://${address}:15021/healthz/ready`);
  }

  /** @param environment beside what ztunnel needs outside Kubernetes (its `src/config.rs`). */
  async startZtunnel(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const at = (name: string): string => join(this.directory, name);
    await this.giveRoots();
    writeFileSync(at("token"), await this.control.token("shop:db"));
    const { url } = this.control;
    this.#tunnel = this.#spawn("ztunnel", this.place.server, [this.#ztunnel], {
      XDS_ADDRESS: url,
      CA_ADDRESS: url,
      XDS_ROOT_CA: at("root.pem"),
      CA_ROOT_CA: at("root.pem"),
      AUTH_TOKEN: at("token"),
      PROXY_MODE: "dedicated",
      PROXY_WORKLOAD_INFO: "shop/db/db",
      NODE_NAME: "host-b",
      POD_NAME: "db",
      POD_NAMESPACE: "shop",
      INSTANCE_IP: this.place.server.address,
      SECRET_TTL: shortLifetime,
      ENABLE_ORIG_SRC: "false",
      ISTIO_META_DNS_CAPTURE: "false",
      RUST_LOG: "info,ztunnel::xds=debug",
      ...environment,
    });
    await this.tunnel.waitForLine((line) => line.includes("marking server ready"));
  }

  /** What istiod's ConfigMap `istio-ca-root-cert` does on Kubernetes: the roots of now into ztunnel's file, which it watches. */
  async giveRoots(): Promise<void> {
    writeFileSync(join(this.directory, "root.pem"), await this.control.must("ca", "export-root"));
  }

  async stopZtunnel(): Promise<void> {
    await this.tunnel.stop();
    this.#tunnel = null;
  }

  /** What ztunnel holds now. */
  ztunnelState(): string {
    return runToEnd(
      this.place.server.command(["curl", "-sf", "-m", "5", "http://localhost:15000/config_dump"]),
    );
  }

  /** One connection of an application. */
  call(direction: Direction): HeldConnection {
    const { client, server } = this.place;
    const from = direction === "db to cart" ? server : client;
    const [ip, port] =
      direction === "cart to db" ? [client.address, mappedPort] : [this.#otherOf(from).address, appPort];
    const script = join(import.meta.dir, "python/lines.py");
    const process = this.#spawn(`held_${++this.#held}`, from, [
      this.#python,
      script,
      "hold",
      ip,
      String(port),
    ]);
    return new HeldConnection(process);
  }

  /** Connects, sends a line and has it back, ends. @returns why not, or null. */
  async exchange(direction: Direction): Promise<string | null> {
    const held = this.call(direction);
    const problem = await held.exchange();
    await held.close();
    return problem;
  }

  accessRecords(of: "our node" | "ztunnel"): readonly AccessRecord[] {
    return (of === "our node" ? this.node : this.tunnel).lines().flatMap(accessRecord);
  }

  #otherOf(side: Side): Side {
    return side === this.place.client ? this.place.server : this.place.client;
  }

  #spawn(
    name: string,
    side: Side,
    argv: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Subprocess {
    return Subprocess.start({
      name,
      argv: side.command(argv),
      logPath: join(this.directory, `${name}.log`),
      env,
    });
  }

  async #startApplications(): Promise<void> {
    const script = join(import.meta.dir, "python/lines.py");
    for (const side of [this.place.client, this.place.server]) {
      const argv = [this.#python, script, "serve", side.address, String(appPort)];
      const app = this.#spawn(`app_${side.name}`, side, argv);
      await app.waitForLine((line) => line === "serving");
    }
  }

  /** Of ztunnel's host: what its application sends to the other, and what comes to it in plain text. */
  #redirect(): void {
    const { client, server } = this.place;
    const rules = `table ip fairlead_lab {
      chain output {
        type nat hook output priority -100; policy accept;
        ip daddr ${client.address} tcp dport ${appPort} redirect to :15001
      }
      chain prerouting {
        type nat hook prerouting priority -100; policy accept;
        ip daddr ${server.address} tcp dport ${appPort} redirect to :15006
      }
    }\n`;
    runToEnd(server.command(["nft", "-f", "-"]), { input: rules });
  }

  async #ready(what: string, side: Side, url: string): Promise<void> {
    const deadline = performance.now() + hangMs;
    while (Bun.spawnSync(side.command(["curl", "-sf", "-m", "60", url])).exitCode !== 0) {
      if (!this.node.running || performance.now() > deadline)
        throw new Error(`${what} did not become ready:\n${this.node.log()}`);
      await Bun.sleep(50);
    }
  }
}

/** An application's connection that stays open. */
export class HeldConnection {
  readonly #process: Subprocess;
  #sent = 0;

  constructor(process: Subprocess) {
    this.#process = process;
  }

  /** One more line there and back. @returns why not, or null. */
  async exchange(timeoutMs = hangMs): Promise<string | null> {
    const line = `line ${++this.#sent}`;
    this.#process.writeLine(line);
    try {
      const answer = await this.#process.waitForLine(
        (one) => one === line || one.startsWith("ended"),
        timeoutMs,
      );
      return answer === line ? null : answer;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** Waits for the other end, or what is between, to end it. @returns false when it does not. */
  ended(): Promise<boolean> {
    return comesTrue(() => this.#process.lines().some((one) => one.startsWith("ended")));
  }

  async close(): Promise<void> {
    this.#process.endInput();
    await this.#process.stop();
  }
}

export function workloadEntry(name: string, address: string, node: string): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: ${name}
  namespace: shop
  labels:
    app: ${name}
  annotations:
    ambient.istio.io/redirection: enabled
    fairlead.dev/node: ${node}
spec:
  address: ${address}
  serviceAccount: ${name}
`;
}

function hosts({ client, server }: Place): string {
  return `${workloadEntry("cart", client.address, "host-a")}---\n${workloadEntry("db", server.address, "host-b")}`;
}

/** `account` may not call `app`; with null, no workload of the namespace. */
export function denial(app: string | null, account: string): string {
  const selector = `  selector:
    matchLabels:
      app: ${app}
`;
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: denial
  namespace: shop
spec:
${app === null ? "" : selector}  action: DENY
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/shop/sa/${account}"]
`;
}

export const strict = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: shop
spec:
  mtls:
    mode: STRICT
`;
