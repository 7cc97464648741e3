/** Real processes, their output, and their certain end. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Running {
  readonly name: string;
  /** Everything it has said so far, line by line. */
  readonly lines: readonly string[];
  readonly pid: number;
}

export class Processes {
  readonly directory: string;
  readonly #children: { readonly child: Bun.Subprocess; readonly running: Running }[] = [];

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(): Promise<Processes> {
    return new Processes(await mkdtemp(join(tmpdir(), "fairlead-demo-")));
  }

  start(name: string, command: readonly string[]): Running {
    const lines: string[] = [];
    const child = Bun.spawn([...command], {
      env: { PATH: process.env.PATH, HOME: this.directory },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    for (const stream of [child.stdout, child.stderr]) void readLines(stream, lines);
    void child.exited.then((code) => lines.push(`(ended with exit code ${code})`));
    const running = { name, lines, pid: child.pid };
    this.#children.push({ child, running });
    return running;
  }

  /** Runs a program to its end. */
  async run(command: readonly string[]): Promise<{ readonly exitCode: number; readonly output: string }> {
    const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
    const output = await new Response(child.stdout).text();
    return { exitCode: await child.exited, output };
  }

  /** Without a chance to say goodbye. */
  kill(name: string, signal: "SIGKILL" | "SIGTERM"): void {
    for (const { child, running } of this.#children) if (running.name === name) child.kill(signal);
  }

  /** What everybody said last: shown when a step does not hold. */
  recent(count: number): readonly string[] {
    return this.#children.flatMap(({ running }) =>
      running.lines.slice(-count).map((line) => `${running.name}: ${line}`),
    );
  }

  async stopAll(): Promise<void> {
    for (const { child } of this.#children) child.kill("SIGTERM");
    const stopped = Promise.all(this.#children.map(({ child }) => child.exited));
    await Promise.race([stopped, Bun.sleep(3000)]);
    for (const { child } of this.#children) if (child.exitCode === null) child.kill("SIGKILL");
    await rm(this.directory, { recursive: true, force: true });
  }
}

async function readLines(stream: ReadableStream<Uint8Array>, lines: string[]): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
  }
  if (rest !== "") lines.push(rest);
}
