/**
 * The client's end of an HTTP/1.1 connection, without I/O: one request at a time, its interim answers, its answer, its content.
 * Whatever comes when no answer is due is a fault: it would be taken for the answer to the next request.
 */
import { h1Limits } from "../../base/limits/h1.ts";
import type { HeaderFields } from "../h2/headers.ts";
import { ContentReader } from "./content_reader.ts";
import {
  type Framing,
  type HeadFault,
  HeadReader,
  newLineMemory,
  parseStatusHead,
  responseFraming,
  type StatusHead,
  wholeHead,
} from "./head.ts";

export interface H1ClientEvents {
  /** 1xx but 101 (RFC 9110 §15.2). */
  onInterim(head: StatusHead): void;
  onAnswer(head: StatusHead, framing: Framing): void;
  onContent(bytes: Uint8Array): void;
  /** The answer is whole. */
  onAnswerEnd(trailers: HeaderFields | null): void;
  /** Nothing more is read. */
  onFault(fault: HeadFault): void;
}

type State = "idle" | "head" | "content" | "tunnel" | "failed";

export class H1ClientMachine {
  readonly #events: H1ClientEvents;
  readonly #content: ContentReader;
  #head: HeadReader | null = null;
  readonly #lines = newLineMemory();
  #state: State = "idle";
  #isHead = false;
  #mayUpgrade = false;
  #interim = 0;
  #begun = false;

  constructor(events: H1ClientEvents) {
    this.#events = events;
    this.#content = new ContentReader({
      onContent: (bytes) => events.onContent(bytes),
      onContentEnd: (trailers) => {
        this.#state = "idle";
        events.onAnswerEnd(trailers);
      },
      onContentFault: (fault) => this.#fail(fault),
    });
  }

  get isIdle(): boolean {
    return this.#state === "idle";
  }

  /** A request goes out: its answer is due. @param mayUpgrade whether 101 may be one. */
  request(method: string, mayUpgrade: boolean): void {
    this.#isHead = method === "HEAD";
    this.#mayUpgrade = mayUpgrade;
    this.#interim = 0;
    this.#begun = false;
    this.#state = "head";
  }

  /** Bytes of the answer have come. */
  get isAnswering(): boolean {
    return this.#begun;
  }

  receive(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      switch (this.#state) {
        case "failed":
          return;
        case "idle":
          this.#fail({ kind: "fault", reason: "bytes that answer no request", isLimit: false });
          return;
        case "tunnel":
          this.#events.onContent(at === 0 ? bytes : bytes.subarray(at));
          return;
        case "content":
          at = this.#content.receive(bytes, at);
          break;
        case "head":
          at = this.#takeHead(bytes, at);
      }
    }
  }

  /** The connection has ended. @returns whether an answer was under way or due, and is cut short by it. */
  receiveEnd(): boolean {
    if (this.#state === "content") return !this.#content.receiveEnd();
    return this.#state === "head";
  }

  #takeHead(bytes: Uint8Array, at: number): number {
    this.#begun = true;
    if (this.#head === null) {
      const whole = wholeHead(bytes, at, h1Limits.messageHeadBytes);
      if (whole !== null) return this.#takeWhole(whole.head, whole.end, bytes);
      this.#head = new HeadReader(h1Limits.messageHeadBytes);
    }
    const step = this.#head.receive(at === 0 ? bytes : bytes.subarray(at));
    if (step.kind === "more") {
      if (!this.#head.agreesWith("HTTP/1."))
        this.#fail({ kind: "fault", reason: "that is not HTTP/1.1", isLimit: false });
      return bytes.length;
    }
    this.#head = null;
    if (step.kind === "too_long") return this.#refuse("the head is too long", bytes);
    return this.#takeWhole(step.head, bytes.length - step.rest.length, bytes);
  }

  /** @returns where what follows it begins. */
  #takeWhole(text: string, rest: number, bytes: Uint8Array): number {
    const head = parseStatusHead(text, this.#lines);
    if (head.kind === "fault") {
      this.#fail(head);
      return bytes.length;
    }
    if (head.status === 101) return this.#upgrade(head, rest, bytes);
    if (head.status < 200) {
      if (++this.#interim > h1Limits.maxInterim) return this.#refuse("too many interim answers", bytes);
      this.#events.onInterim(head);
      return rest;
    }
    const framing = this.#isHead ? ({ kind: "none" } as const) : responseFraming(head);
    if (framing.kind === "fault") {
      this.#fail(framing);
      return bytes.length;
    }
    this.#state = "content";
    this.#events.onAnswer(head, framing);
    if (this.#state === "content") this.#content.begin(framing);
    return rest;
  }

  #upgrade(head: StatusHead, rest: number, bytes: Uint8Array): number {
    if (!this.#mayUpgrade) return this.#refuse("101 without having been asked", bytes);
    this.#state = "tunnel";
    this.#events.onAnswer(head, { kind: "until_end" });
    return rest;
  }

  #refuse(reason: string, bytes: Uint8Array): number {
    this.#fail({ kind: "fault", reason, isLimit: false });
    return bytes.length;
  }

  #fail(fault: HeadFault): void {
    this.#state = "failed";
    this.#head = null;
    this.#events.onFault(fault);
  }
}
