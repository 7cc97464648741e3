/** A subject of the attacks as a process, asked for its longest turn. */
import { join } from "node:path";

export class SubjectProcess {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: Bun.Subprocess<"pipe", "pipe", "inherit">) {
    this.#child = child;
    this.#lines = linesOf(child.stdout);
  }

  /** Resolves when it listens. @throws Error when it ends before. */
  static async start(
    kind: "node" | "control",
    settings: Readonly<Record<string, string>>,
  ): Promise<SubjectProcess> {
    const argv = [process.execPath, join(import.meta.dir, "subject.ts"), kind, JSON.stringify(settings)];
    const started = new SubjectProcess(Bun.spawn(argv, { stdin: "pipe", stdout: "pipe", stderr: "inherit" }));
    if ((await started.#next()) !== "ready") throw new Error(`the ${kind} did not start`);
    return started;
  }

  /** The longest turn since the last call, milliseconds. */
  async longestTurn(): Promise<number> {
    this.#child.stdin.write("turn\n");
    this.#child.stdin.flush();
    return (JSON.parse(await this.#next()) as { readonly turnMs: number }).turnMs;
  }

  stop(): void {
    this.#child.kill("SIGKILL");
  }

  async #next(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error("the process has ended");
    return value;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}
