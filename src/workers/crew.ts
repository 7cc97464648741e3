/**
 * The workers of a node: started, given the whole state, then every change of it, and replaced when they end. What is told to all is in
 * force in each that serves before `tell` is over; one that does not confirm in time is killed, so it is in force there as well: fail closed.
 */
import { assert } from "../base/assert.ts";
import { backoffMs } from "../base/backoff.ts";
import { asMeshError, type ErrorCode, MeshError } from "../base/errors.ts";
import { workerLimits } from "../base/limits/host.ts";
import type { Logger } from "../base/log.ts";
import type { Clock, Random, Socket, Timer } from "../host/host.ts";
import { FrameReader, writeFrame } from "./frames.ts";
import { type Numbered, readSaid, type Said, type Told } from "./messages.ts";

/** A process that was started with one end of a pair of sockets. */
export interface WorkerProcess {
  readonly pid: number;
  readonly socket: Socket;
  /** Resolves with how it ended: `with exit code 1`, `by SIGKILL`. */
  readonly ended: Promise<string>;
  kill(): void;
}

export interface CrewParts {
  readonly clock: Clock;
  readonly random: Pick<Random, "float">;
  readonly logger: Logger;
  readonly count: number;
  /** @throws MeshError `io`. */
  readonly start: (worker: number) => Promise<WorkerProcess>;
  /** Everything that holds now, for a worker that is there since now. */
  readonly state: (worker: number) => Iterable<Told>;
  readonly onWant: (id: Extract<Said, { readonly kind: "want" }>["id"], worker: WorkerHandle) => void;
  readonly onRecord: (record: Extract<Said, { readonly kind: "record" }>) => void;
  /** A worker that has served has ended: what it had counted stays counted. */
  readonly onEnd: (worker: number) => void;
}

/** One of them, for an answer that is its alone. */
export interface WorkerHandle {
  tell(told: Told): void;
}

export class Crew {
  readonly #slots: Slot[];
  readonly #serving = Promise.withResolvers<void>();
  #isClosed = false;

  constructor(parts: CrewParts) {
    assert(parts.count >= 1 && parts.count <= workerLimits.maxWorkers, "a number of workers");
    // Heard of where it is awaited.
    this.#serving.promise.catch(() => {});
    this.#slots = Array.from({ length: parts.count }, (_, index) => new Slot(parts, index, this.#events));
    for (const slot of this.#slots) slot.start();
  }

  /** Resolves when each of them serves. Rejects with what the first said that could not begin: a port that cannot be had, say. */
  get serving(): Promise<void> {
    return this.#serving.promise;
  }

  get states(): readonly {
    readonly worker: number;
    readonly pid: number | null;
    readonly serves: boolean;
  }[] {
    return this.#slots.map(({ index, pid, serves }) => ({ worker: index, pid, serves }));
  }

  /** Resolves when it is in force in every worker that serves; those that do not yet are told before they do. Never rejects. */
  async tell(told: Told): Promise<void> {
    await Promise.all(this.#slots.map((slot) => slot.tell(told)));
  }

  /** What each says that serves, by its number; one that ends instead says nothing. */
  async ask(
    what: Extract<Told, { readonly kind: "ask" }>["what"],
    id = 0,
  ): Promise<ReadonlyMap<number, unknown>> {
    const asked = this.#slots.filter(({ serves }) => serves);
    const answers = await Promise.all(asked.map((slot) => slot.tell({ kind: "ask", what, id })));
    const said = new Map<number, unknown>();
    for (const [at, { index }] of asked.entries()) {
      const answer = answers[at];
      if (answer !== undefined && answer !== null) said.set(index, answer);
    }
    return said;
  }

  /** Everything that is open ends, at most within the deadline; resolves when no worker is left. */
  async drain(deadlineMs: number): Promise<void> {
    this.#close();
    await Promise.all(this.#slots.map((slot) => slot.drain(deadlineMs)));
  }

  /** Cuts everything. */
  async stop(): Promise<void> {
    this.#close();
    await Promise.all(this.#slots.map((slot) => slot.stop()));
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#serving.reject(new MeshError("stopped", "local", "stopped before its workers served"));
  }

  readonly #events: SlotEvents = {
    served: () => {
      if (this.#slots.every(({ serves }) => serves)) this.#serving.resolve();
    },
    failed: (error) => this.#serving.reject(error),
  };
}

interface SlotEvents {
  served(): void;
  failed(error: MeshError): void;
}

/** The place of one worker, whichever process has it. */
class Slot {
  readonly index: number;
  readonly #parts: CrewParts;
  readonly #events: SlotEvents;
  #member: Member | null = null;
  #timer: Timer | null = null;
  #failures = 0;
  #isClosed = false;

  constructor(parts: CrewParts, index: number, events: SlotEvents) {
    this.#parts = parts;
    this.index = index;
    this.#events = events;
  }

  get pid(): number | null {
    return this.#member?.process.pid ?? null;
  }

  get serves(): boolean {
    return this.#member?.isServing === true;
  }

  start(): void {
    void this.#run();
  }

  tell(told: Told): Promise<unknown> {
    return this.#member?.tell(told) ?? Promise.resolve();
  }

  async drain(deadlineMs: number): Promise<void> {
    const member = this.#close();
    if (member === null) return;
    if (!member.counts) member.end("was not serving yet");
    void member.tell({ kind: "drain", deadlineMs });
    const timer = this.#parts.clock.setTimer(deadlineMs + workerLimits.lastMs, () =>
      member.end("did not end in time"),
    );
    await member.ended;
    timer.cancel();
  }

  async stop(): Promise<void> {
    const member = this.#close();
    member?.end(null);
    await member?.ended;
  }

  #close(): Member | null {
    this.#isClosed = true;
    this.#timer?.cancel();
    return this.#member;
  }

  async #run(): Promise<void> {
    const { clock, logger, random, onEnd } = this.#parts;
    const startedMs = clock.now();
    let how: string;
    let servedMs: number | null = null;
    try {
      const process = await this.#parts.start(this.index);
      const member = new Member(this.#parts, this.index, process, this.#events);
      this.#member = member;
      if (this.#isClosed) member.end(null);
      how = await member.ended;
      servedMs = member.servedMs;
      this.#member = null;
      if (servedMs !== null) onEnd(this.index);
    } catch (thrown) {
      how = asMeshError(thrown, "io", "local").message;
    }
    if (this.#isClosed) return;
    const wasSteady = servedMs !== null && clock.now() - servedMs >= workerLimits.steadyMs;
    this.#failures = wasSteady ? 1 : this.#failures + 1;
    const delayMs = backoffMs(this.#failures, workerLimits, random.float());
    logger.log("error", "workers", "a worker ended; another takes its place", {
      ...{ worker: this.index, how, retry_ms: Math.round(delayMs) },
      lived_ms: Math.round(clock.now() - startedMs),
    });
    this.#timer = clock.setTimer(delayMs, () => this.start());
  }
}

/** Something that was told and is not confirmed yet. */
interface Open {
  readonly seq: number;
  dueMs: number;
  readonly settle: (answer: unknown) => void;
}

/** One process, from its start to its end. */
class Member {
  readonly process: WorkerProcess;
  /** Resolves with how, when nothing is to be awaited of it any more. */
  readonly ended: Promise<string>;
  /** When it was told to serve: from then on it counts. */
  servedMs: number | null = null;
  readonly #parts: CrewParts;
  readonly #index: number;
  readonly #events: SlotEvents;
  readonly #reader = new FrameReader();
  readonly #open: Open[] = [];
  /** What has not left yet. It is written out when its turn comes: a whole mesh at once would hold this one's. */
  readonly #queue: (Numbered | Uint8Array)[] = [];
  #seq = 0;
  #hasServed = false;
  #isOver = false;
  #why: string | null = null;
  #watch: Timer | null = null;

  constructor(parts: CrewParts, index: number, process: WorkerProcess, events: SlotEvents) {
    this.#parts = parts;
    this.#index = index;
    this.process = process;
    this.#events = events;
    process.socket.setHandler({
      onData: (bytes) => this.#receive(bytes),
      onDrain: () => this.#flush(),
      onEnd: () => this.end("closed its end"),
      onClose: () => this.end("closed its end"),
    });
    this.ended = process.ended.then((how) => {
      this.#leave();
      // Only now: what was told is in force where there is no process left that could do otherwise.
      for (const open of this.#open.splice(0)) open.settle(undefined);
      return this.#why === null ? how : `${how}: it ${this.#why}`;
    });
    void this.#begin();
  }

  /** Whether it may accept connections by now: what is told has to be in force there, too. */
  get counts(): boolean {
    return this.servedMs !== null && !this.#isOver;
  }

  /** Whether it has said that it accepts connections. */
  get isServing(): boolean {
    return this.#hasServed && !this.#isOver;
  }

  /** Resolves with its answer once it is in force, at once where it does not serve: it is told before it does. */
  tell(told: Told): Promise<unknown> {
    if (this.#isOver) return this.ended.then(() => undefined);
    const confirmed = this.#send(told);
    return this.counts ? confirmed : Promise.resolve();
  }

  /** @param why for the log; null where it was meant. */
  end(why: string | null): void {
    if (this.#isOver) return;
    this.#why = why;
    this.process.kill();
    this.#leave();
  }

  /** The whole state, confirmed, then what came meanwhile is ahead of `serve` in the same order. */
  async #begin(): Promise<void> {
    let last: Promise<unknown> = Promise.resolve();
    for (const told of [...this.#parts.state(this.#index)]) last = this.#send(told);
    await last;
    if (this.#isOver) return;
    this.servedMs = this.#parts.clock.now();
    await this.#send({ kind: "serve" });
    if (this.#isOver) return;
    this.#hasServed = true;
    this.#events.served();
  }

  #send(told: Told): Promise<unknown> {
    if (this.#isOver) return Promise.resolve();
    const seq = ++this.#seq;
    const { clock } = this.#parts;
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const withinMs = this.#hasServed ? workerLimits.confirmMs : workerLimits.startMs;
    this.#open.push({ seq, dueMs: clock.now() + withinMs, settle: resolve });
    this.#queue.push({ seq, told });
    this.#flush();
    if (this.#queue.length > workerLimits.maxQueuedFrames) this.end("reads nothing");
    else this.#watchFirst();
    return promise;
  }

  #flush(): void {
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const frame = first instanceof Uint8Array ? first : writeFrame(first);
      const taken = this.process.socket.write(frame);
      if (taken < frame.length) {
        this.#queue[0] = frame.subarray(taken);
        return;
      }
      this.#queue.shift();
    }
  }

  #watchFirst(): void {
    const [first] = this.#open;
    if (this.#watch !== null || first === undefined || this.#isOver) return;
    const { clock } = this.#parts;
    this.#watch = clock.setTimer(Math.max(0, first.dueMs - clock.now()), () => {
      this.#watch = null;
      const [oldest] = this.#open;
      if (oldest !== undefined && oldest.dueMs <= clock.now())
        this.end("did not confirm in time what it was told");
      else this.#watchFirst();
    });
  }

  #receive(bytes: Uint8Array): void {
    try {
      for (const value of this.#reader.receive(bytes)) {
        if (this.#isOver) return;
        this.#take(readSaid(value));
      }
    } catch (thrown) {
      this.end(`says what cannot be read (${asMeshError(thrown, "message_malformed", "peer").message})`);
    }
  }

  #take(said: Said): void {
    switch (said.kind) {
      case "done":
        this.#confirm(said.seq, said.answer);
        break;
      case "want":
        this.#parts.onWant(said.id, { tell: (told) => void this.#send(told) });
        break;
      case "record":
        this.#parts.onRecord(said);
        break;
      case "failed": {
        const error = new MeshError(said.code as ErrorCode, "local", said.message);
        this.#events.failed(error);
        this.end(`failed: ${said.message}`);
      }
    }
  }

  /** In order, one by one: what was confirmed out of turn was not understood. */
  #confirm(seq: number, answer: unknown): void {
    const [first] = this.#open;
    if (first === undefined || first.seq !== seq) {
      this.end("confirms what it was not told");
      return;
    }
    this.#open.shift();
    const [next] = this.#open;
    // What waited for this one has its own time: a worker that gets on is not killed for a long queue.
    if (next !== undefined)
      next.dueMs = Math.max(next.dueMs, this.#parts.clock.now() + workerLimits.confirmMs);
    this.#watch?.cancel();
    this.#watch = null;
    this.#watchFirst();
    first.settle(answer);
  }

  #leave(): void {
    this.#isOver = true;
    this.#watch?.cancel();
    this.#queue.length = 0;
    this.process.socket.reset();
  }
}
