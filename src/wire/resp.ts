/**
 * RESP2, the protocol of Redis (https://redis.io/docs/latest/develop/reference/protocol-spec/): commands out, replies in, in the order of the
 * commands. Without I/O, so that the simulator drives it. Replies of strangers are bounded.
 */
import { MeshError } from "../base/errors.ts";
import { redisLimits } from "../base/limits/redis.ts";

export type RespReply =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "integer"; readonly value: number }
  | { readonly kind: "error"; readonly message: string }
  | { readonly kind: "null" }
  | { readonly kind: "list"; readonly items: readonly RespReply[] };

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A command as an array of bulk strings. */
export function encodeCommand(parts: readonly string[]): Uint8Array {
  let head = `*${parts.length}\r\n`;
  for (const part of parts) head += `$${encoder.encode(part).length}\r\n${part}\r\n`;
  return encoder.encode(head);
}

export class RespReader {
  #held: Uint8Array = new Uint8Array(0);

  /** @returns the replies that are whole now. @throws MeshError `message_malformed`: the connection is of no use any more. */
  receive(bytes: Uint8Array): readonly RespReply[] {
    this.#held = this.#held.length === 0 ? bytes : joined(this.#held, bytes);
    const replies: RespReply[] = [];
    const cursor = { at: 0 };
    for (;;) {
      const start = cursor.at;
      const reply = this.#read(cursor, 0);
      if (reply === null) {
        this.#held = this.#held.slice(start);
        break;
      }
      replies.push(reply);
    }
    if (this.#held.length > redisLimits.maxReplyBytes)
      throw malformed(`a reply of more than ${redisLimits.maxReplyBytes} bytes`);
    return replies;
  }

  /** Null when it is not whole. */
  #read(cursor: { at: number }, depth: number): RespReply | null {
    const line = this.#line(cursor);
    if (line === null) return null;
    const rest = line.slice(1);
    switch (line[0]) {
      case "+":
        return { kind: "text", text: rest };
      case "-":
        return { kind: "error", message: rest };
      case ":":
        return { kind: "integer", value: wholeNumber(rest) };
      case "$":
        return this.#bulk(cursor, wholeNumber(rest));
      case "*":
        return this.#list(cursor, wholeNumber(rest), depth);
      default:
        throw malformed("a reply of no known type");
    }
  }

  #bulk(cursor: { at: number }, length: number): RespReply | null {
    if (length === -1) return { kind: "null" };
    if (length < 0 || length > redisLimits.maxReplyBytes) throw malformed(`a string of ${length} bytes`);
    const end = cursor.at + length;
    if (this.#held.length < end + 2) return null;
    if (this.#held[end] !== 0x0d || this.#held[end + 1] !== 0x0a) throw malformed("a string without its end");
    const text = decoder.decode(this.#held.subarray(cursor.at, end));
    cursor.at = end + 2;
    return { kind: "text", text };
  }

  #list(cursor: { at: number }, length: number, depth: number): RespReply | null {
    if (length === -1) return { kind: "null" };
    if (length < 0 || length > redisLimits.maxReplyItems || depth >= redisLimits.maxReplyDepth)
      throw malformed(`a list of ${length} items`);
    const items: RespReply[] = [];
    for (let i = 0; i < length; i++) {
      const item = this.#read(cursor, depth + 1);
      if (item === null) return null;
      items.push(item);
    }
    return { kind: "list", items };
  }

  #line(cursor: { at: number }): string | null {
    const end = this.#held.indexOf(0x0d, cursor.at);
    if (end === -1 || end + 1 >= this.#held.length) {
      if (this.#held.length - cursor.at > redisLimits.maxLineBytes && end === -1)
        throw malformed("a line without an end");
      return null;
    }
    if (this.#held[end + 1] !== 0x0a) throw malformed("a line without its line feed");
    const line = decoder.decode(this.#held.subarray(cursor.at, end));
    cursor.at = end + 2;
    return line;
  }
}

function wholeNumber(text: string): number {
  if (!/^-?[0-9]{1,15}$/.test(text)) throw malformed("a number that is none");
  return Number(text);
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function malformed(what: string): MeshError {
  return new MeshError("message_malformed", "upstream", `the Redis server sent ${what}`);
}
