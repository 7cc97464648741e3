/** A worker's end: takes what its node tells, one after the other, and confirms each once it is in force. */
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

export class NodeLink {
  readonly #socket: Socket;
  readonly #events: LinkEvents;
  readonly #reader = new FrameReader();
  readonly #waiting: Numbered[] = [];
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #isBusy = false;
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
      for (const value of this.#reader.receive(bytes)) this.#waiting.push(readTold(value));
    } catch (thrown) {
      this.#end(asMeshError(thrown, "message_malformed", "peer"));
      return;
    }
    if (!this.#isBusy) void this.#work();
  }

  async #work(): Promise<void> {
    this.#isBusy = true;
    try {
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
        const taken = this.#events.take(next.told);
        const answer = taken instanceof Promise ? await taken : taken;
        if (this.#isOver) return;
        this.#write(writeFrame({ kind: "done", seq: next.seq, answer: answer ?? null }));
      }
    } catch (thrown) {
      this.#end(asMeshError(thrown, "bug", "local"));
    } finally {
      this.#isBusy = false;
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
