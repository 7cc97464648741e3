/** A whole istiod: etcd, a Kubernetes API server and `pilot-discovery`, on loopback, with nothing of Kubernetes' nodes. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "../control/free_port.ts";
import { TestAuthority } from "../peer/lab/authority.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import type { IstiodFolder } from "./folder.ts";
import { Kubernetes } from "./kubernetes.ts";

export const rootNamespace = "istio-system";

/** Starting all three may take a busy machine longer than anything that is waited for elsewhere. */
const startMs = 180_000;

export interface WholeIstiodOptions {
  readonly folder: IstiodFolder;
  /** Of this one alone; made. */
  readonly directory: string;
  /** More of istiod's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Once the API server is there, and istiod is not. */
  readonly beforeIstiod?: (kubernetes: Kubernetes) => Promise<void>;
}

export class WholeIstiod {
  readonly kubernetes: Kubernetes;
  /** The mesh's root, as istiod gives it to every namespace. */
  readonly rootPath: string;
  readonly port: number = freePort();
  /** In istiod's certificate. */
  readonly name = `istiod.${rootNamespace}.svc`;
  readonly #options: WholeIstiodOptions;
  readonly #ports = { etcd: freePort(), peer: freePort(), api: freePort(), debug: freePort() };
  readonly #token = crypto.randomUUID();
  readonly #authority: TestAuthority;
  #etcd: Subprocess | null = null;
  #api: Subprocess | null = null;
  #istiod: Subprocess | null = null;
  #starts = 0;

  private constructor(options: WholeIstiodOptions) {
    this.#options = options;
    mkdirSync(options.directory, { recursive: true });
    this.#authority = TestAuthority.create(this.#at("authority"), "kubernetes");
    this.kubernetes = new Kubernetes(
      `https://127.0.0.1:${this.#ports.api}`,
      this.#authority.rootPem,
      this.#token,
    );
    this.rootPath = this.#at("root.pem");
  }

  /** Resolves when istiod is ready, and its root is in `rootPath`. */
  static async start(options: WholeIstiodOptions): Promise<WholeIstiod> {
    const made = new WholeIstiod(options);
    try {
      await made.#startStore();
      await made.#startApi();
      for (const path of options.folder.definitions) await made.kubernetes.define(readFileSync(path, "utf8"));
      await made.kubernetes.apply({
        apiVersion: "v1",
        kind: "Namespace",
        metadata: { name: rootNamespace },
      });
      await options.beforeIstiod?.(made.kubernetes);
      await made.startIstiod();
      await made.#readRoot();
      return made;
    } catch (error) {
      await made.stop();
      throw error;
    }
  }

  get istiod(): Subprocess {
    return running(this.#istiod);
  }

  /** For what they cost beside istiod. */
  get beside(): readonly Subprocess[] {
    return [running(this.#etcd), running(this.#api)];
  }

  /** Again, on what the API server holds, too. */
  async startIstiod(): Promise<void> {
    const config = this.#at("kubeconfig");
    writeFileSync(config, kubeconfig(this.#ports.api, this.#authority.certPath, this.#token));
    const loopback = (port: number): string => `127.0.0.1:${port}`;
    this.#istiod = Subprocess.start({
      name: "istiod",
      argv: [
        ...[this.#options.folder.pilotDiscovery, "discovery", "--kubeconfig", config, "-n", rootNamespace],
        ...["--clusterID", "Kubernetes", "--domain", "cluster.local", "--grpcAddr", ""],
        ...["--secureGRPCAddr", loopback(this.port), "--httpAddr", loopback(this.#ports.debug)],
        ...["--httpsAddr", "", "--monitoringAddr", loopback(freePort()), "--ctrlz_port", "0"],
        ...["--shutdownDuration", "1s"],
      ],
      cwd: this.#options.directory,
      env: {
        PILOT_ENABLE_AMBIENT: "true",
        POD_NAMESPACE: rootNamespace,
        POD_NAME: `istiod-${++this.#starts}`,
        REVISION: "default",
        // Beside those names that it has of its own.
        ISTIOD_CUSTOM_HOST: "localhost",
        ...this.#options.env,
      },
      logPath: this.#at(`istiod_${this.#starts}.log`),
    });
    const url = `http://${loopback(this.#ports.debug)}/ready`;
    await this.#until(this.istiod, "istiod is ready", async () => (await fetch(url)).ok);
  }

  async stopIstiod(): Promise<void> {
    await this.#istiod?.stop();
  }

  async stop(): Promise<void> {
    await this.stopIstiod();
    await this.#api?.stop();
    await this.#etcd?.stop();
  }

  async #startStore(): Promise<void> {
    const { etcd: port, peer } = this.#ports;
    const url = `http://127.0.0.1:${port}`;
    const peerUrl = `http://127.0.0.1:${peer}`;
    this.#etcd = Subprocess.start({
      name: "etcd",
      argv: [
        ...[this.#options.folder.etcd, "--data-dir", this.#at("etcd"), "--listen-client-urls", url],
        ...["--advertise-client-urls", url, "--listen-peer-urls", peerUrl],
        ...["--initial-advertise-peer-urls", peerUrl, "--initial-cluster", `default=${peerUrl}`],
      ],
      logPath: this.#at("etcd.log"),
    });
    await this.#until(this.#etcd, "etcd answers", async () => (await fetch(`${url}/health`)).ok);
  }

  async #startApi(): Promise<void> {
    const server = this.#authority.issue({
      name: "kube-apiserver",
      subjectAltNames: ["IP:127.0.0.1", "DNS:localhost"],
    });
    const accounts = this.#authority.issue({ name: "service-accounts", subjectAltNames: [] });
    writeFileSync(this.#at("tokens.csv"), `${this.#token},admin,admin,system:masters\n`);
    this.#api = Subprocess.start({
      name: "kube-apiserver",
      argv: [
        ...[this.#options.folder.kubeApiserver, "--etcd-servers", `http://127.0.0.1:${this.#ports.etcd}`],
        ...["--bind-address", "127.0.0.1", "--secure-port", String(this.#ports.api)],
        // What it would tell others of itself, and does not: no client is to find it by that.
        ...["--advertise-address", "192.0.2.1", "--endpoint-reconciler-type", "none"],
        ...["--tls-cert-file", server.certPath, "--tls-private-key-file", server.keyPath],
        ...["--client-ca-file", this.#authority.certPath, "--token-auth-file", this.#at("tokens.csv")],
        ...["--service-account-issuer", "https://kubernetes.default.svc.cluster.local"],
        ...["--service-account-key-file", accounts.certPath],
        ...["--service-account-signing-key-file", accounts.keyPath],
        ...["--service-cluster-ip-range", "10.97.0.0/16", "--authorization-mode", "AlwaysAllow"],
        ...["--enable-priority-and-fairness=false", "--anonymous-auth=false"],
      ],
      cwd: this.#options.directory,
      logPath: this.#at("kube-apiserver.log"),
    });
    await this.#until(this.#api, "the API server is ready", () => this.kubernetes.isReady());
  }

  async #readRoot(): Promise<void> {
    const of = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "istio-ca-root-cert", namespace: rootNamespace },
    };
    const root = await eventually(
      "istiod gives its root",
      async () => {
        const found = (await this.kubernetes.get(of).catch(() => null)) as {
          readonly data?: Readonly<Record<string, string>>;
        } | null;
        return found?.data?.["root-cert.pem"];
      },
      () => this.istiod.log().slice(-2000),
      startMs,
    );
    writeFileSync(this.rootPath, root);
  }

  async #until(process: Subprocess, what: string, holds: () => Promise<boolean>): Promise<void> {
    await eventually(
      what,
      async () => {
        if (!process.running) throw new Error(`${process.name} ended:\n${process.log().slice(-3000)}`);
        return await holds().catch(() => false);
      },
      () => process.log().slice(-3000),
      startMs,
    );
  }

  #at(name: string): string {
    return join(this.#options.directory, name);
  }
}

function running(process: Subprocess | null): Subprocess {
  if (process === null) throw new Error("it does not run");
  return process;
}

function kubeconfig(port: number, caPath: string, token: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      { name: "lab", cluster: { server: `https://127.0.0.1:${port}`, "certificate-authority": caPath } },
    ],
    users: [{ name: "admin", user: { token } }],
    contexts: [{ name: "lab", context: { cluster: "lab", user: "admin" } }],
    "current-context": "lab",
  });
}
