/**
 * A worker's end: takes what its node tells, and confirms each once it is in force, in order. What is taken of the mesh waits for what was
 * taken of it before, whose policies may have to be compiled; nothing else waits for that, a revocation least of all.
 */
import { asMeshError, type MeshError } from "../base/errors.ts";
import { workerLimits } from "../base/limits/host.ts";
import type { Socket } from "../host/host.ts";
import { FrameReader, writeFrame } from "./frames.ts";
import { type Numbered, readTold, type Said, type Told } from "./messages.ts";

export interface LinkEvents {
  /** Puts it in force. @returns, or resolves with, the answer to a question; null where nothing was asked. What it throws ends the worker. */
  take(told: Told): unknown;
  /** The node is gone, or says what cannot be read, or something of it could not be put in force: nothing may go on by what was told so far. */
  lost(error: MeshError | null): void;
}

/** What is taken one after the other; `all` waits for everything, and everything for it. */
type Lane = "all" | "mesh" | "other";

const lanes = 2;

function laneOf({ kind }: Told): Lane {
  if (kind === "begin" || kind === "serve") return "all";
  return kind === "mesh" ? "mesh" : "other";
}

interface Waiting extends Numbered {
  state: "told" | "taken" | "in force";
  answer: unknown;
}

export class NodeLink {
  readonly #socket: Socket;
  readonly #events: LinkEvents;
  readonly #reader = new FrameReader();
  readonly #waiting: Waiting[] = [];
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #isOver = false;

  constructor(socket: Socket, events: LinkEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.setHandler({
      onData: (bytes) => this.#receive(bytes),
      onDrain: () => this.#flush(),
      onEnd: () => this.#end(null),
      onClose: () => this.#end(null),
    });
  }

  say(said: Exclude<Said, { readonly kind: "done" | "record" }>): void {
    this.#write(writeFrame(said));
  }

  /** Left out when the node does not keep up. */
  sayRecord(said: Extract<Said, { readonly kind: "record" }>): void {
    if (this.#queuedBytes <= workerLimits.maxRecordBytes) this.#write(writeFrame(said));
  }

  #receive(bytes: Uint8Array): void {
    try {
      for (const value of this.#reader.receive(bytes))
        this.#waiting.push({ ...readTold(value), state: "told", answer: null });
    } catch (thrown) {
      this.#end(asMeshError(thrown, "message_malformed", "peer"));
      return;
    }
    this.#work();
  }

  #work(): void {
    for (let next = this.#next(); next !== null; next = this.#next()) this.#take(next);
  }

  /** The first that has nothing to wait for; null where there is none. */
  #next(): Waiting | null {
    const busy = new Set<Lane>();
    for (const one of this.#isOver ? [] : this.#waiting) {
      if (one.state === "in force") continue;
      const lane = laneOf(one.told);
      const waits = lane === "all" ? busy.size > 0 : busy.has(lane);
      if (one.state === "told" && !waits) return one;
      if (lane === "all") return null;
      busy.add(lane);
      if (busy.size === lanes) return null;
    }
    return null;
  }

  #take(one: Waiting): void {
    one.state = "taken";
    const fail = (thrown: unknown): void => this.#end(asMeshError(thrown, "bug", "local"));
    try {
      const taken = this.#events.take(one.told);
      if (taken instanceof Promise)
        taken.then((answer) => {
          this.#confirm(one, answer);
          this.#work();
        }, fail);
      else this.#confirm(one, taken);
    } catch (thrown) {
      fail(thrown);
    }
  }

  /** In order: a number confirms what was told before it as well. */
  #confirm(one: Waiting, answer: unknown): void {
    one.state = "in force";
    one.answer = answer ?? null;
    for (let first = this.#waiting[0]; first?.state === "in force"; first = this.#waiting[0]) {
      this.#write(writeFrame({ kind: "done", seq: first.seq, answer: first.answer }));
      this.#waiting.shift();
    }
  }

  #write(frame: Uint8Array): void {
    if (this.#isOver) return;
    this.#queue.push(frame);
    this.#queuedBytes += frame.length;
    this.#flush();
  }

  #flush(): void {
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const taken = this.#socket.write(first);
      this.#queuedBytes -= taken;
      if (taken < first.length) {
        this.#queue[0] = first.subarray(taken);
        return;
      }
      this.#queue.shift();
    }
  }

  #end(error: MeshError | null): void {
    if (this.#isOver) return;
    if (error !== null) this.#write(writeFrame({ kind: "failed", code: error.code, message: error.message }));
    this.#isOver = true;
    this.#events.lost(error);
  }
}
