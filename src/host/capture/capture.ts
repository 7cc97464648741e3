/**
 * Transparent capture: the rules that redirect this host's TCP to the node, installed, watched and removed by the node itself. They follow
 * istio-cni's in-pod rules; what differs is said where it does.
 *
 * When the process is killed the rules stay and captured traffic is refused: it never silently leaves the mesh. The next
 * start, or `fairlead capture remove`, cleans up. SSH is never touched in any case.
 */
import { faultOf, MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Logger } from "../../base/log.ts";
import type { Host, Timer } from "../host.ts";
import { type Backend, backends, captureFailure } from "./backends.ts";
import { CgroupWatch, findCgroups, namedCgroups, sameCgroups } from "./cgroups.ts";
import { type HostNetworks, readHostFacts, readHostNetworks } from "./host_facts.ts";
import { type BackendName, type CaptureOptions, type HostFacts, routedMarks } from "./options.ts";
import { hasReturnPath, installReturnPath, removeReturnPath } from "./return_path.ts";
import { RuleMonitor } from "./rule_monitor.ts";

/** Rules that are in force, and are put back when somebody removes them. */
export class Capture {
  readonly #host: Host;
  readonly #options: CaptureOptions;
  readonly #logger: Logger;
  readonly #holds: () => boolean;
  #loaded: Loaded;
  #timer: Timer | null = null;
  /** The look that is under way: removing waits for it, or it would put back what was removed. */
  #looking: Promise<void> = Promise.resolve();
  #removed = false;
  #isPaused = false;
  #isLooking = false;
  /** When the last look ended; monotonic. */
  #lookedMs = Number.NEGATIVE_INFINITY;
  /** Something was removed while a look was under way, or right after one. */
  #isDue = false;
  /** Who asked for the look that is under way: the kernel, which told of something, or the clock. */
  #noticedBy: "kernel" | "look" = "look";
  readonly #monitor: RuleMonitor;
  #looks = 0;
  #repairs = 0;
  #missing = false;
  /** A cgroup that the rules go by is not the one that they were loaded for. */
  #isStale = false;
  readonly #cgroups: CgroupWatch;

  private constructor(
    host: Host,
    options: CaptureOptions,
    logger: Logger,
    holds: () => boolean,
    loaded: Loaded,
  ) {
    this.#host = host;
    this.#options = options;
    this.#logger = logger;
    this.#holds = holds;
    this.#loaded = loaded;
    this.#monitor = new RuleMonitor(host, () => this.#lookSoon());
    this.#cgroups = new CgroupWatch(
      host,
      namedCgroups(options),
      () => this.#loaded.facts.cgroups,
      () => {
        if (this.#removed || this.#isPaused) return;
        this.#isStale = true;
        this.#lookSoon();
      },
    );
    this.#lookLater();
  }

  /**
   * Installs the rules in place of those of an earlier run, and says in the log which program did.
   *
   * @param holds whether the rules are this process's to remove; while another process gives its place to this one they are the other's,
   *   and to remove them would let traffic out of the mesh.
   * @throws MeshError `permission_denied` or `unsupported`, blame local; then nothing is left behind.
   */
  static async install(
    host: Host,
    options: CaptureOptions,
    logger: Logger,
    holds: () => boolean = () => true,
  ): Promise<Capture> {
    try {
      const loaded = await load(host, options, logger);
      tellMissing(options, loaded.facts, logger);
      return new Capture(host, options, logger, holds, loaded);
    } catch (error) {
      if (holds()) await removeCapture(host);
      throw error;
    }
  }

  get backend(): BackendName {
    return this.#loaded.backend.name;
  }

  /**
   * False from when the rules were found missing, or made for a cgroup that is there no more, until they are as they should be; and when they
   * were removed.
   */
  get inForce(): boolean {
    return !this.#missing && !this.#isStale && !this.#removed;
  }

  /** How often somebody removed the rules and they were put back. */
  get repairs(): number {
    return this.#repairs;
  }

  /** Idempotent. */
  async remove(): Promise<void> {
    this.#removed = true;
    this.#monitor.stop();
    this.#cgroups.stop();
    this.#timer?.cancel();
    await this.#looking;
    if (this.#holds()) await removeCapture(this.#host);
  }

  /** Another process installs its rules now: those of another version would look like a stranger's. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  /** It did not come to that: what is not as this process installed it is put back. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#lookSoon();
  }

  #lookLater(): void {
    if (this.#removed || this.#isPaused) return;
    const delayMs = this.#isDue ? hostLimits.captureSoonMs : hostLimits.captureLookMs;
    const askedBy = this.#isDue ? "kernel" : "look";
    this.#isDue = false;
    this.#timer = this.#host.clock.setTimer(delayMs, () => this.#lookNow(askedBy));
  }

  /** What is removed by others is found at once, and not by the next look: until then it is a way around the listener. */
  #lookSoon(): void {
    if (this.#removed || this.#isPaused || this.#isDue) return;
    this.#isDue = true;
    if (this.#isLooking) return;
    this.#timer?.cancel();
    const sinceMs = this.#host.clock.now() - this.#lookedMs;
    this.#timer = this.#host.clock.setTimer(Math.max(0, hostLimits.captureSoonMs - sinceMs), () => {
      this.#isDue = false;
      this.#lookNow("kernel");
    });
  }

  #lookNow(askedBy: "kernel" | "look"): void {
    this.#noticedBy = askedBy;
    this.#isLooking = true;
    this.#looking = this.#look().finally(() => {
      this.#isLooking = false;
      this.#lookedMs = this.#host.clock.now();
      this.#lookLater();
    });
  }

  async #look(): Promise<void> {
    if (this.#isStale && !(await this.#followCgroups())) return;
    this.#looks++;
    // What only other programs change seldom is looked at seldom.
    const all = this.#missing || this.#looks % hostLimits.captureFullLook === 0;
    const wrong = await this.#whatIsWrong(all);
    if (wrong !== null) await this.#repair(wrong);
    else if (all) await this.#followHost();
  }

  async #whatIsWrong(all: boolean): Promise<string | null> {
    const { backend, listing, facts } = this.#loaded;
    const now = await backend.listing(this.#host);
    // nft shows the path of a cgroup that is there, and the number of one that is not: no other program has changed the rules then.
    if (now !== listing && !(await this.#fitsCgroups())) return null;
    if (now === null) return `${backend.name} cannot show the capture rules`;
    if (now === "") return "the capture rules were removed by another program";
    if (now !== listing) return "the capture rules were changed by another program";
    const marks = routedMarks(this.#options);
    if (all && marks.length > 0 && !(await hasReturnPath(this.#host, facts.ipv6, marks)))
      return "the routing rules of capture were removed by another program";
    return null;
  }

  async #repair(wrong: string): Promise<void> {
    if (!this.#missing)
      this.#logger.log("error", "capture", `${wrong}; putting them back`, { noticed_by: this.#noticedBy });
    this.#missing = true;
    try {
      await this.#reload();
    } catch (thrown) {
      const error = faultOf(thrown);
      this.#logger.log("error", "capture", "the capture rules could not be put back", {
        error: error.message,
      });
      return;
    }
    this.#missing = false;
    this.#repairs++;
    this.#logger.log("warn", "capture", "the capture rules are back", {
      backend: this.backend,
      repairs: this.#repairs,
    });
  }

  /** By the program that installed them: another would be a change that the operator did not ask for. */
  async #reload(): Promise<void> {
    this.#loaded = await load(this.#host, { ...this.#options, backend: this.backend }, this.#logger);
  }

  /** Whether the rules are for the cgroups that are there now; a look of its own, because the last one may be too old. */
  async #fitsCgroups(): Promise<boolean> {
    const named = namedCgroups(this.#options);
    const now = await findCgroups(this.#host.files, named).catch(() => []);
    if (sameCgroups(now, this.#loaded.facts.cgroups)) return true;
    this.#isStale = true;
    this.#isDue = true;
    return false;
  }

  /** @returns whether the rules are for the cgroups that are there now. */
  async #followCgroups(): Promise<boolean> {
    const before = this.#loaded.facts.cgroups;
    try {
      await this.#reload();
    } catch (thrown) {
      this.#logger.log("error", "capture", "the capture rules could not follow the cgroups of this host", {
        error: faultOf(thrown).message,
      });
      return false;
    }
    this.#isStale = false;
    const now = this.#loaded.facts.cgroups;
    for (const path of namedCgroups(this.#options)) {
      const [was, is] = [before, now].map((cgroups) => cgroups.find((cgroup) => cgroup.path === path));
      if (was?.identity === is?.identity) continue;
      if (is === undefined)
        this.#logger.log(
          "warn",
          "capture",
          `the cgroup ${path} is gone; the capture rules follow when it is made again`,
        );
      else this.#logger.log("info", "capture", `the cgroup ${path} was made, and the capture rules follow`);
    }
    return true;
  }

  /** IPv6 that comes up, a container network that is made: the rules are replaced in one step, and stay in force meanwhile. */
  async #followHost(): Promise<void> {
    const facts = await readHostNetworks(this.#host.files);
    if (sameNetworks(facts, this.#loaded.facts)) return;
    this.#logger.log("info", "capture", "this host's networks changed, and the capture rules follow", {
      ipv6: facts.ipv6,
      container_bridges: facts.containerBridges.join(" "),
    });
    try {
      await this.#reload();
    } catch (thrown) {
      this.#missing = true;
      this.#logger.log("error", "capture", "the capture rules could not be replaced", {
        error: faultOf(thrown).message,
      });
    }
  }
}

/** Ports that are listened on come and go all the time, and matter for connections from before capture only. */
function sameNetworks(one: HostNetworks, other: HostNetworks): boolean {
  return one.ipv6 === other.ipv6 && one.containerBridges.join() === other.containerBridges.join();
}

function tellMissing(options: CaptureOptions, { cgroups }: HostFacts, logger: Logger): void {
  for (const path of namedCgroups(options))
    if (!cgroups.some((cgroup) => cgroup.path === path))
      logger.log(
        "warn",
        "capture",
        `there is no cgroup ${path} now; the capture rules follow when it is made`,
        {
          remedy: "compare the path with systemd-cgls, or with /proc/PID/cgroup of its program",
        },
      );
}

interface Loaded {
  readonly backend: Backend;
  /** As the kernel gives them back. */
  readonly listing: string;
  readonly facts: HostFacts;
}

async function load(host: Host, options: CaptureOptions, logger: Logger): Promise<Loaded> {
  const facts = await readHostFacts(host, namedCgroups(options));
  const marks = routedMarks(options);
  // What is marked needs its way before it is marked.
  if (marks.length > 0 && !(await hasReturnPath(host, facts.ipv6, marks)))
    await installReturnPath(host, facts.ipv6, marks);
  const loaded = await loadRules(host, options, facts, logger);
  await removeReturnPath(host, marks);
  return loaded;
}

/** Says which program did it, and of those before it why they did not. */
async function loadRules(
  host: Host,
  options: CaptureOptions,
  facts: HostFacts,
  logger: Logger,
): Promise<Loaded> {
  const wanted = backends.filter(({ name }) => options.backend === "auto" || options.backend === name);
  const refusals: MeshError[] = [];
  for (const backend of wanted) {
    const version = await backend.version(host);
    try {
      if (version === null) throw captureFailure(null, `${backend.name} is not installed`);
      // Rules that are there are replaced in one step: there is no moment without. What other programs have is taken away after.
      await backend.install(host, options, facts);
      const listing = await backend.listing(host);
      if (listing === null || listing === "")
        throw captureFailure(null, `${backend.name} took the capture rules and does not show them`);
      for (const other of backends) if (other !== backend) await other.remove(host);
      logger.log("info", "capture", "the capture rules are installed", { backend: backend.name, version });
      return { backend, listing, facts };
    } catch (thrown) {
      const error = faultOf(thrown);
      refusals.push(error);
      if (backend !== wanted.at(-1))
        logger.log(
          "warn",
          "capture",
          `${backend.name} cannot install the capture rules, so the next program is tried`,
          {
            error: error.message,
          },
        );
    }
  }
  const code = refusals.some((error) => error.code === "permission_denied")
    ? "permission_denied"
    : "unsupported";
  const reasons = refusals.map(({ message }) => message).join("; ");
  throw new MeshError(code, "local", `no program could install the capture rules: ${reasons}`);
}

/** Removes whatever an earlier run left, by any program. Harmless when there is nothing. */
export async function removeCapture(host: Host): Promise<void> {
  for (const backend of backends) await backend.remove(host);
  await removeReturnPath(host);
}
