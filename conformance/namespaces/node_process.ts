/** A fairlead node as a process on one of the hosts, watched by its log, its ports and its exit code. */
import { join } from "node:path";
import { eventually } from "../peer/lab/eventually.ts";
import { runToEnd, Subprocess } from "../peer/lab/subprocess.ts";
import { repository } from "../peer/lab/tools.ts";
import type { Host } from "./hosts.ts";

/** From source; a test of the built binary names that. */
export const fromSource: readonly string[] = [process.execPath, join(repository, "src/main.ts")];

/** One line of the node's log; access lines have the fields of ztunnel's. */
export type LogLine = Readonly<Record<string, unknown>> & {
  readonly level: string;
  readonly time: string;
  readonly scope: string;
  readonly message: string;
};

export interface CertificateShown {
  readonly identity: string;
  readonly serialNumber: string;
  /** The leaf alone. */
  readonly pem: string;
}

export interface NodeOptions {
  readonly name: string;
  readonly logPath: string;
  readonly program?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What starts it in place of its own argv: a limit, say. */
  readonly wrap?: (argv: readonly string[]) => readonly string[];
}

export class NodeProcess {
  readonly host: Host;
  readonly process: Subprocess;

  /** @param words `node` or `up`, and settings. */
  constructor(host: Host, words: readonly string[], options: NodeOptions) {
    this.host = host;
    const argv = host.command([...(options.program ?? fromSource), ...words, "--log-format", "json"]);
    this.process = Subprocess.start({
      name: options.name,
      argv: options.wrap?.(argv) ?? argv,
      logPath: options.logPath,
      ...(options.env === undefined ? {} : { env: options.env }),
    });
  }

  /** @throws with the log when it does not become ready. */
  async ready(): Promise<this> {
    await eventually(
      `${this.process.name} ready`,
      () => {
        if (!this.process.running) throw new Error(`${this.process.name} ended:\n${this.process.log()}`);
        return this.get("http://127.0.0.1:15021/healthz/ready") !== null;
      },
      () => this.process.log().slice(-2000),
    );
    return this;
  }

  /** From an address of its own host; null when the answer was no 200. */
  get(url: string): string | null {
    const { exitCode, stdout } = Bun.spawnSync(this.host.command(["curl", "-sf", "-m", "60", "-g", url]));
    return exitCode === 0 ? stdout.toString() : null;
  }

  /** Whole lines: the last one may be half-written as yet. */
  get log(): readonly LogLine[] {
    return this.process
      .log()
      .split("\n")
      .slice(0, -1)
      .flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as LogLine] : []));
  }

  /** Access lines: one for each connection that is over. */
  get records(): readonly LogLine[] {
    return this.log.filter((line) => line.scope === "access");
  }

  /** The first line with all of `fields`. @throws with the end of the log when it does not come. */
  line(fields: Readonly<Record<string, string | number | RegExp>>): Promise<LogLine> {
    const matches = (line: LogLine): boolean =>
      Object.entries(fields).every(([name, wanted]) => {
        const value = line[name];
        return (
          value === wanted || (typeof value === "string" && wanted instanceof RegExp && wanted.test(value))
        );
      });
    return eventually(
      `a line of ${this.process.name} with ${Object.entries(fields).map(([name, value]) => `${name}=${value}`)}`,
      () => this.log.find(matches),
      () => this.process.lines().slice(-12).join("\n"),
    );
  }

  certificates(): readonly CertificateShown[] {
    const dump: unknown = JSON.parse(this.get("http://127.0.0.1:15000/config_dump") ?? "{}");
    const { certificates } = dump as {
      certificates: { identity: string; certChain: { serialNumber: string; pem: string }[] }[];
    };
    return certificates.flatMap(({ identity, certChain: [leaf] }) =>
      leaf === undefined ? [] : [{ identity, serialNumber: leaf.serialNumber, pem: atob(leaf.pem) }],
    );
  }

  certificate(account: string): CertificateShown {
    const found = this.certificates().find(({ identity }) => identity.endsWith(`/sa/${account}`));
    if (found === undefined) throw new Error(`${this.process.name} has no certificate of ${account}`);
    return found;
  }

  /** The sum of a metric over the series that have all of these labels. */
  metric(name: string, labels: Readonly<Record<string, string>> = {}): number {
    const text = this.get("http://127.0.0.1:15020/metrics") ?? "";
    let sum = 0;
    for (const line of text.split("\n")) {
      const wanted = Object.entries(labels).every(([label, value]) => line.includes(`${label}="${value}"`));
      if (/^\w+/.exec(line)?.[0] === name && wanted) sum += Number(line.split(" ").at(-1));
    }
    return sum;
  }

  /** @returns the exit code. */
  async stop(): Promise<number> {
    this.process.signal("SIGTERM");
    return await this.process.exited;
  }

  /** Capture rules of ours that this host has now, of any kind. */
  captureRules(): readonly string[] {
    const left = (argv: readonly string[], ours: RegExp): string[] =>
      runToEnd(this.host.command(argv))
        .split("\n")
        .filter((line) => ours.test(line))
        .map((line) => `${argv.join(" ")}: ${line}`);
    return [
      ...left(["nft", "list", "tables"], /fairlead/),
      ...left(["ip", "rule"], /0x11[123]/),
      ...left(["ip", "-6", "rule"], /0x11[123]/),
      ...left(["ip", "route", "show", "table", "all"], /table 100\b/),
      ...left(["ip", "-6", "route", "show", "table", "all"], /table 100\b/),
    ];
  }
}
