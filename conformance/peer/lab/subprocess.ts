/** Real processes under test: started, watched by what they write, measured through /proc, and always ended. */
import { closeSync, openSync, readFileSync } from "node:fs";
import { hangMs } from "./eventually.ts";

export interface SubprocessOptions {
  /** For messages. */
  readonly name: string;
  readonly argv: readonly string[];
  /** Standard output and error both go here. */
  readonly logPath: string;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Resident memory in bytes; shared pages counted whole (rss) and by share (pss). Anonymous is what only swap could take back. */
export interface ResidentMemory {
  readonly anonymousBytes: number;
  readonly rssBytes: number;
  readonly pssBytes: number;
}

const alive = new Set<Subprocess>();

/** How long a process may take to end after SIGTERM before it is killed. */
const stopDeadlineMs = 3000;

export class Subprocess {
  readonly name: string;
  readonly logPath: string;
  readonly #child: Bun.Subprocess<"pipe" | "ignore", number, number>;

  private constructor(options: SubprocessOptions, child: Bun.Subprocess<"pipe" | "ignore", number, number>) {
    this.name = options.name;
    this.logPath = options.logPath;
    this.#child = child;
  }

  static start(options: SubprocessOptions): Subprocess {
    const log = openSync(options.logPath, "w");
    const child = Bun.spawn([...options.argv], {
      stdin: "pipe",
      stdout: log,
      stderr: log,
      env: { ...process.env, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    closeSync(log);
    const started = new Subprocess(options, child);
    alive.add(started);
    void child.exited.then(() => alive.delete(started));
    return started;
  }

  get pid(): number {
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get exited(): Promise<number> {
    return this.#child.exited;
  }

  log(): string {
    return readFileSync(this.logPath, "utf8");
  }

  lines(): string[] {
    return this.log()
      .split("\n")
      .filter((line) => line !== "");
  }

  signal(name: NodeJS.Signals): void {
    if (this.running) this.#child.kill(name);
  }

  /** Ends standard input: how the Go and Python peers are told to finish. */
  endInput(): void {
    if (this.#child.stdin !== undefined) void this.#child.stdin.end();
  }

  /** To its standard input. */
  writeLine(text: string): void {
    if (this.#child.stdin === undefined) return;
    void this.#child.stdin.write(`${text}\n`);
    void this.#child.stdin.flush();
  }

  /** @throws when nothing matching was written in time, with the end of the log. */
  async waitForLine(matches: (line: string) => boolean, timeoutMs: number = hangMs): Promise<string> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const wasRunning = this.running;
      const line = this.lines().find(matches);
      if (line !== undefined) return line;
      if (!wasRunning) throw new Error(`${this.name} ended early:\n${tail(this.log())}`);
      if (performance.now() > deadline) {
        throw new Error(`${this.name}: awaited line did not come in ${timeoutMs} ms:\n${tail(this.log())}`);
      }
      await Bun.sleep(20);
    }
  }

  memory(): ResidentMemory {
    const rollup = readFileSync(`/proc/${this.pid}/smaps_rollup`, "utf8");
    const kilobytes = (field: string): number =>
      Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(rollup)?.[1]);
    return {
      rssBytes: kilobytes("Rss") * 1024,
      pssBytes: kilobytes("Pss") * 1024,
      anonymousBytes: kilobytes("Anonymous") * 1024,
    };
  }

  /** User and system time so far. USER_HZ is 100 on every Linux that Bun runs on. */
  cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, "utf8");
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th field after it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  async stop(): Promise<void> {
    if (!this.running) return;
    this.#child.kill("SIGTERM");
    const gone = await Promise.race([
      this.#child.exited.then(() => true),
      Bun.sleep(stopDeadlineMs).then(() => false),
    ]);
    if (gone) return;
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  kill(): void {
    if (this.running) this.#child.kill("SIGKILL");
  }
}

/** For signal handlers: nothing started here outlives the program. */
export function killAllSubprocesses(): void {
  for (const one of alive) one.kill();
}

function tail(text: string): string {
  return text.split("\n").slice(-25).join("\n");
}

/** Runs to the end. @throws when it fails, with what it wrote. */
export function runToEnd(
  argv: readonly string[],
  options: { cwd?: string; input?: string; env?: Record<string, string> } = {},
): string {
  const result = Bun.spawnSync([...argv], {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.input === undefined ? {} : { stdin: Buffer.from(options.input) }),
    env: { ...process.env, ...options.env },
  });
  const output = result.stdout.toString();
  if (result.exitCode !== 0) {
    throw new Error(`${argv.join(" ")}: exit ${result.exitCode}\n${output}${result.stderr.toString()}`);
  }
  return output;
}
