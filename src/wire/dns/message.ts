/**
 * DNS messages as far as a proxy looks into them: the question and EDNS of a query, and answers of addresses (RFC 1035 §4, RFC 6891).
 * Whatever is asked that is not answered here is passed on as the bytes it is. Strangers send these bytes.
 */
import { IpAddress } from "../../base/ip.ts";

export const dnsType = { a: 1, cname: 5, aaaa: 28, opt: 41 } as const;
export const dnsClassIn = 1;
export const dnsCode = {
  noError: 0,
  formatError: 1,
  serverFailure: 2,
  nameError: 3,
  notImplemented: 4,
  refused: 5,
} as const;

/** The fixed head (RFC 1035 §4.1.1). */
export const dnsHeadBytes = 12;
/** RFC 1035 §4.2.1; and what EDNS is held to: it passes every path unfragmented (DNS Flag Day 2020). */
const plainUdpBytes = 512;
const maxUdpBytes = 1232;
export const maxTcpBytes = 65_535;

export interface Edns {
  /** What the other end takes over UDP. */
  readonly udpBytes: number;
  /** DNSSEC OK: copied into the answer (RFC 3225 §3). */
  readonly dnssecOk: boolean;
}

export interface DnsQuery {
  readonly id: number;
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
  /**
   * Lower case, without the last dot; "" is the root. Null for a name with a byte that no host's name has (a dot within a label,
   * blanks, what is not ASCII): it is no name of ours, whatever it would look like written out.
   */
  readonly name: string | null;
  readonly type: number;
  readonly class: number;
  /** The question as it came, for the answer: its case is the client's proof (draft-vixie-dnsext-dns0x20). */
  readonly question: Uint8Array;
  readonly edns: Edns | null;
}

/** What cannot be taken is answered with a code, where it has an id. */
export interface BadQuery {
  readonly id: number;
  readonly code: number;
}

/** @returns null for what is no query at all: it is not answered, or two servers could answer each other for ever. */
export function readQuery(bytes: Uint8Array): DnsQuery | BadQuery | null {
  if (bytes.length < dnsHeadBytes) return null;
  const view = viewOf(bytes);
  const id = view.getUint16(0);
  const flags = view.getUint16(2);
  if ((flags & 0x8000) !== 0) return null;
  if (((flags >> 11) & 0xf) !== 0) return { id, code: dnsCode.notImplemented };
  // RFC 9619: exactly one question.
  if (view.getUint16(4) !== 1) return { id, code: dnsCode.formatError };
  const name = readQuestionName(bytes, dnsHeadBytes);
  if (name === null || name.end + 4 > bytes.length) return { id, code: dnsCode.formatError };
  const end = name.end + 4;
  const records = view.getUint16(6) + view.getUint16(8) + view.getUint16(10);
  const edns = readEdns(bytes, view, end, records);
  if (edns === "malformed") return { id, code: dnsCode.formatError };
  return {
    id,
    recursionDesired: (flags & 0x0100) !== 0,
    checkingDisabled: (flags & 0x0010) !== 0,
    name: name.text,
    type: view.getUint16(name.end),
    class: view.getUint16(name.end + 2),
    question: bytes.slice(dnsHeadBytes, end),
    edns,
  };
}

interface ReadName {
  readonly text: string | null;
  /** Behind it. */
  readonly end: number;
}

/** Labels only: there is nothing before a question that a pointer could point at. */
function readQuestionName(bytes: Uint8Array, start: number): ReadName | null {
  const labels: string[] = [];
  let isPlain = true;
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined || length > 63) return null;
    at++;
    if (length === 0) break;
    // RFC 1035 §2.3.4: 255 bytes, the root's included.
    if (at + length - start + 1 > 255 || at + length > bytes.length) return null;
    let label = "";
    for (const byte of bytes.subarray(at, at + length)) {
      if (byte <= 0x20 || byte >= 0x7f || byte === 0x2e) isPlain = false;
      label += String.fromCharCode(byte);
    }
    labels.push(label.toLowerCase());
    at += length;
  }
  return { text: isPlain ? labels.join(".") : null, end: at };
}

/** Of the records behind the question; the others are looked past. */
function readEdns(
  bytes: Uint8Array,
  view: DataView,
  start: number,
  records: number,
): Edns | null | "malformed" {
  let at = start;
  let edns: Edns | null = null;
  for (let record = 0; record < records; record++) {
    const end = skipName(bytes, at);
    if (end === null || end + 10 > bytes.length) return "malformed";
    const type = view.getUint16(end);
    if (type === dnsType.opt) {
      // RFC 6891 §6.1.1: one, and of the root.
      if (edns !== null || end !== at + 1) return "malformed";
      edns = {
        udpBytes: Math.min(maxUdpBytes, Math.max(plainUdpBytes, view.getUint16(end + 2))),
        dnssecOk: (view.getUint16(end + 6) & 0x8000) !== 0,
      };
    }
    at = end + 10 + view.getUint16(end + 8);
    if (at > bytes.length) return "malformed";
  }
  return edns;
}

/** Of a record's owner, which may end in a pointer. It is not followed, so it cannot lead in a circle. */
function skipName(bytes: Uint8Array, start: number): number | null {
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return null;
    if (length >= 0xc0) return at + 2 <= bytes.length ? at + 2 : null;
    if (length > 63) return null;
    at += 1 + length;
    if (length === 0) return at;
  }
}

export interface DnsAnswer {
  readonly code: number;
  /** Null: the addresses are of the name that was asked. */
  readonly canonicalName: string | null;
  /** Of the family that was asked for. */
  readonly addresses: readonly IpAddress[];
  readonly ttlSeconds: number;
}

/** @param maxBytes longer ones are cut to the question, with TC set: the client asks again over TCP (RFC 2181 §9). */
export function writeAnswer(query: DnsQuery, answer: DnsAnswer, maxBytes: number): Uint8Array {
  const records: Uint8Array[] = [];
  const asked = Uint8Array.of(0xc0, dnsHeadBytes);
  const canonical = answer.canonicalName === null ? null : encodeName(answer.canonicalName);
  if (canonical !== null) records.push(record(asked, dnsType.cname, answer.ttlSeconds, canonical));
  for (const ip of answer.addresses)
    records.push(
      record(canonical ?? asked, ip.isIpv4 ? dnsType.a : dnsType.aaaa, answer.ttlSeconds, ip.bytes),
    );
  const option = query.edns === null ? [] : [encodeEdns(query.edns)];
  const length = (parts: readonly Uint8Array[]): number =>
    parts.reduce((sum, part) => sum + part.length, dnsHeadBytes + query.question.length);
  const isWhole = length([...records, ...option]) <= maxBytes;
  const kept = isWhole ? records : [];
  // QR, AA, TC, RD as it was, RA.
  const flags =
    0x8480 |
    (isWhole ? 0 : 0x0200) |
    (query.recursionDesired ? 0x0100 : 0) |
    (query.checkingDisabled ? 0x0010 : 0) |
    answer.code;
  const head = encodeHead(query.id, flags, [1, kept.length, 0, option.length]);
  return joinBytes([head, query.question, ...kept, ...option]);
}

/** A code alone. The question goes with it where it could be read. */
export function writeFailure(query: DnsQuery | BadQuery, code: number): Uint8Array {
  if (!("question" in query)) return encodeHead(query.id, 0x8080 | code, [0, 0, 0, 0]);
  const option = query.edns === null ? [] : [encodeEdns(query.edns)];
  const flags = 0x8080 | (query.recursionDesired ? 0x0100 : 0) | code;
  return joinBytes([encodeHead(query.id, flags, [1, 0, 0, option.length]), query.question, ...option]);
}

/** What a client takes over UDP. */
export function udpLimit({ edns }: DnsQuery): number {
  return edns?.udpBytes ?? plainUdpBytes;
}

/** A query of our own for a name of the outside. @returns null for what cannot be a name. */
export function writeQuery(id: number, name: string, type: number): Uint8Array | null {
  const encoded = encodeName(name);
  if (encoded === null) return null;
  const question = joinBytes([encoded, uint16s(type, dnsClassIn)]);
  const option = encodeEdns({ udpBytes: maxUdpBytes, dnssecOk: false });
  return joinBytes([encodeHead(id, 0x0100, [1, 0, 0, 1]), question, option]);
}

/** Whether it answers that question: the same id and, byte for byte but for case, the same question. */
export function isAnswerTo(answer: Uint8Array, id: number, question: Uint8Array): boolean {
  if (answer.length < dnsHeadBytes + question.length) return false;
  const view = viewOf(answer);
  if (view.getUint16(0) !== id || (view.getUint16(2) & 0x8000) === 0 || view.getUint16(4) !== 1) return false;
  return question.every((byte, index) => lower(byte) === lower(answer[dnsHeadBytes + index] ?? 0));
}

export function codeOf(answer: Uint8Array): number {
  return (answer[3] ?? 0) & 0xf;
}

export function isTruncated(answer: Uint8Array): boolean {
  return ((answer[2] ?? 0) & 0x02) !== 0;
}

/** Under another id. */
export function withId(message: Uint8Array, id: number): Uint8Array {
  const copy = message.slice();
  viewOf(copy).setUint16(0, id);
  return copy;
}

/**
 * The addresses in an answer, whoever's they are: a chain of CNAMEs is followed by whoever was asked. @param question how long it is.
 *
 * @returns null for what cannot be read.
 */
export function readAddresses(answer: Uint8Array, question: number): readonly IpAddress[] | null {
  const view = viewOf(answer);
  const found: IpAddress[] = [];
  let at = dnsHeadBytes + question;
  for (let record = view.getUint16(6); record > 0; record--) {
    const end = skipName(answer, at);
    if (end === null || end + 10 > answer.length) return null;
    const type = view.getUint16(end);
    const length = view.getUint16(end + 8);
    at = end + 10 + length;
    if (at > answer.length) return null;
    const isAddress = (type === dnsType.a && length === 4) || (type === dnsType.aaaa && length === 16);
    const ip = isAddress ? IpAddress.fromBytes(answer.slice(end + 10, at)) : null;
    if (ip !== null) found.push(ip);
  }
  return found;
}

function record(owner: Uint8Array, type: number, ttlSeconds: number, data: Uint8Array): Uint8Array {
  const head = new Uint8Array(10);
  const view = viewOf(head);
  view.setUint16(0, type);
  view.setUint16(2, dnsClassIn);
  view.setUint32(4, ttlSeconds);
  view.setUint16(8, data.length);
  return joinBytes([owner, head, data]);
}

/** @returns null for what is too long, or has an empty label. */
export function encodeName(name: string): Uint8Array | null {
  const labels = name.replace(/\.$/, "").split(".");
  if (name.length > 253 || labels.some((label) => label.length === 0 || label.length > 63)) return null;
  const bytes: number[] = [];
  for (const label of labels) {
    bytes.push(label.length);
    for (const char of label) {
      const code = char.charCodeAt(0);
      if (code <= 0x20 || code >= 0x7f) return null;
      bytes.push(code);
    }
  }
  return Uint8Array.from([...bytes, 0]);
}

function encodeEdns({ dnssecOk }: Edns): Uint8Array {
  return joinBytes([Uint8Array.of(0), uint16s(dnsType.opt, maxUdpBytes, 0, dnssecOk ? 0x8000 : 0, 0)]);
}

function encodeHead(id: number, flags: number, counts: readonly number[]): Uint8Array {
  return uint16s(id, flags, ...counts);
}

function uint16s(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 2);
  const view = viewOf(bytes);
  for (const [index, value] of values.entries()) view.setUint16(index * 2, value);
  return bytes;
}

function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}
