/** A reader's terminals: one folder, variables that stay, programs that go on until they are stopped. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "./pages.ts";

export interface Outcome {
  readonly exitCode: number;
  readonly output: string;
}

const commandMs = 60_000;
const readyMs = 40_000;

export class Shell {
  readonly folder: string;
  readonly #variables: string;
  readonly #background: Bun.Subprocess[] = [];

  /** @param program what `fairlead` is. */
  constructor(folder: string, program: readonly string[]) {
    this.folder = folder;
    this.#variables = join(folder, ".variables");
    mkdirSync(join(folder, "bin"), { recursive: true });
    mkdirSync(join(folder, "dist"));
    writeFileSync(this.#variables, "");
    const text = `#!/bin/sh\nexec ${program.map((word) => `'${word}'`).join(" ")} "$@"\n`;
    for (const path of ["bin/fairlead", "dist/fairlead"])
      writeFileSync(join(folder, path), text, { mode: 0o755 });
  }

  /** To its end. What it exports is there for what follows. */
  async run(command: string): Promise<Outcome> {
    const stops = /^stop all(?:;|$)/m.test(command);
    if (stops) await this.stop();
    const rest = command.replace(/^stop all(?:;|$)/m, "");
    if (rest.trim() === "") return { exitCode: 0, output: "" };
    // Whole at once: a program that is being started reads them meanwhile.
    const keep = `export -p > ${this.#variables}.new && mv ${this.#variables}.new ${this.#variables}`;
    const child = this.#spawn(`${rest}\nstatus=$?\n${keep}\nexit $status`);
    const timer = setTimeout(() => child.kill("SIGKILL"), commandMs);
    const output = await new Response(child.stdout).text();
    const exitCode = await child.exited;
    clearTimeout(timer);
    return { exitCode, output };
  }

  /** Goes on. @returns null once `until` succeeds, else what it has said. */
  async start(command: string, until: string): Promise<string | null> {
    const log = join(this.folder, `background-${this.#background.length}.log`);
    const child = this.#spawn(`exec > ${log} 2>&1\n${command}`);
    this.#background.push(child);
    const end = performance.now() + readyMs;
    while (performance.now() < end) {
      if ((await this.run(`${until} > /dev/null 2>&1`)).exitCode === 0) return null;
      if (child.exitCode !== null) break;
      await Bun.sleep(100);
    }
    return (await Bun.file(log).text()).split("\n").slice(-8).join("\n");
  }

  /** All that goes on in this folder, also what commands have left behind: their process groups are ours. */
  async stop(): Promise<void> {
    for (const child of this.#background.splice(0)) kill(-child.pid);
    for (const pid of this.#inFolder()) kill(pid);
    const end = performance.now() + 10_000;
    while (this.#inFolder().length > 0 && performance.now() < end) await Bun.sleep(50);
  }

  /** Processes that were started here: they have this run's folder in their environment. */
  #inFolder(): readonly number[] {
    const mark = `FAIRLEAD_DOCS_FOLDER=${this.folder}\0`;
    const listed = Bun.spawnSync([
      "sh",
      "-c",
      `grep -lazF '${mark.slice(0, -1)}' /proc/[0-9]*/environ 2>/dev/null`,
    ]);
    return listed.stdout
      .toString()
      .split("\n")
      .map((path) => Number(/^\/proc\/(\d+)\//.exec(path)?.[1] ?? 0))
      .filter((pid) => pid > 0 && pid !== process.pid);
  }

  #spawn(script: string) {
    return Bun.spawn(
      ["setsid", "bash", "-c", `. ${this.#variables} 2> /dev/null\ncd ${this.folder}\n${script}`],
      {
        cwd: this.folder,
        env: {
          PATH: `${join(this.folder, "bin")}:${process.env.PATH ?? ""}`,
          HOME: this.folder,
          XDG_STATE_HOME: join(this.folder, "state-home"),
          XDG_RUNTIME_DIR: this.folder,
          REPOSITORY: repository,
          FAIRLEAD_DOCS_FOLDER: this.folder,
        },
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      },
    );
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGTERM");
  } catch {
    // It has ended by itself.
  }
}
