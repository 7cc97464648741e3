/** A real `fairlead control` process and the command line of its first administrator, from source or the binary that `FAIRLEAD` names. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { connectControl } from "../../src/app/command/control_client.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { keySet, signToken, type TestKey, testKey } from "../../src/pki/testing/token_issuer.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import { repository } from "../peer/lab/tools.ts";

export interface CommandResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface ControlProcessOptions {
  /** Of this control plane alone; made. */
  readonly directory: string;
  readonly ip: string;
  readonly port: number;
  /** The argv that runs `argv` where the control plane is: a network namespace, or this one. */
  readonly place?: (argv: readonly string[]) => string[];
  /** A folder of documents beside those that are applied. */
  readonly meshFiles?: string;
  /** TokenIssuer documents beside the one of `token`; `KEYS` in them is the file of its keys. */
  readonly issuers?: string;
  /** Administrator documents, in force from the start. */
  readonly administrators?: string;
  /** More of the command line: where the CA is. */
  readonly flags?: readonly string[];
}

/** The command that everything of ours is started with. */
export function fairleadArgv(): string[] {
  const built = process.env.FAIRLEAD;
  return built === undefined || built === ""
    ? [process.execPath, join(repository, "src/main.ts")]
    : [resolve(built)];
}

export class ControlProcess {
  readonly url: string;
  readonly directory: string;
  readonly #options: ControlProcessOptions;
  readonly #issuer: TestKey;
  #process: Subprocess | null = null;
  #starts = 0;
  #files = 0;

  private constructor(options: ControlProcessOptions, issuer: TestKey) {
    this.#options = options;
    this.#issuer = issuer;
    this.directory = options.directory;
    this.url = `https://${options.ip}:${options.port}`;
  }

  /** Resolves when it listens. */
  static async start(options: ControlProcessOptions): Promise<ControlProcess> {
    const issuer = await testKey("one", "RS256");
    mkdirSync(options.directory, { recursive: true });
    const at = (name: string): string => join(options.directory, name);
    writeFileSync(at("keys.json"), keySet(issuer));
    writeFileSync(
      at("issuers.yaml"),
      `apiVersion: fairlead.dev/v1
kind: TokenIssuer
metadata:
  name: test
spec:
  issuer: https://issuer.example
  audiences: [istio-ca]
  jwksFile: ${at("keys.json")}
${options.issuers === undefined ? "" : `---\n${options.issuers.replaceAll("KEYS", at("keys.json"))}`}`,
    );
    if (options.administrators !== undefined)
      writeFileSync(at("administrators.yaml"), options.administrators);
    const made = new ControlProcess(options, issuer);
    await made.start();
    return made;
  }

  get process(): Subprocess {
    if (this.#process === null) throw new Error("the control plane does not run");
    return this.#process;
  }

  /** The first administrator's key, certificate and roots. */
  get identityPath(): string {
    return this.#identity;
  }

  get #identity(): string {
    return join(this.directory, "state/admin.pem");
  }

  /** After `kill`: another process on the same state. */
  async start(): Promise<void> {
    const { ip, port, place, meshFiles, administrators, flags = [] } = this.#options;
    const argv = [
      ...fairleadArgv(),
      ...[
        "control",
        "--control-listen",
        `${ip}:${port}`,
        "--serving-name",
        ip,
        "--serving-name",
        "localhost",
      ],
      ...[
        "--state-directory",
        join(this.directory, "state"),
        "--issuers",
        join(this.directory, "issuers.yaml"),
      ],
      ...["--metrics", "off", "--readiness", "off", "--log-format", "json"],
      ...(meshFiles === undefined ? [] : ["-f", meshFiles]),
      ...(administrators === undefined
        ? []
        : ["--administrators", join(this.directory, "administrators.yaml")]),
      ...flags,
    ];
    const started = Subprocess.start({
      name: "fairlead control",
      argv: place?.(argv) ?? argv,
      logPath: join(this.directory, `control_${++this.#starts}.log`),
    });
    this.#process = started;
    await started.waitForLine((line) => line.includes('"message":"listening"'));
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    this.process.kill();
    await this.process.exited;
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
    rmSync(join(this.directory, "state"), { recursive: true, force: true });
  }

  /** As the first administrator. */
  async command(...words: readonly string[]): Promise<CommandResult> {
    const argv = [...fairleadArgv(), ...words, "--control", this.url, "--identity", this.#identity];
    const child = Bun.spawn(this.#options.place?.(argv) ?? argv, {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { code, out, err };
  }

  /** @returns standard output. @throws when it fails. */
  async must(...words: readonly string[]): Promise<string> {
    const { code, out, err } = await this.command(...words);
    if (code !== 0) throw new Error(`fairlead ${words.join(" ")}: exit ${code}\n${out}${err}`);
    return out;
  }

  async apply(documents: string): Promise<void> {
    const path = join(this.directory, `applied_${++this.#files}.yaml`);
    writeFileSync(path, documents);
    await this.must("apply", "--yes", "-f", path);
  }

  /** What a command does, without the time that its process takes. @throws when it is refused. */
  async post(path: string, body: unknown): Promise<void> {
    const { ip, port } = this.#options;
    const connection = await connectControl(createBunHost(), {
      server: { host: ip, port },
      name: null,
      identityPath: this.#identity,
      rootPath: null,
      tokenPath: null,
    });
    try {
      const answer = await connection.request({
        method: "POST",
        path,
        body: JSON.stringify(body),
        maxBytes: 64 * 1024 * 1024,
      });
      if (answer.status !== 200) throw new Error(`${path}: ${new TextDecoder().decode(answer.body)}`);
    } finally {
      connection.close();
    }
  }

  /** The words after `fairlead`. */
  async joinWords(...binding: readonly string[]): Promise<string[]> {
    const [, ...words] = (await this.must("join-token", "create", ...binding)).trim().split(" ");
    return words;
  }

  /** A token with just these claims beside its times, signed by the same keys. */
  tokenOf(claims: Readonly<Record<string, unknown>>): Promise<string> {
    return signToken(this.#issuer, Date.now(), claims);
  }

  /** @param account `namespace:name` */
  token(account: string, claims: Readonly<Record<string, unknown>> = {}): Promise<string> {
    return signToken(this.#issuer, Date.now(), { sub: `system:serviceaccount:${account}`, ...claims });
  }
}
