/**
 * The server's end of an HTTP/1.1 connection, without I/O: requests one after the other, each with its content. What follows a request
 * is not looked at before `next`, so requests that a client sends ahead (pipelining, RFC 9112 §9.3.2) are answered in their order.
 */
import { h1Limits } from "../../base/limits/h1.ts";
import type { HeaderFields } from "../h2/headers.ts";
import { ContentReader } from "./content_reader.ts";
import {
  type Framing,
  type HeadFault,
  HeadReader,
  newLineMemory,
  parseRequestHead,
  type RequestHead,
  requestFraming,
  wholeHead,
} from "./head.ts";

export interface H1ServerEvents {
  onRequest(head: RequestHead, framing: Framing): void;
  /** A view into what `receive` was given. */
  onContent(bytes: Uint8Array): void;
  /** The request is whole; after it `next` is to be called for another. */
  onRequestEnd(trailers: HeaderFields | null): void;
  /** Nothing more is read. To be answered when no answer has begun: 431 for `isLimit`, else 400. */
  onFault(fault: HeadFault): void;
}

type State = "head" | "content" | "held" | "tunnel" | "failed";

export class H1ServerMachine {
  readonly #events: H1ServerEvents;
  readonly #content: ContentReader;
  #head: HeadReader | null = null;
  #state: State = "head";
  readonly #lines = newLineMemory();
  /** Of the empty line that may come before a request. */
  #emptyLineBytes = 0;

  constructor(events: H1ServerEvents) {
    this.#events = events;
    this.#content = new ContentReader({
      onContent: (bytes) => events.onContent(bytes),
      onContentEnd: (trailers) => {
        this.#state = "held";
        events.onRequestEnd(trailers);
      },
      onContentFault: (fault) => this.#fail(fault),
    });
  }

  /** A request is under way: part of its head has come, or its content has not come to its end. */
  get isInMessage(): boolean {
    return this.#state === "content" || this.#head !== null;
  }

  get isFailed(): boolean {
    return this.#state === "failed";
  }

  /** @returns how many bytes were taken: fewer than given when a request is whole and `next` was not called; the rest is to be given again. */
  receive(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.length) {
      switch (this.#state) {
        case "held":
          return at;
        case "failed":
          return bytes.length;
        case "tunnel":
          this.#events.onContent(at === 0 ? bytes : bytes.subarray(at));
          return bytes.length;
        case "content":
          at = this.#content.receive(bytes, at);
          break;
        case "head":
          at = this.#takeHead(bytes, at);
      }
    }
    return at;
  }

  /** Reads on, with the next request. */
  next(): void {
    if (this.#state !== "held") return;
    this.#state = "head";
    this.#emptyLineBytes = 0;
  }

  /** The request was upgraded: what comes from here on is the new protocol's, told by `onContent`. */
  tunnel(): void {
    if (this.#state !== "failed") this.#state = "tunnel";
  }

  #takeHead(bytes: Uint8Array, from: number): number {
    let at = from;
    if (this.#head === null) {
      // RFC 9112 §2.2: one empty line before a request line is passed over.
      for (; at < bytes.length && this.#emptyLineBytes < 2; at++, this.#emptyLineBytes++)
        if (bytes[at] !== (this.#emptyLineBytes === 0 ? 0x0d : 0x0a)) break;
      if (at >= bytes.length) return at;
      if (this.#emptyLineBytes === 1) {
        this.#fail({
          kind: "fault",
          reason: "a bare carriage return before the request line",
          isLimit: false,
        });
        return bytes.length;
      }
      const whole = wholeHead(bytes, at, h1Limits.messageHeadBytes);
      if (whole !== null) return this.#takeWhole(whole.head, whole.end, bytes);
      this.#head = new HeadReader(h1Limits.messageHeadBytes);
    }
    const step = this.#head.receive(at === 0 ? bytes : bytes.subarray(at));
    if (step.kind === "more") return bytes.length;
    if (step.kind === "too_long") {
      this.#fail({ kind: "fault", reason: "the head is too long", isLimit: true });
      return bytes.length;
    }
    this.#head = null;
    return this.#takeWhole(step.head, bytes.length - step.rest.length, bytes);
  }

  /** @returns where its content begins. */
  #takeWhole(text: string, end: number, bytes: Uint8Array): number {
    const head = parseRequestHead(text, this.#lines);
    const framing = head.kind === "fault" ? head : requestFraming(head);
    if (head.kind === "fault" || framing.kind === "fault") {
      this.#fail(head.kind === "fault" ? head : (framing as HeadFault));
      return bytes.length;
    }
    this.#state = "content";
    this.#events.onRequest(head, framing);
    if (this.#state === "content") this.#content.begin(framing);
    return end;
  }

  #fail(fault: HeadFault): void {
    this.#state = "failed";
    this.#head = null;
    this.#events.onFault(fault);
  }
}
