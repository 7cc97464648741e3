/**
 * One middleware of a user, so that whatever it does ends as its document says: it throws, it takes too long, it calls `next` twice or goes
 * on after its time. Its time is its own: what is behind `next` is not counted.
 */
import type { Context, MiddlewareHandler, Next } from "hono";
import { type Listed, notListed, Roster } from "../../base/roster.ts";
import type { Clock, Timer } from "../../host/host.ts";
import type { Exchange, LocalReply } from "../exchange.ts";
import { localReply } from "../local_reply.ts";
import type { Middleware } from "./middleware_api.ts";

export interface GuardSettings {
  /** `namespace/name`, for the record. */
  readonly name: string;
  readonly timeoutMs: number;
  readonly onFailure: "Deny" | "Continue";
  readonly clock: Clock;
  /** Each failure, in words. */
  readonly onError: (message: string) => void;
  /** Ends the request with this answer in place of the middleware's. */
  readonly reply: (c: Context, reply: LocalReply) => Response;
}

/** @param prepare before the user's code runs: gives it its context. */
export function guarded(
  middleware: Middleware,
  prepare: (c: Context, exchange: Exchange) => void,
  settings: GuardSettings,
): MiddlewareHandler {
  const running = new Running(settings.clock);
  return (c, next) => new Run(c, next, settings, running).start(middleware, prepare);
}

/**
 * Runs whose time goes on, and one timer for all of them, for the first that may be late: nearly all are over long before, and a timer each
 * would cost more than they do.
 */
class Running {
  readonly #clock: Clock;
  readonly #runs = new Roster<Run>();
  #timer: Timer | null = null;
  #timerAtMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(run: Run): void {
    this.#runs.add(run);
    this.#arm(run.deadlineMs);
  }

  remove(run: Run): void {
    this.#runs.delete(run);
  }

  #arm(atMs: number): void {
    if (this.#timer !== null && this.#timerAtMs <= atMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = atMs;
    this.#timer = this.#clock.setTimer(Math.max(0, atMs - this.#clock.now()), () => this.#look());
  }

  #look(): void {
    this.#timer = null;
    const now = this.#clock.now();
    let first = Number.POSITIVE_INFINITY;
    for (const run of [...this.#runs])
      if (run.deadlineMs <= now) run.late();
      else first = Math.min(first, run.deadlineMs);
    if (first < Number.POSITIVE_INFINITY) this.#arm(first);
  }
}

class Run implements Listed {
  rosterAt = notListed;
  readonly #c: Context;
  readonly #next: Next;
  readonly #settings: GuardSettings;
  readonly #running: Running;
  #leftMs: number;
  #startedAt = 0;
  /** Monotonic; while its time goes on. */
  deadlineMs = 0;
  #passed: Promise<void> | null = null;
  #isOver = false;
  #settle: (response: Response | void) => void = () => {};
  #throw: (error: unknown) => void = () => {};

  constructor(c: Context, next: Next, settings: GuardSettings, running: Running) {
    this.#running = running;
    this.#c = c;
    this.#next = next;
    this.#settings = settings;
    this.#leftMs = settings.timeoutMs;
  }

  start(middleware: Middleware, prepare: (c: Context, exchange: Exchange) => void): Promise<Response | void> {
    return new Promise((resolve, reject) => {
      this.#settle = resolve;
      this.#throw = reject;
      this.#resume();
      try {
        prepare(this.#c, this.#c.env as Exchange);
        Promise.resolve(middleware(this.#c, () => this.#pass())).then(
          (response) => this.#returned(response),
          (error: unknown) => this.#failed(`it threw: ${describe(error)}`),
        );
      } catch (error) {
        this.#failed(`it threw: ${describe(error)}`);
      }
    });
  }

  #pass(): Promise<void> {
    if (this.#passed !== null) {
      this.#failed("it called next() a second time");
      return this.#passed;
    }
    // What it does after its time changes nothing any more; the promise that it waits for never comes.
    if (this.#isOver) return new Promise(() => {});
    this.#pause();
    this.#passed = this.#next();
    this.#passed.then(
      () => this.#resume(),
      // Of what is behind it: not its fault, and not caught here.
      (error: unknown) => this.#end(() => this.#throw(error)),
    );
    return this.#passed;
  }

  #returned(response: Response | void): void {
    if (this.#isOver) return;
    if (response === undefined && this.#passed === null && !this.#c.finalized)
      this.#failed("it neither called next() nor answered");
    else this.#end(() => this.#settle(response));
  }

  #failed(why: string): void {
    if (this.#isOver) return;
    const { name, onFailure, onError, reply } = this.#settings;
    onError(why);
    if (onFailure === "Deny") {
      const failure = localReply(500, "-", "a middleware failed", `Middleware ${name}: ${why}`);
      this.#end(() => {
        const answer = reply(this.#c, failure);
        // In place of the answer that is there, if there is one; Hono would add that one's headers to it.
        this.#c.res = undefined;
        this.#c.res = answer;
        this.#settle(undefined);
      });
      return;
    }
    // As if it were not there.
    const passed = this.#passed ?? this.#next();
    this.#passed = passed;
    this.#end(() => passed.then(() => this.#settle(undefined), this.#throw));
  }

  late(): void {
    this.#failed(`it took longer than ${this.#settings.timeoutMs} ms of its own`);
  }

  #resume(): void {
    if (this.#isOver) return;
    this.#startedAt = this.#settings.clock.now();
    this.deadlineMs = this.#startedAt + Math.max(0, this.#leftMs);
    this.#running.add(this);
  }

  #pause(): void {
    this.#running.remove(this);
    this.#leftMs -= this.#settings.clock.now() - this.#startedAt;
  }

  #end(act: () => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#running.remove(this);
    act();
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
