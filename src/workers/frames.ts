/** Frames between a node and its workers: four bytes of length (network byte order), then JSON in UTF-8. */
import { workerLimits } from "../base/limits/host.ts";
import { malformed, readValue, writeValue } from "./values.ts";

const headBytes = 4;

/** @throws MeshError `message_malformed` for a value that does not fit into a frame. */
export function writeFrame(value: unknown): Uint8Array {
  const body = new TextEncoder().encode(JSON.stringify(writeValue(value)));
  if (body.length > workerLimits.maxFrameBytes) throw malformed(`${body.length} bytes`);
  const frame = new Uint8Array(headBytes + body.length);
  new DataView(frame.buffer).setUint32(0, body.length);
  frame.set(body, headBytes);
  return frame;
}

export class FrameReader {
  #parts: Uint8Array[] = [];
  /** Bytes of them. */
  #held = 0;

  /** Each value is told once its frame is whole. @throws MeshError `message_malformed`; nothing that follows is to be read then. */
  *receive(bytes: Uint8Array): Generator<unknown> {
    this.#parts.push(bytes);
    this.#held += bytes.length;
    for (;;) {
      if (this.#held < headBytes) return;
      const head = this.#peek(headBytes);
      const length = new DataView(head.buffer, head.byteOffset).getUint32(0);
      if (length > workerLimits.maxFrameBytes) throw malformed(`${length} bytes`);
      if (this.#held < headBytes + length) return;
      const frame = this.#take(headBytes + length);
      yield readValue(parse(frame.subarray(headBytes)));
    }
  }

  /** The first bytes in one piece; they stay. */
  #peek(count: number): Uint8Array {
    const [first] = this.#parts;
    if (first !== undefined && first.length >= count) return first.subarray(0, count);
    const whole = this.#join();
    return whole.subarray(0, count);
  }

  #take(count: number): Uint8Array {
    const [first] = this.#parts;
    const whole = first !== undefined && first.length >= count ? first : this.#join();
    const rest = whole.subarray(count);
    if (rest.length > 0) this.#parts[0] = rest;
    else this.#parts.shift();
    this.#held -= count;
    return whole.subarray(0, count);
  }

  /** Only when a frame is whole, or its head is cut: a long frame is not copied for each of its reads. */
  #join(): Uint8Array {
    const whole = new Uint8Array(this.#held);
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    this.#parts = [whole];
    return whole;
  }
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw malformed("no JSON");
  }
}
