/** Memory and the system: what only the start of a long-running program needed is given back, what its work needs again is kept. */
import { dlopen, ptr } from "bun:ffi";
import { heapSize } from "bun:jsc";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { hostLimits } from "../../base/limits/host.ts";
import { openCLibrary } from "./linux_socket.ts";

/** Of Bun's allocator, mimalloc: milliseconds until a page that was freed goes back to the system. */
const purgeDelay = "MIMALLOC_PURGE_DELAY";
/** Of Bun's engine: what a function must have done before it is compiled, where 15 is a call and 1 a turn of a loop. Usually 500. */
const compileAfter = "BUN_JSC_thresholdForJITAfterWarmUp";
/** madvise(2), MADV_DONTNEED. */
const dontNeed = 4;
const pageBytes = 4096;
/** Of the upper half of an entry of /proc/PID/pagemap, a number; the whole is a BigInt, and there are 30,000. */
const isPresent = 1 << 31;
const isOfFile = 1 << 29;

/** What was used to give it back is not needed either, so the pages of files go last. */
export function giveBackMemory(): void {
  if (heapSize() > hostLimits.maxShrunkHeapBytes) Bun.gc(false);
  // Garbage, code of functions that ran once, free pages of the heap: 8 of 29 MB after a start. Not in Bun's published types.
  else if ("shrink" in Bun && typeof Bun.shrink === "function") Bun.shrink();
  setTimeout(forgetFilePages, hostLimits.settledMs).unref();
}

function forgetFilePages(): void {
  const library = openCLibrary((name) =>
    dlopen(name, { madvise: { args: ["u64", "u64", "i32"], returns: "i32" } }),
  );
  if (library === null) return;
  try {
    const pagemap = openSync("/proc/self/pagemap", "r");
    for (const mapping of readOnlyFiles(readFileSync("/proc/self/maps", "utf8"))) {
      const entries = new Uint32Array((mapping.bytes / pageBytes) * 2);
      readSync(pagemap, entries, 0, entries.byteLength, (mapping.start / pageBytes) * 8);
      for (const { start, bytes } of cleanRuns(mapping.start, entries))
        library.symbols.madvise(start, bytes, dontNeed);
    }
    closeSync(pagemap);
  } catch {
    // Without /proc the pages stay mapped.
  }
}

export interface Mapping {
  readonly start: number;
  readonly bytes: number;
}

/**
 * Of files, and not to be written: a page of it that is the file's can be had again from there at any time, and no thread makes it another
 * meanwhile.
 *
 * @param maps proc_pid_maps(5)
 */
export function readOnlyFiles(maps: string): readonly Mapping[] {
  const found: Mapping[] = [];
  for (const line of maps.split("\n")) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ [1-9]\d*\s+\//.exec(line);
    if (match === null) continue;
    const start = Number.parseInt(match[1] ?? "", 16);
    found.push({ start, bytes: Number.parseInt(match[2] ?? "", 16) - start });
  }
  return found;
}

/**
 * Without the pages that have become the process's own (relocated, patched): the file does not have those.
 *
 * @param pagemap two words an entry, the upper half second: every machine that we build for has them so.
 */
export function cleanRuns(from: number, pagemap: Uint32Array): readonly Mapping[] {
  const found: Mapping[] = [];
  let run = 0;
  const pages = pagemap.length / 2;
  for (let page = 0; page <= pages; page++) {
    const entry = pagemap[2 * page + 1] ?? 0;
    if ((entry & isPresent) !== 0 && (entry & isOfFile) !== 0) {
      run++;
      continue;
    }
    if (run > 0) found.push({ start: from + (page - run) * pageBytes, bytes: run * pageBytes });
    run = 0;
  }
  return found;
}

/**
 * Bun's allocator gives back pages that were freed within milliseconds, and has to have them again, cleared, for the next read: a fifth of
 * what bulk costs. And its engine compiles what ran some thirty times, so that a start compiles 300 functions that are never called again: a
 * fifth of its CPU. Both are read from the environment when the process begins, and from nowhere later, so the program begins once more with
 * them set: before anything else of it runs, and as the same process.
 *
 * Returns where nothing is to be done: the allocator is told (by whoever starts the program, or by this), or there is no way to begin again.
 *
 * @param commands that it is worth it for, which run for long; others are over before it pays.
 * @param tunnels those of them that carry traffic: what they do for a connection they do thousands of times. A control plane has long work
 *   that is done once, and compiles as usual.
 */
export function keepFreedPages(commands: readonly string[], tunnels: readonly string[]): void {
  if (process.platform !== "linux" || process.env[purgeDelay] !== undefined) return;
  // The command alone: another program that is named behind it, as in `fairlead run -- node`, would inherit what is set here.
  const [, , command = ""] = process.argv;
  if (!commands.includes(command)) return;
  const library = openCLibrary((name) =>
    dlopen(name, { execve: { args: ["ptr", "ptr", "ptr"], returns: "i32" } }),
  );
  if (library === null) return;
  try {
    const path = strings(Buffer.from("/proc/self/exe\0"));
    // The engine goes by the last of two, and what an operator has set is the operator's.
    const compilesLater = tunnels.includes(command) && process.env[compileAfter] === undefined;
    // As the kernel has them: what the runtime has made of its arguments is not what it was given.
    const argv = strings(readFileSync("/proc/self/cmdline"));
    const environment = strings(
      Buffer.concat([
        readFileSync("/proc/self/environ"),
        Buffer.from(`${purgeDelay}=${hostLimits.freedPagesMs}\0`),
        Buffer.from(compilesLater ? `${compileAfter}=${hostLimits.compileAfter}\0` : ""),
      ]),
    );
    library.symbols.execve(ptr(path.bytes), ptr(argv.pointers), ptr(environment.pointers));
  } catch {
    // Without /proc it goes on as it is, and costs a little more.
  }
}

/** Each string ends with a NUL. A list of pointers to them, as C has it, ends with a null pointer. */
function strings(text: Uint8Array): {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly pointers: BigUint64Array<ArrayBuffer>;
} {
  // Memory of their own: that of a small array may move.
  const bytes = new Uint8Array(new ArrayBuffer(Math.max(text.length, 4096)));
  bytes.set(text);
  const base = BigInt(ptr(bytes));
  const starts: bigint[] = [];
  for (let at = 0; at < text.length; at = text.indexOf(0, at) + 1) starts.push(base + BigInt(at));
  const pointers = new BigUint64Array(new ArrayBuffer((starts.length + 1) * 8));
  pointers.set(starts);
  return { bytes, pointers };
}
