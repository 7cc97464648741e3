/**
 * An application's load, in the caller's network namespace: connections that are kept and used, new ones, one long transfer, idle ones, and
 * requests over kept HTTP/1.1 connections through a waypoint. It ends when its standard input says so, and tells what it saw as one line of JSON.
 */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect, type Socket } from "node:net";
import type { Failure, LoadOptions, LoadReport } from "./report.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as LoadOptions;
const kept = 8;
const lanes = 2;
const idle = 50;
const restMs = 20;
const chunkBytes = 64 * 1024;

const failures: Failure[] = [];
const counts: Record<string, number> = {};
const longest: Record<string, number> = {};
let isOver = false;

function count(kind: string, tookMs: number): void {
  counts[kind] = (counts[kind] ?? 0) + 1;
  longest[kind] = Math.max(longest[kind] ?? 0, tookMs);
}

function fail(kind: string, thrown: unknown): void {
  const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : String(thrown);
  failures.push({ kind, atMs: Date.now(), code });
}

/** A connection whose every call waits for what it says, or for its end. */
class Caller {
  readonly #socket: Socket;
  #received = Buffer.alloc(0);
  #error: unknown = null;
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (bytes: Buffer) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      this.#wake();
    });
    socket.on("error", (error) => this.#end(error));
    socket.on("end", () => this.#end("ended"));
    socket.on("close", () => this.#end("closed"));
  }

  static open({ ip, port }: { readonly ip: string; readonly port: number }): Promise<Caller> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: ip, port, localAddress: options.from });
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new Caller(socket));
      });
    });
  }

  /** Until the answer has `enough`. @throws how the connection ended. */
  async call(text: string | Uint8Array, enough: (received: Buffer) => boolean): Promise<Buffer> {
    if (this.#error !== null) throw this.#error;
    this.#received = Buffer.alloc(0);
    this.#socket.write(text);
    while (!enough(this.#received)) {
      if (this.#error !== null) throw this.#error;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#received;
  }

  get isOpen(): boolean {
    return this.#error === null;
  }

  close(): void {
    this.#socket.removeAllListeners();
    this.#socket.on("error", () => {});
    this.#socket.end();
  }

  #end(error: unknown): void {
    this.#error ??= error;
    this.#wake();
  }
}

const echo = (caller: Caller, text: string): Promise<Buffer> =>
  caller.call(text, (received) => received.length >= text.length);

async function keepAlive(): Promise<void> {
  try {
    const caller = await Caller.open(options.echo);
    while (!isOver) {
      const began = performance.now();
      await echo(caller, "kept alive");
      count("keep-alive calls", performance.now() - began);
      await Bun.sleep(restMs);
    }
    caller.close();
  } catch (thrown) {
    fail("keep-alive", thrown);
  }
}

async function newOnes(): Promise<void> {
  while (!isOver) {
    const began = performance.now();
    try {
      const caller = await Caller.open(options.echo);
      await echo(caller, "new");
      caller.close();
      count("new connections", performance.now() - began);
    } catch (thrown) {
      fail("new connection", thrown);
    }
    await Bun.sleep(restMs);
  }
}

/** Both ways, at the pace of its echo; what comes back is what was sent. */
async function transfer(): Promise<void> {
  const [sent, received] = [createHash("sha256"), createHash("sha256")];
  try {
    const caller = await Caller.open(options.echo);
    while (!isOver) {
      const bytes = crypto.getRandomValues(new Uint8Array(chunkBytes));
      sent.update(bytes);
      received.update(await caller.call(bytes, ({ length }) => length >= bytes.length));
      count("KiB of the long transfer", 0);
      counts["KiB of the long transfer"] = (counts["KiB of the long transfer"] ?? 0) + chunkBytes / 1024 - 1;
      await Bun.sleep(restMs);
    }
    caller.close();
    if (sent.digest("hex") !== received.digest("hex")) fail("long transfer", "other bytes came back");
  } catch (thrown) {
    fail("long transfer", thrown);
  }
}

/** Nothing is said on it until the end. */
async function silent(): Promise<void> {
  try {
    const caller = await Caller.open(options.echo);
    while (!isOver && caller.isOpen) await Bun.sleep(restMs);
    await echo(caller, "still here");
    count("idle connections", 0);
    caller.close();
  } catch (thrown) {
    fail("idle connection", thrown);
  }
}

function isWhole(received: Buffer): boolean {
  const text = received.toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  const length = Number(/^content-length: *(\d+)\r$/im.exec(text)?.[1] ?? 0);
  return end !== -1 && text.length >= end + 4 + length;
}

/** As an HTTP client does: a connection is used again unless the answer says that it closes. */
async function requests(): Promise<void> {
  let caller: Caller | null = null;
  const words = `GET / HTTP/1.1\r\nHost: ${options.webHost}\r\n\r\n`;
  while (!isOver) {
    const began = performance.now();
    try {
      caller ??= await Caller.open(options.web);
      const answer = (await caller.call(words, isWhole)).toString();
      if (!answer.startsWith("HTTP/1.1 200 ")) throw answer.replaceAll("\r\n", " | ");
      count("HTTP requests by the waypoint", performance.now() - began);
      if (/^connection: close\r$/im.test(answer)) {
        caller.close();
        caller = null;
        count("HTTP connections that ended by their answer", 0);
      }
    } catch (thrown) {
      fail("HTTP request", thrown);
      caller?.close();
      caller = null;
    }
    await Bun.sleep(restMs);
  }
  caller?.close();
}

/** One question at a time, by UDP, from a port of its own; a resolver asks again after five seconds, and here that is a failure. */
async function names(): Promise<void> {
  const { ip, port, name } = options.names;
  const labels = name.split(".").flatMap((label) => [label.length, ...Buffer.from(label)]);
  while (!isOver) {
    const began = performance.now();
    const id = Math.floor(Math.random() * 0x10000);
    const socket = createSocket("udp4");
    try {
      const answered = new Promise<Buffer>((resolve, reject) => {
        socket.once("message", resolve);
        socket.once("error", reject);
        setTimeout(() => reject(new Error("no answer")), 5_000);
      });
      answered.catch(() => {});
      const head = [id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
      socket.send(Buffer.from([...head, ...labels, 0, 0, 1, 0, 1]), port, ip);
      const answer = await answered;
      if (answer.readUInt16BE(0) !== id || answer.readUInt16BE(6) === 0) throw "an answer without an address";
      count("names that were asked for", performance.now() - began);
    } catch (thrown) {
      fail("name", thrown instanceof Error ? thrown.message : thrown);
    }
    socket.close();
    await Bun.sleep(restMs);
  }
}

const work = [
  names(),
  ...Array.from({ length: kept }, keepAlive),
  ...Array.from({ length: lanes }, newOnes),
  ...Array.from({ length: idle }, silent),
  ...Array.from({ length: lanes }, requests),
  transfer(),
];
console.log("runs");
for await (const _ of process.stdin) break;
isOver = true;
await Promise.all(work);
console.log(JSON.stringify({ counts, longest, failures } satisfies LoadReport));
process.exit(0);
