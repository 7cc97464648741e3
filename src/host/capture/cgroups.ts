/**
 * The cgroups that capture goes by. A rule holds the one that was there when it was loaded: a cgroup that is removed and made again, as
 * systemd does when it starts a service again, is another one, and no packet matches any more.
 */
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Files, Host, Timer } from "../host.ts";
import type { CaptureOptions, HostCgroup } from "./options.ts";

/** Those that the options name, each once. */
export function namedCgroups({ includeCgroups, excludeCgroups }: CaptureOptions): readonly string[] {
  return [...new Set([...includeCgroups, ...excludeCgroups])];
}

/** Where it is on every host that has nothing else, and where systemd has it beside version 1. */
const usual = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/** @param text of `/proc/self/mountinfo` (proc(5)). @returns where version 2 is mounted as a whole; null where it is not. */
export function findCgroupMount(text: string): string | null {
  const found = text.split("\n").flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , root, point = ""] = before.split(" ");
    // Octal escapes are of spaces and the like, of which no such mount point is known.
    return root === "/" && after.startsWith("cgroup2 ") && !point.includes("\\") ? [point] : [];
  });
  return usual.find((point) => found.includes(point)) ?? found[0] ?? null;
}

/**
 * @returns those of `paths` that are there, in their order.
 * @throws MeshError `unsupported`, blame local, where cgroups of version 2 are not mounted.
 */
export async function findCgroups(
  files: Pick<Files, "readText" | "identity">,
  paths: readonly string[],
): Promise<readonly HostCgroup[]> {
  if (paths.length === 0) return [];
  const mount = findCgroupMount(await files.readText("/proc/self/mountinfo").catch(() => ""));
  if (mount === null)
    throw new MeshError(
      "unsupported",
      "local",
      "capture by cgroup needs cgroups of version 2, and this host has none mounted (mount -t cgroup2 none /sys/fs/cgroup)",
    );
  const found = await Promise.all(
    paths.map(async (path) => ({ path, mount, identity: await files.identity(`${mount}/${path}`) })),
  );
  return found.flatMap(({ identity, ...cgroup }) => (identity === null ? [] : [{ ...cgroup, identity }]));
}

/** Those of `paths` that are not there, all of them where version 2 is not mounted. */
export async function missingCgroups(
  files: Pick<Files, "readText" | "identity">,
  paths: readonly string[],
): Promise<readonly string[]> {
  const found = await findCgroups(files, paths).catch(() => []);
  return paths.filter((path) => !found.some((cgroup) => cgroup.path === path));
}

/** Whether rules that were loaded for the one fit the other. */
export function sameCgroups(one: readonly HostCgroup[], other: readonly HostCgroup[]): boolean {
  const text = (cgroups: readonly HostCgroup[]): string =>
    cgroups.map(({ mount, path, identity }) => `${mount} ${path} ${identity}`).join("\n");
  return text(one) === text(other);
}

/** Asks often whether they are still the same; nothing tells of it. */
export class CgroupWatch {
  readonly #host: Pick<Host, "clock" | "files">;
  readonly #paths: readonly string[];
  readonly #known: () => readonly HostCgroup[];
  readonly #onMoved: () => void;
  #timer: Timer | null = null;
  #isStopped = false;

  /** @param known for which the rules were loaded. @param onMoved they are not those; called as long as it is so. */
  constructor(
    host: Pick<Host, "clock" | "files">,
    paths: readonly string[],
    known: () => readonly HostCgroup[],
    onMoved: () => void,
  ) {
    this.#host = host;
    this.#paths = paths;
    this.#known = known;
    this.#onMoved = onMoved;
    if (paths.length > 0) this.#later();
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #later(): void {
    if (this.#isStopped) return;
    this.#timer = this.#host.clock.setTimer(hostLimits.captureCgroupsLookMs, () => void this.#look());
  }

  async #look(): Promise<void> {
    // Where they are not mounted any more there are none.
    const found = await findCgroups(this.#host.files, this.#paths).catch(() => []);
    if (!this.#isStopped && !sameCgroups(found, this.#known())) this.#onMoved();
    this.#later();
  }
}
