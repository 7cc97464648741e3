/**
 * Watching a path: the system's events for speed, and a look every two seconds for certainty, because events get lost
 * (network file systems, queue overflow, a path that did not exist yet, a mount over it).
 */
import { type FSWatcher, statSync, watch } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { hostLimits } from "../../base/limits/host.ts";
import type { Clock, Timer } from "../host.ts";

/** @returns a function that ends the watch. */
export function watchPath(clock: Clock, path: string, onChange: () => void): () => void {
  const watcher = new PathWatch(clock, path, onChange);
  watcher.start();
  return () => watcher.stop();
}

class PathWatch {
  readonly #clock: Clock;
  readonly #path: string;
  readonly #onChange: () => void;
  #watchers: FSWatcher[] = [];
  #armedFor = "";
  #signature: string | null = null;
  #pollTimer: Timer | null = null;
  #changeTimer: Timer | null = null;
  #lookTimer: Timer | null = null;
  #stopped = false;

  constructor(clock: Clock, path: string, onChange: () => void) {
    this.#clock = clock;
    this.#path = path;
    this.#onChange = onChange;
  }

  /** What happens from here on is heard, though the first look takes its time: only what lies deeper is watched after it. */
  start(): void {
    const isDirectory = statSync(this.#path, { throwIfNoEntry: false })?.isDirectory() === true;
    this.#arm([isDirectory ? this.#path : dirname(this.#path)]);
    void this.#look();
  }

  stop(): void {
    this.#stopped = true;
    this.#pollTimer?.cancel();
    this.#changeTimer?.cancel();
    this.#lookTimer?.cancel();
    this.#disarm();
  }

  /** Compares what is there with what was there, and watches the directories that are there now. */
  async #look(): Promise<void> {
    const { signature, directories } = await describe(this.#path);
    if (this.#stopped) return;
    this.#arm(directories);
    if (this.#signature !== null && this.#signature !== signature) this.#noteChange();
    this.#signature = signature;
    this.#pollTimer?.cancel();
    this.#pollTimer = this.#clock.setTimer(hostLimits.watchPollMs, () => void this.#look());
  }

  /** Beside a watched file others come and go (our own log, say): what is not about it is no change before a look says so. */
  #heard(besideIt: boolean, name: string | null): void {
    const isNeighbour = name !== null && name !== basename(this.#path);
    if (besideIt && isNeighbour) this.#lookSoon();
    else this.#noteChange();
  }

  /** The file may be a link whose target was exchanged, so a neighbour is worth a look; a burst of them is worth one. */
  #lookSoon(): void {
    if (this.#stopped || this.#lookTimer !== null) return;
    this.#lookTimer = this.#clock.setTimer(hostLimits.watchCoalesceMs, () => {
      this.#lookTimer = null;
      void this.#look();
    });
  }

  #noteChange(): void {
    if (this.#stopped || this.#changeTimer !== null) return;
    this.#changeTimer = this.#clock.setTimer(hostLimits.watchCoalesceMs, () => void this.#tell());
  }

  /** What is there now is what is told of: the next look would find it different from before, and tell of it a second time. */
  async #tell(): Promise<void> {
    const { signature } = await describe(this.#path);
    this.#changeTimer = null;
    if (this.#stopped) return;
    // Before the first look there is nothing to compare with, and that look arms the watch.
    if (this.#signature !== null) this.#signature = signature;
    this.#onChange();
  }

  #arm(directories: readonly string[]): void {
    const wanted = directories.join("\n");
    if (wanted === this.#armedFor) return;
    this.#disarm();
    this.#armedFor = wanted;
    const besideIt = directories[0] !== this.#path;
    for (const directory of directories) {
      try {
        const watcher = watch(directory, { persistent: false }, (_, name) => this.#heard(besideIt, name));
        // A directory that goes away: the next look sees it.
        watcher.on("error", () => {
          this.#armedFor = "";
        });
        this.#watchers.push(watcher);
      } catch {
        // Out of inotify watches, or gone in between: the look every two seconds remains.
      }
    }
  }

  #disarm(): void {
    for (const watcher of this.#watchers) watcher.close();
    this.#watchers = [];
    this.#armedFor = "";
  }
}

interface Description {
  /** Changes whenever anything at or below the path does. */
  readonly signature: string;
  /** To be watched: every directory at or below the path, or the directory of a file, since files are replaced by rename. */
  readonly directories: readonly string[];
}

async function describe(path: string): Promise<Description> {
  const lines: string[] = [];
  const directories: string[] = [];
  const pending = [path];
  while (pending.length > 0 && lines.length < hostLimits.maxWatchedEntries) {
    const next = pending.pop() ?? path;
    const status = await stat(next, { bigint: true }).catch(() => null);
    if (status === null) lines.push(`${next} missing`);
    else lines.push(`${next} ${status.ino} ${status.size} ${status.mtimeNs}`);
    if (status?.isDirectory() !== true) continue;
    directories.push(next);
    const names = await readdir(next).catch(() => []);
    for (const name of names.sort()) pending.push(join(next, name));
  }
  if (directories.length === 0) directories.push(dirname(path));
  return { signature: lines.join("\n"), directories };
}
