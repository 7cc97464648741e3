/** The record layer of the in-memory TLS: lengths and types as TLS has them, contents of our own. */
import { hostLimits } from "../../base/limits/host.ts";

export const recordType = { alert: 21, hello: 22, data: 23, finished: 20, closeNotify: 24 } as const;

/** RFC 8446 §5.1. */
export const maxPlaintextBytes = 16 * 1024;
const headerBytes = 5;
/** Hellos are padded: the length of a certificate depends on its random serial and signature, and must not change the course of things. */
const helloBytes = 16 * 1024;

export interface Hello {
  readonly alpn: readonly string[];
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[];
}

export function encodeRecord(type: number, payload: Uint8Array): Uint8Array {
  const record = new Uint8Array(headerBytes + payload.length);
  record[0] = type;
  record[1] = 3;
  record[2] = payload.length >> 16;
  record[3] = payload.length >> 8;
  record[4] = payload.length;
  record.set(payload, headerBytes);
  return record;
}

/** Both ways. Whoever looks at the wire does not find the plaintext there. */
export function scramble(bytes: Uint8Array): Uint8Array {
  const changed = new Uint8Array(bytes.length);
  for (let index = 0; index < bytes.length; index++) changed[index] = (bytes[index] ?? 0) ^ 0xa5;
  return changed;
}

export function encodeHello(hello: Hello): Uint8Array {
  const chain = hello.chain.map((der) => der.toBase64());
  const text = JSON.stringify({ alpn: hello.alpn, chain });
  const bytes = new TextEncoder().encode(text);
  const padded = new Uint8Array(Math.ceil((bytes.length + 1) / helloBytes) * helloBytes).fill(0x20);
  padded.set(bytes);
  return padded;
}

/** @returns null for what is no hello. */
export function decodeHello(payload: Uint8Array): Hello | null {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(payload));
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null || !("alpn" in value) || !("chain" in value)) return null;
  const { alpn, chain } = value;
  if (!isTexts(alpn) || !isTexts(chain)) return null;
  return { alpn, chain: chain.map((text) => Uint8Array.fromBase64(text)) };
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

/** Cuts a stream of bytes into records; bounded by one record's length. */
export class RecordReader {
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  /** Before so many bytes are there nothing can come of looking. */
  #wanted = 1;

  push(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#bytes += bytes.length;
  }

  /** @returns null until a whole record is there. */
  next(): { readonly type: number; readonly payload: Uint8Array } | "malformed" | null {
    if (this.#bytes < this.#wanted) return null;
    const buffered = this.#join();
    const type = buffered[0] ?? 0;
    const known: readonly number[] = Object.values(recordType);
    if (!known.includes(type) || (buffered.length > 1 && buffered[1] !== 3)) return "malformed";
    this.#wanted = headerBytes;
    if (buffered.length < headerBytes) return null;
    const length = ((buffered[2] ?? 0) << 16) | ((buffered[3] ?? 0) << 8) | (buffered[4] ?? 0);
    if (length > hostLimits.heldBytes) return "malformed";
    this.#wanted = headerBytes + length;
    if (buffered.length < this.#wanted) return null;
    this.#wanted = 1;
    const rest = buffered.subarray(headerBytes + length);
    this.#chunks = rest.length > 0 ? [rest] : [];
    this.#bytes = rest.length;
    return { type, payload: buffered.subarray(headerBytes, headerBytes + length) };
  }

  #join(): Uint8Array {
    const [only] = this.#chunks;
    if (this.#chunks.length === 1 && only !== undefined) return only;
    const joined = new Uint8Array(this.#bytes);
    let offset = 0;
    for (const chunk of this.#chunks) {
      joined.set(chunk, offset);
      offset += chunk.length;
    }
    this.#chunks = [joined];
    return joined;
  }
}
