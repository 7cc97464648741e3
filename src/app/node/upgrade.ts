/**
 * A node gives its place to another process: of another version, or of its own with settings read again. The new one is looked at before it is
 * started, has to become ready while the old one goes on, then accepts in its place, and has to go on for a while before the old one lets go.
 * Until then whatever goes wrong ends with the old one as it was.
 */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { upgradeLimits } from "../../base/limits/host.ts";
import type { Logger } from "../../base/log.ts";
import type { MetricRegistry } from "../../base/metrics.ts";
import type { Handover, HeldProgram, Successor } from "../../host/handover.ts";
import type { Clock, Process } from "../../host/host.ts";
import { takes } from "../version.ts";
import { CountsTold } from "./counts_told.ts";
import { words } from "./succession.ts";

export interface UpgradeParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly process: Pick<Process, "arguments" | "pid" | "run">;
  readonly handover: Handover;
  /** Of this process. */
  readonly version: string;
  /** Its own program; null where it runs from source. */
  readonly executable: () => Promise<string | null>;
  /** Another process is about to set this host up as its own, and the way back. */
  readonly host: { pause(): Promise<void>; resume(): void };
  /** Says who is the service from now on, before that process itself says anything. */
  readonly announce: (pid: number) => void;
  /** This process ends when what is open has, or at the deadline, and when `counted` has been told what was counted by then. */
  readonly giveWay: (deadlineMs: number, counted: () => Promise<void>) => void;
  /** What the new process goes on with. */
  readonly metrics: MetricRegistry;
}

export interface UpgradeRequest {
  /** A path; null: this process's own program, as it is on the disk now. */
  readonly program: string | null;
  /** Who asks, in words for the log. */
  readonly by: string;
  /** Only looks at the program. */
  readonly checkOnly: boolean;
  /** The new process has to be ready by then. */
  readonly readyMs: number;
  /** What is open then is cut. */
  readonly deadlineMs: number;
}

export interface UpgradeOutcome {
  readonly result: "done" | "checked" | "refused" | "rolled back";
  readonly from: string;
  /** The version of the program; null when it did not say. */
  readonly to: string | null;
  readonly program: string;
  /** Of its file; null when it could not be read. */
  readonly sha256: string | null;
  /** Of the new process. */
  readonly pid: number | null;
  /** Why not. */
  readonly reason: string | null;
}

type Step =
  | "checks the program"
  | "waits for the new process"
  | "hands over"
  | "watches the new process"
  | "drains";

export class Upgrades {
  readonly #parts: UpgradeParts;
  #running: { readonly program: string; readonly by: string; step: Step } | null = null;
  #abandon: (reason: string) => void = () => {};
  /** What was begun for it goes no further. */
  #isGivenUp = false;
  /** Of the last attempt; null when the new process does not go on with what was counted here. */
  #counts: CountsTold | null = null;

  constructor(parts: UpgradeParts) {
    this.#parts = parts;
  }

  /** What is under way, in words; null when nothing is. */
  get step(): string | null {
    if (this.#running === null) return null;
    const { program, by, step } = this.#running;
    return `an upgrade to ${program}, asked for by ${by}, ${step}`;
  }

  /** This process is told to end: what is not finished is given up. */
  abandon(reason: string): void {
    this.#abandon(reason);
  }

  /** @throws MeshError `limit_reached` while another one is under way, which it names; `unsupported` for a program that runs from source. */
  async run(request: UpgradeRequest): Promise<UpgradeOutcome> {
    if (this.#running !== null)
      throw new MeshError("limit_reached", "peer", `${this.step}; wait for its end`);
    const running = {
      program: request.program ?? "its own program",
      by: request.by,
      step: "checks the program" as Step,
    };
    this.#running = running;
    const { clock, logger, version, executable } = this.#parts;
    const startedMs = clock.now();
    let program = request.program;
    let outcome: UpgradeOutcome | null = null;
    try {
      program ??= await executable();
      if (program === null)
        throw new MeshError("unsupported", "local", "this node runs from source: give the program with --to");
      outcome = await this.#attempt({ ...request, program }, running);
    } finally {
      if (outcome?.result !== "done") this.#running = null;
      this.#abandon = () => {};
    }
    const { result, to, sha256, pid, reason } = outcome;
    const isWell = result === "done" || result === "checked";
    logger.log(isWell ? "info" : "error", "upgrade", `upgrade: ${result}`, {
      ...{ by: request.by, program, from: version, to, sha256, pid },
      reason,
      took_ms: Math.round(clock.now() - startedMs),
    });
    if (result === "done") {
      running.step = "drains";
      const counts = this.#counts;
      counts?.goOn();
      this.#parts.giveWay(request.deadlineMs, async () => counts?.finish());
    }
    return outcome;
  }

  async #attempt(
    { program, checkOnly, by, readyMs }: UpgradeRequest & { readonly program: string },
    running: { step: Step },
  ): Promise<UpgradeOutcome> {
    const { version: from, handover } = this.#parts;
    const { promise: abandoned, reject } = Promise.withResolvers<never>();
    abandoned.catch(() => {});
    this.#isGivenUp = false;
    this.#counts = null;
    this.#abandon = (reason) => {
      this.#isGivenUp = true;
      reject(new MeshError("stopped", "local", reason));
    };
    let held: HeldProgram | null = null;
    let sha256: string | null = null;
    let said: Said | null = null;
    try {
      held = await handover.hold(program);
      sha256 = await held.digest();
      said = await Promise.race([this.#checkVersion(held), abandoned]);
      await Promise.race([this.#checkSettings(held), abandoned]);
      if (!checkOnly)
        return await this.#replace(held, { by, from, sha256, ...said }, readyMs, running, abandoned);
      return { from, program, sha256, result: "checked", to: said.to, pid: null, reason: null };
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      const reason = held === null ? message : message.replaceAll(held.path, program);
      return { from, program, sha256, result: "refused", to: said?.to ?? null, pid: null, reason };
    } finally {
      held?.close();
    }
  }

  /** @throws MeshError while nothing has been started. */
  async #replace(
    held: HeldProgram,
    {
      by,
      from,
      to,
      sha256,
      takesCounts,
    }: Said & { readonly by: string; readonly from: string; readonly sha256: string | null },
    readyMs: number,
    running: { step: Step },
    abandoned: Promise<never>,
  ): Promise<UpgradeOutcome> {
    const { clock, logger, metrics, host, handover, process } = this.#parts;
    const { name: program } = held;
    const known = { from, program, sha256, to };
    logger.log("info", "upgrade", "starts a process to take the place of this one", {
      by,
      program,
      from,
      to,
    });
    running.step = "waits for the new process";
    let successor: Successor | null = null;
    await host.pause();
    try {
      successor = await handover.start(held, process.arguments);
      if (takesCounts) this.#counts = new CountsTold({ clock, metrics, link: successor.link });
      const isSame = async (): Promise<boolean> => (await held.digest()) === sha256;
      await Promise.race([this.#takePlace(successor, readyMs, running, isSame), abandoned]);
      return { ...known, result: "done", pid: successor.pid, reason: null };
    } catch (thrown) {
      const reason = asMeshError(thrown, "io", "local").message;
      await this.#takeBack(successor);
      return { ...known, result: "rolled back", pid: successor?.pid ?? null, reason };
    }
  }

  /** @throws MeshError; then it can still be taken back. */
  async #takePlace(
    successor: Successor,
    readyMs: number,
    running: { step: Step },
    isSame: () => Promise<boolean>,
  ): Promise<void> {
    const { takeMs, proveMs } = upgradeLimits;
    await this.#expect(successor, words.ready, readyMs, "was not ready");
    // It runs, so the kernel lets no one write to it any more: what was written before is seen now.
    if (!(await isSame()))
      throw new MeshError("io", "local", "the program's file was changed after it was looked at");
    running.step = "hands over";
    // Nearly all of it while this process accepts, so that what comes waits for no more than the rest.
    await this.#tellCounts(successor);
    if (this.#isGivenUp) return;
    successor.stopAccepting();
    await this.#tellCounts(successor);
    if (this.#isGivenUp) return;
    successor.link.send(words.take);
    await this.#expect(successor, words.serving, takeMs, "did not accept");
    running.step = "watches the new process";
    // What it says now is not expected: it is gone, or it is broken.
    await Promise.race([this.#pass(proveMs), this.#fails(successor, "right after it took over")]);
    if (this.#isGivenUp) return;
    this.#parts.announce(successor.pid);
    successor.link.send(words.yours);
    successor.letGo();
  }

  async #takeBack(successor: Successor | null): Promise<void> {
    const { logger, host } = this.#parts;
    successor?.kill();
    try {
      await successor?.acceptAgain();
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      logger.log("error", "upgrade", "a port cannot be had again; restart this node", { error: message });
    }
    // What it set up on this host is not looked at before it has ended.
    await successor?.ended;
    successor?.link.close();
    host.resume();
  }

  /** @throws MeshError. */
  async #tellCounts(successor: Successor): Promise<void> {
    const { takeMs } = upgradeLimits;
    await this.#counts?.tell(async () => {
      await this.#expect(successor, words.counted, takeMs, "did not take what was counted");
      return words.counted;
    });
  }

  /** @throws MeshError. */
  async #expect(successor: Successor, word: string, withinMs: number, otherwise: string): Promise<void> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = this.#parts.clock.setTimer(withinMs, () =>
      reject(
        new MeshError(
          "connect_timeout",
          "upstream",
          `the new process ${otherwise} within ${withinMs / 1000} s`,
        ),
      ),
    );
    const next = successor.link.next();
    const said = await Promise.race([next, late, successor.ended.then(() => null)]).finally(() =>
      timer.cancel(),
    );
    if (said === word) return;
    if (said === null) return await this.#fails(successor, "before it took over");
    throw new MeshError(
      "io",
      "upstream",
      `the new process is of a version that does something else: it said ${said.slice(0, 40)}`,
    );
  }

  /** @returns never; throws how the process ended, or a link that it closed while it lives. */
  async #fails(successor: Successor, when: string): Promise<never> {
    const end = successor.ended.then((how) => `ended ${how}`);
    const how = await Promise.race([
      end,
      successor.link
        .next()
        .then(() => this.#pass(endedWithinMs))
        .then(() => "closed its link"),
    ]);
    throw new MeshError("io", "upstream", `the new process ${how} ${when}; its log says why`);
  }

  #pass(ms: number): Promise<void> {
    return new Promise((resolve) => this.#parts.clock.setTimer(ms, resolve));
  }

  /** @throws MeshError for what does not run, and is no program of ours. */
  async #checkVersion({ name, path }: HeldProgram): Promise<Said> {
    const { exitCode, output } = await this.#parts.process.run(path, ["version", "--json"]);
    const version = exitCode === 0 ? versionIn(output) : null;
    if (version !== null) return version;
    const said = output.trim().slice(0, 200);
    throw new MeshError(
      "configuration",
      "local",
      `${name} does not say that it is fairlead: fairlead version ended with ${exitCode}${said === "" ? "" : ` (${said})`}`,
    );
  }

  /** By the very words that this process was started with. @throws MeshError. */
  async #checkSettings({ name, path }: HeldProgram): Promise<void> {
    const { run, arguments: args } = this.#parts.process;
    const { exitCode, output } = await run(path, [...args, "--check"]);
    if (exitCode === 0) return;
    throw new MeshError(
      "configuration",
      "local",
      `${name} does not take the settings of this node (${exitCode}): ${output.trim().slice(0, 1_000)}`,
    );
  }
}

/** A process that closes its link is about to end: for so long its end is waited for. */
const endedWithinMs = 1_000;

/** What a program says of itself. */
interface Said {
  /** Its version. */
  readonly to: string;
  /** It goes on with what the process before it has counted. */
  readonly takesCounts: boolean;
}

function versionIn(output: string): Said | null {
  try {
    const read: unknown = JSON.parse(output);
    const isOurs = typeof read === "object" && read !== null && "name" in read && read.name === "fairlead";
    if (!isOurs || !("version" in read) || typeof read.version !== "string") return null;
    return {
      to: read.version,
      takesCounts: "takes" in read && `${read.takes}`.split(" ").includes(takes.counts),
    };
  } catch {
    return null;
  }
}
