/**
 * One middleware of a user, so that whatever it does ends as its document says: it throws, it takes too long, it calls `next` twice or goes
 * on after its time. Its time is its own: what is behind `next` is not counted.
 */
import type { Context } from "hono";
import { type Listed, notListed, Roster } from "../../base/roster.ts";
import type { Clock, Timer } from "../../host/host.ts";
import type { Exchange, LocalReply } from "../exchange.ts";
import { localReply } from "../local_reply.ts";
import type { OnDone, UserStage } from "../stages.ts";
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
): UserStage {
  const running = new Running(settings.clock);
  return (c, next, onDone) => new Run(c, next, onDone, settings, running).start(middleware, prepare);
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
  readonly #next: (onDone: OnDone) => void;
  readonly #onDone: OnDone;
  readonly #settings: GuardSettings;
  readonly #running: Running;
  #leftMs: number;
  #startedAt = 0;
  /** Monotonic; while its time goes on. */
  deadlineMs = 0;
  /** What `next()` has given to user code; null before it was called. */
  #passed: Promise<void> | null = null;
  /** What is behind it is through. */
  #isBehindDone = false;
  /** The middleware has returned what `next()` gave it, and is through with it. */
  #returnedPassed = false;
  /** It failed, and the request goes on without it. */
  #isLetPass = false;
  #isOver = false;

  constructor(
    c: Context,
    next: (onDone: OnDone) => void,
    onDone: OnDone,
    settings: GuardSettings,
    running: Running,
  ) {
    this.#running = running;
    this.#c = c;
    this.#next = next;
    this.#onDone = onDone;
    this.#settings = settings;
    this.#leftMs = settings.timeoutMs;
  }

  start(middleware: Middleware, prepare: (c: Context, exchange: Exchange) => void): void {
    this.#resume();
    try {
      prepare(this.#c, this.#c.env as Exchange);
      const returned = middleware(this.#c, () => this.#pass());
      // `return next()` is all that many do.
      if (returned === this.#passed && returned !== null) this.#returnPassed();
      else
        Promise.resolve(returned).then(
          (response) => this.#returned(response),
          (error: unknown) => this.#failed(`it threw: ${describe(error)}`),
        );
    } catch (error) {
      this.#failed(`it threw: ${describe(error)}`);
    }
  }

  #returnPassed(): void {
    this.#returnedPassed = true;
    if (this.#isBehindDone) this.#returned(undefined);
  }

  #pass(): Promise<void> {
    if (this.#passed !== null) {
      this.#failed("it called next() a second time");
      return this.#passed;
    }
    // What it does after its time changes nothing any more; the promise that it waits for never comes.
    if (this.#isOver) return new Promise(() => {});
    this.#pause();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#passed = promise;
    this.#next((error) => {
      if (error !== null) {
        // Of what is behind it: not its fault, and not caught here. Whoever does not wait for `next()` need not hear of it.
        promise.catch(() => {});
        reject(error.thrown);
        if (this.#isLetPass) this.#onDone(error);
        else this.#end(error);
        return;
      }
      this.#isBehindDone = true;
      resolve();
      if (this.#isLetPass) this.#onDone(null);
      else if (this.#returnedPassed) this.#returned(undefined);
      else this.#resume();
    });
    return promise;
  }

  #returned(response: Response | void): void {
    if (this.#isOver) return;
    const c = this.#c;
    if (response === undefined && this.#passed === null && !c.finalized) {
      this.#failed("it neither called next() nor answered");
      return;
    }
    try {
      if (response instanceof Response && (this.#passed === null || !c.finalized)) c.res = response;
    } catch (error) {
      this.#failed(`its answer cannot be taken: ${describe(error)}`);
      return;
    }
    this.#end(null);
  }

  #failed(why: string): void {
    if (this.#isOver) return;
    const { name, onFailure, onError, reply } = this.#settings;
    onError(why);
    if (onFailure === "Deny") {
      const failure = localReply(500, "-", "a middleware failed", `Middleware ${name}: ${why}`);
      const c = this.#c;
      const answer = reply(c, failure);
      // In place of the answer that is there, if there is one; Hono would add that one's headers to it.
      c.res = undefined;
      c.res = answer;
      this.#end(null);
      return;
    }
    // As if it were not there.
    this.#leave();
    if (this.#passed === null) this.#next(this.#onDone);
    else if (this.#isBehindDone) this.#onDone(null);
    else this.#isLetPass = true;
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

  #end(error: { readonly thrown: unknown } | null): void {
    if (this.#isOver) return;
    this.#leave();
    this.#onDone(error);
  }

  #leave(): void {
    this.#isOver = true;
    this.#running.remove(this);
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
