/**
 * Loaded before the program (`bun --preload`): at SIGUSR2 it collects garbage and writes how many bytes live, to a file of this process in
 * `HOME`. Resident memory says what the collector has not yet asked for again; what is kept for ever is seen here.
 */
import { heapStats } from "bun:jsc";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const path = join(process.env.HOME ?? ".", `heap-${process.pid}`);
process.on("SIGUSR2", () => {
  Bun.gc(true);
  writeFileSync(`${path}.new`, String(heapStats().heapSize));
  renameSync(`${path}.new`, path);
});
