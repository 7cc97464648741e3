/** For tests: calls over two wired HTTP/2 connections, and a clock that is turned by hand. */
import type { H2Options } from "../../h2/connection.ts";
import { Pair } from "../../h2/testing/wired.ts";
import type { CallClock, CallContext } from "../call_context.ts";
import { type CallOptions, GrpcClient } from "../client.ts";
import type { ClientStream } from "../client_stream.ts";
import { type MethodDescription, rawCodec } from "../method.ts";
import { GrpcService } from "../server.ts";
import type { GrpcError } from "../status.ts";

export const echoMethod: MethodDescription<Uint8Array, Uint8Array> = {
  path: "/test.Echo/Echo",
  request: rawCodec,
  response: rawCodec,
};

export class HandClock implements CallClock {
  #nowMs = 0;
  readonly #timers = new Set<{ atMs: number; callback: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): { cancel(): void } {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  get timers(): number {
    return this.#timers.size;
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    for (const timer of [...this.#timers]) {
      if (timer.atMs > this.#nowMs) continue;
      this.#timers.delete(timer);
      timer.callback();
    }
  }
}

/** What a client was told. */
export class Answers {
  readonly messages: Uint8Array[] = [];
  end: { error: GrpcError | null } | null = null;
  ends = 0;
  writable = 0;
  headers = 0;
  onHeaders(): void {
    this.headers++;
  }
  onMessage(message: Uint8Array): void {
    this.messages.push(message.slice());
  }
  onWritable(): void {
    this.writable++;
  }
  onEnd(error: GrpcError | null): void {
    this.end = { error };
    this.ends++;
  }
  get code(): number | null {
    return this.end === null ? null : (this.end.error?.code ?? 0);
  }
}

export class CallPair {
  readonly clock = new HandClock();
  readonly service = new GrpcService<string>();
  readonly faults: unknown[] = [];
  readonly pair: Pair;
  readonly client: GrpcClient;
  /** Whether the service took the requests, in their order. */
  readonly taken: boolean[] = [];

  constructor(context: Partial<CallContext> = {}, limits: H2Options["limits"] = {}) {
    this.pair = new Pair({ limits }, { limits });
    this.pair.serverEvents.onRequest = (stream, headers, endStream) => {
      this.taken.push(
        this.service.handle(stream, headers, endStream, "peer", {
          clock: this.clock,
          load: null,
          maxRequestBytes: 4 << 20,
          onFault: (_path, thrown) => this.faults.push(thrown),
          ...context,
        }),
      );
    };
    this.client = new GrpcClient(this.pair.client, {
      authority: "control.test:15012",
      scheme: "https",
      clock: this.clock,
      userAgent: "test",
    });
    this.pair.settle();
  }

  /** A stream; `settle` of the pair is up to the test. */
  call(
    options: CallOptions = {},
    method = echoMethod,
  ): { stream: ClientStream<Uint8Array>; answers: Answers } {
    const answers = new Answers();
    return { stream: this.client.stream(method, answers, options), answers };
  }

  /** Lets promises run and the wire carry, until both rest. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 5; turn++) {
      this.pair.settle();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function textOf(bytes: Uint8Array | undefined): string {
  return new TextDecoder().decode(bytes);
}
