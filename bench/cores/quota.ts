/**
 * CPU by control groups: each process that carries traffic gets so much of a processor and no more, so that a machine of few processors shows
 * what one more of them brings. The meter, and what leads, have what is left.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Short, so that whoever has used up its part does not wait for long; the kernel takes parts of at least a millisecond. */
const periodMicros = 5_000;

const versionOne = "/sys/fs/cgroup/cpu";
const versionTwo = "/sys/fs/cgroup";

export class Quotas {
  readonly #root: string;
  readonly #isVersionOne: boolean;
  readonly #groups: string[] = [];

  constructor(root: string, isVersionOne: boolean) {
    this.#root = root;
    this.#isVersionOne = isVersionOne;
  }

  static open(): Quotas | { readonly missing: string } {
    try {
      const quotas = existsSync(join(versionOne, "cpu.cfs_quota_us"))
        ? new Quotas(versionOne, true)
        : openVersionTwo();
      if ("missing" in quotas) return quotas;
      quotas.#add(1);
      quotas.close();
      return quotas;
    } catch (thrown) {
      return { missing: thrown instanceof Error ? thrown.message : String(thrown) };
    }
  }

  /** This process, with all its threads, gets so many processors together. */
  limit(pid: number, processors: number): void {
    writeFileSync(join(this.#add(processors), "cgroup.procs"), `${pid}`);
  }

  /** They have what they want again. */
  lift(): void {
    for (const group of this.#groups) this.#setQuota(group, null);
  }

  /** When those processes have ended. */
  close(): void {
    for (const group of this.#groups.splice(0)) rmdirSync(group);
  }

  #add(processors: number): string {
    const group = join(this.#root, `fairlead-bench-${process.pid}-${this.#groups.length}`);
    mkdirSync(group);
    this.#groups.push(group);
    this.#setQuota(group, Math.round(processors * periodMicros));
    return group;
  }

  #setQuota(group: string, micros: number | null): void {
    if (!this.#isVersionOne) {
      writeFileSync(join(group, "cpu.max"), `${micros ?? "max"} ${periodMicros}`);
      return;
    }
    if (micros !== null) writeFileSync(join(group, "cpu.cfs_period_us"), `${periodMicros}`);
    writeFileSync(join(group, "cpu.cfs_quota_us"), `${micros ?? -1}`);
  }
}

function openVersionTwo(): Quotas | { readonly missing: string } {
  const controllers = join(versionTwo, "cgroup.controllers");
  if (!existsSync(controllers)) return { missing: "no control groups at /sys/fs/cgroup" };
  if (!readFileSync(controllers, "utf8").split(/\s+/).includes("cpu"))
    return { missing: "no cpu controller among the control groups" };
  writeFileSync(join(versionTwo, "cgroup.subtree_control"), "+cpu");
  return new Quotas(versionTwo, false);
}
