/** The server name in a TLS ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), read without taking part in the handshake. */

/** `more`: the hello has not come to its end. `none`: it names no server, or is no hello. */
export type HelloName =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "more" }
  | { readonly kind: "none" };

const none: HelloName = { kind: "none" };
const more: HelloName = { kind: "more" };
const handshakeRecord = 22;
const clientHello = 1;
const serverNameExtension = 0;
const hostNameType = 0;
/** A name of DNS is no longer (RFC 1035 §3.1), and has no other characters. */
const namePattern = /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/;
const maxNameBytes = 253;

/** @param bytes from the connection's first one. */
export function helloServerName(bytes: Uint8Array): HelloName {
  const hello = handshakeBytes(bytes);
  if (hello === null) return none;
  const reader = new Reader(hello.bytes);
  const type = reader.number(1);
  const length = reader.number(3);
  if (type !== null && type !== clientHello) return none;
  if (type === null || length === null || hello.bytes.length < 4 + length)
    return hello.isBroken ? none : more;
  const body = new Reader(hello.bytes.subarray(4, 4 + length));
  // Version and random, session, suites, compressions.
  if (!body.skip(2 + 32) || !body.skipVector(1) || !body.skipVector(2) || !body.skipVector(1)) return none;
  const extensions = body.vector(2);
  return extensions === null ? none : nameIn(extensions);
}

/** The handshake's bytes out of its records. @returns null when these are no records of a handshake. */
function handshakeBytes(
  bytes: Uint8Array,
): { readonly bytes: Uint8Array; readonly isBroken: boolean } | null {
  const gathered = new Uint8Array(bytes.length);
  let length = 0;
  let isBroken = false;
  for (let at = 0; at < bytes.length && !isBroken; ) {
    if (bytes[at] !== handshakeRecord) {
      if (at === 0) return null;
      isBroken = true;
    }
    if (at + 5 > bytes.length) break;
    const recordBytes = ((bytes[at + 3] ?? 0) << 8) | (bytes[at + 4] ?? 0);
    const part = bytes.subarray(at + 5, at + 5 + recordBytes);
    if (!isBroken) {
      gathered.set(part, length);
      length += part.length;
    }
    at += 5 + recordBytes;
  }
  return { bytes: gathered.subarray(0, length), isBroken };
}

function nameIn(extensions: Reader): HelloName {
  for (;;) {
    const type = extensions.number(2);
    const data = type === null ? null : extensions.vector(2);
    if (data === null) return none;
    if (type !== serverNameExtension) continue;
    const list = data.vector(2);
    const nameType = list?.number(1) ?? null;
    const name = list?.bytes(2) ?? null;
    if (nameType !== hostNameType || name === null || name.length > maxNameBytes) return none;
    const text = String.fromCharCode(...name);
    return namePattern.test(text) ? { kind: "name", name: text.toLowerCase() } : none;
  }
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** @returns null when there are not so many bytes. */
  number(bytes: number): number | null {
    if (this.#at + bytes > this.#bytes.length) return null;
    let value = 0;
    for (let index = 0; index < bytes; index++) value = value * 256 + (this.#bytes[this.#at + index] ?? 0);
    this.#at += bytes;
    return value;
  }

  /** What a length of so many bytes says. */
  bytes(lengthBytes: number): Uint8Array | null {
    const length = this.number(lengthBytes);
    if (length === null || this.#at + length > this.#bytes.length) return null;
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  vector(lengthBytes: number): Reader | null {
    const bytes = this.bytes(lengthBytes);
    return bytes === null ? null : new Reader(bytes);
  }

  skip(bytes: number): boolean {
    this.#at += bytes;
    return this.#at <= this.#bytes.length;
  }

  skipVector(lengthBytes: number): boolean {
    return this.bytes(lengthBytes) !== null;
  }
}
