/** What a scraper sees of a node that is replaced again and again: its counters, read all the time. */
import type { NodeProcess } from "../namespaces/node_process.ts";

const everyMs = 250;

/** A counter that went down between two readings. */
export interface Fall {
  readonly series: string;
  readonly from: number;
  readonly to: number;
  /** Of the later reading, since the Unix epoch. */
  readonly atMs: number;
}

type Reading = ReadonlyMap<string, number>;

export class Scraper {
  readonly falls: Fall[] = [];
  readonly #node: NodeProcess;
  #last: Reading = new Map();
  #readings = 0;
  #isOver = false;
  readonly #done: Promise<void>;

  constructor(node: NodeProcess) {
    this.#node = node;
    this.#done = this.#run();
  }

  get readings(): number {
    return this.#readings;
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#done;
  }

  /** Reads once more. @returns the sum of a metric's series whose labels contain all of these. */
  async sum(name: string, ...labels: readonly string[]): Promise<number> {
    let sum = 0;
    for (const [series, value] of await this.#read())
      if (series.startsWith(`${name}{`) && labels.every((label) => series.includes(label))) sum += value;
    return sum;
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      const reading = await this.#read();
      if (reading.size > 0) this.#readings++;
      // One that is not answered (a process is killed while it answers) is no reading, as for any scraper.
      else continue;
      for (const [series, from] of this.#last) {
        const to = reading.get(series) ?? 0;
        if (to < from) this.falls.push({ series, from, to, atMs: Date.now() });
      }
      this.#last = reading;
      await Bun.sleep(everyMs);
    }
  }

  /** Counters, and the buckets and sums of histograms; not what is of one process by its name. */
  async #read(): Promise<Reading> {
    const url = "http://127.0.0.1:15020/metrics";
    const child = Bun.spawn(this.#node.host.command(["curl", "-sf", "-m", "60", url]), { stderr: "ignore" });
    const text = await new Response(child.stdout).text();
    if ((await child.exited) !== 0) return new Map();
    const grows = new Set(
      [...text.matchAll(/^# TYPE (\S+) (?:counter|histogram)$/gm)].map(([, name]) => name),
    );
    return new Map(
      text.split("\n").flatMap((line) => {
        const [, series = "", name = "", value] = /^((\w+)(?:\{.*\})?) (\S+)$/.exec(line) ?? [];
        const isCounted = grows.has(name) || grows.has(name.replace(/_(?:bucket|sum|count)$/, ""));
        return isCounted && !name.startsWith("process_") ? [[series, Number(value)] as const] : [];
      }),
    );
  }
}
