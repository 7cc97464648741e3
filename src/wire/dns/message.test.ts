/** RFC 1035, 2181, 6891; and strangers' bytes. `DNS_SEED=n` repeats a run. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { IpAddress } from "../../base/ip.ts";
import {
  codeOf,
  type DnsQuery,
  dnsCode,
  dnsType,
  isAnswerTo,
  isTruncated,
  readAddresses,
  readQuery,
  udpLimit,
  withId,
  writeAnswer,
  writeFailure,
  writeQuery,
} from "./message.ts";

const seed = Number(process.env.DNS_SEED ?? Date.now() % 2 ** 32);

function ask(name: string, type: number = dnsType.a, id = 7): Uint8Array {
  const bytes = writeQuery(id, name, type);
  if (bytes === null) throw new Error(`${name} is no name`);
  return bytes;
}

function good(bytes: Uint8Array): DnsQuery {
  const read = readQuery(bytes);
  if (read === null || !("question" in read)) throw new Error("no query");
  return read;
}

function changed(bytes: Uint8Array, at: number, ...values: number[]): Uint8Array {
  const copy = bytes.slice();
  copy.set(values, at);
  return copy;
}

const ip = (text: string): IpAddress => IpAddress.parse(text) ?? IpAddress.loopback(true);
const answer = (...addresses: string[]) => ({
  code: dnsCode.noError,
  canonicalName: null,
  addresses: addresses.map(ip),
  ttlSeconds: 30,
});

describe("a query", () => {
  test("is read: its name in lower case, its question as it came", () => {
    const query = good(ask("BackEnd.Shop", dnsType.aaaa));
    expect(query).toMatchObject({ id: 7, name: "backend.shop", type: 28, class: 1, recursionDesired: true });
    expect(new TextDecoder().decode(query.question.subarray(0, 9))).toBe("\x07BackEnd\x04");
    expect(query.edns).toEqual({ udpBytes: 1232, dnssecOk: false });
  });

  test("without EDNS has 512 bytes (RFC 1035 §4.2.1), with it what it says, from 512 to 1232", () => {
    const bytes = ask("a.b");
    expect(udpLimit(good(changed(bytes.slice(0, -11), 11, 0)))).toBe(512);
    const sized = (size: number) => udpLimit(good(changed(bytes, bytes.length - 8, size >> 8, size & 0xff)));
    expect([sized(0), sized(511), sized(512), sized(1231), sized(1232), sized(1233), sized(65_535)]).toEqual([
      ...[512, 512, 512, 1231, 1232, 1232, 1232],
    ]);
  });

  const bad: readonly (readonly [name: string, bytes: Uint8Array, outcome: number | null])[] = [
    ["shorter than a head", ask("a.b").slice(0, 11), null],
    ["an answer: two servers would answer each other for ever", changed(ask("a.b"), 2, 0x81), null],
    ["another operation (RFC 1035 §4.1.1)", changed(ask("a.b"), 2, 0x29), dnsCode.notImplemented],
    ["no question (RFC 9619)", changed(ask("a.b"), 5, 0), dnsCode.formatError],
    ["two questions (RFC 9619)", changed(ask("a.b"), 5, 2), dnsCode.formatError],
    ["a label of 64 bytes (RFC 1035 §2.3.4)", changed(ask("a.b"), 12, 64), dnsCode.formatError],
    ["a pointer in the question, at itself", changed(ask("a.b"), 12, 0xc0, 12), dnsCode.formatError],
    ["a name that never ends", ask("a.b").slice(0, 15), dnsCode.formatError],
    ["a question without its type", ask("a.b").slice(0, 18), dnsCode.formatError],
    ["more records than bytes", changed(ask("a.b"), 11, 9), dnsCode.formatError],
    ["a record longer than the message", changed(ask("a.b"), ask("a.b").length - 1, 9), dnsCode.formatError],
  ];
  for (const [name, bytes, outcome] of bad)
    test(`${name} is refused`, () => {
      const read = readQuery(bytes);
      expect(read === null ? null : "code" in read ? read.code : "taken").toBe(outcome);
    });

  test("of 255 bytes is the longest name (RFC 1035 §2.3.4)", () => {
    const label = "a".repeat(63);
    const longest = `${label}.${label}.${label}.${"a".repeat(61)}`;
    expect(good(ask(longest)).name).toBe(longest);
    const longer = `${label}.${label}.${label}.${"a".repeat(62)}`;
    expect(writeQuery(1, longer, 1)).toBeNull();
    const bytes = ask(longest);
    const at = 12 + 64 * 3;
    const grown = Uint8Array.from([
      ...bytes.slice(0, at),
      62,
      ...bytes.slice(at + 1, at + 62),
      97,
      ...bytes.slice(at + 62),
    ]);
    expect(readQuery(grown)).toMatchObject({ code: dnsCode.formatError });
  });

  test("a byte that no host's name has makes it no name of ours, whatever it looks like", () => {
    for (const byte of [0, 0x20, 0x2e, 0x7f, 0x80, 0xff])
      expect(good(changed(ask("a.b"), 13, byte)).name).toBeNull();
    for (const char of ["_", "-", "*", "0", "~"])
      expect(good(changed(ask("a.b"), 13, char.charCodeAt(0))).name).toBe(`${char}.b`);
  });

  test("of the root has no name", () => {
    const bytes = Uint8Array.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]);
    expect(good(bytes).name).toBe("");
  });

  test("a second OPT, or one that is not the root's, is malformed (RFC 6891 §6.1.1)", () => {
    const bytes = ask("a.b");
    const opt = bytes.slice(-11);
    expect(readQuery(changed(Uint8Array.from([...bytes, ...opt]), 11, 2))).toMatchObject({
      code: dnsCode.formatError,
    });
    const named = Uint8Array.from([...bytes.slice(0, -11), 1, 97, ...opt]);
    expect(readQuery(named)).toMatchObject({ code: dnsCode.formatError });
  });
});

describe("an answer", () => {
  test("repeats the question in the client's case, and reads back", () => {
    const query = good(ask("BackEnd.Shop"));
    const bytes = writeAnswer(query, answer("10.0.0.1", "10.0.0.2"), 512);
    expect(isAnswerTo(bytes, 7, query.question)).toBe(true);
    expect(isAnswerTo(bytes, 8, query.question)).toBe(false);
    expect(isAnswerTo(bytes, 7, good(ask("backend.shops")).question)).toBe(false);
    expect(new TextDecoder().decode(bytes.subarray(13, 20))).toBe("BackEnd");
    expect(readAddresses(bytes, query.question.length)?.map(({ text }) => text)).toEqual([
      "10.0.0.1",
      "10.0.0.2",
    ]);
    // QR, AA, RD, RA; no error.
    expect([bytes[2], bytes[3]]).toEqual([0x85, 0x80]);
    // Each record lives for as long as was said.
    expect(new DataView(bytes.buffer).getUint32(12 + query.question.length + 6)).toBe(30);
    // Resolvers change the case of what they ask, against forgers; that is the same question.
    expect(isAnswerTo(bytes, 7, good(ask("bACKeND.sHOP")).question)).toBe(true);
  });

  test("says again what the query said: checking disabled, and DNSSEC understood (RFC 4035 §3.2, RFC 3225 §3)", () => {
    const bytes = ask("a.b");
    const flagsOf = (query: Uint8Array) => writeAnswer(good(query), answer("10.0.0.1"), 512);
    expect(flagsOf(bytes)[3]).toBe(0x80);
    expect(flagsOf(changed(bytes, 3, 0x10))[3]).toBe(0x90);
    expect((flagsOf(changed(bytes, 2, 0))[2] ?? 0) & 1).toBe(0);
    const edns = (query: Uint8Array) => [...flagsOf(query).slice(-4, -2)];
    expect(edns(bytes)).toEqual([0, 0]);
    expect(edns(changed(bytes, bytes.length - 4, 0x80))).toEqual([0x80, 0]);
    expect(good(changed(bytes, bytes.length - 4, 0x80)).edns?.dnssecOk).toBe(true);
  });

  test("is asked for by names of labels of 63 bytes at the most, none empty, and 253 in all", () => {
    const label = "a".repeat(63);
    expect(writeQuery(1, `${label}.b`, dnsType.a)).not.toBeNull();
    expect(writeQuery(1, `${label}a.b`, dnsType.a)).toBeNull();
    expect(writeQuery(1, "a..b", dnsType.a)).toBeNull();
    const longest = [label, label, label, "a".repeat(61)].join(".");
    expect(longest.length).toBe(253);
    expect(writeQuery(1, longest, dnsType.a)).not.toBeNull();
    expect(writeQuery(1, `${longest}a`, dnsType.a)).toBeNull();
    expect(writeQuery(1, "a b.c", dnsType.a)).toBeNull();
  });

  test("under a canonical name has it first", () => {
    const query = good(ask("backend.shop.example.com", dnsType.aaaa));
    const bytes = writeAnswer(query, { ...answer("fd00::1"), canonicalName: "backend.shop" }, 512);
    expect(bytes[7]).toBe(2);
    expect(readAddresses(bytes, query.question.length)?.map(({ text }) => text)).toEqual(["fd00::1"]);
  });

  test("that is one byte too long is cut to its question, with TC (RFC 2181 §9)", () => {
    const query = good(ask("a.b"));
    const many = answer(...Array.from({ length: 40 }, (_, index) => `10.0.0.${index}`));
    const whole = writeAnswer(query, many, 65_535);
    expect(isTruncated(writeAnswer(query, many, whole.length))).toBe(false);
    const cut = writeAnswer(query, many, whole.length - 1);
    expect([isTruncated(cut), cut[7], readAddresses(cut, query.question.length)]).toEqual([true, 0, []]);
  });

  test("of a failure has the code, and the question where there is one", () => {
    const query = good(ask("a.b"));
    expect(codeOf(writeFailure(query, dnsCode.serverFailure))).toBe(2);
    expect(isAnswerTo(writeFailure(query, 2), 7, query.question)).toBe(true);
    expect(writeFailure({ id: 9, code: 1 }, 1)).toEqual(
      Uint8Array.from([0, 9, 0x80, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]),
    );
  });

  test("under another id is otherwise the same", () => {
    const bytes = ask("a.b");
    expect(withId(withId(bytes, 0xabcd), 7)).toEqual(bytes);
  });

  test("cut anywhere gives no address that is not in it, and never throws", () => {
    const query = good(ask("a.b"));
    const bytes = writeAnswer(query, answer("10.0.0.1", "10.0.0.2"), 512);
    for (let length = 12 + query.question.length; length < bytes.length; length++) {
      const read = readAddresses(bytes.slice(0, length), query.question.length);
      expect(read === null || read.length <= 2).toBe(true);
    }
  });
});

test(`whatever bytes come, reading ends, and what is answered fits, seed ${seed}`, () => {
  const query = ask("backend.shop.svc.cluster.local");
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 600 }),
    fc
      .array(fc.tuple(fc.nat(query.length - 1), fc.nat(255)), { maxLength: 8 })
      .map((edits) => edits.reduce((all, [at, value]) => changed(all, at, value), query)),
  );
  fc.assert(
    fc.property(bytes, fc.nat(1400), (input, limit) => {
      const read = readQuery(input);
      if (read === null) return;
      const failure = writeFailure(read, 2);
      expect(failure.length).toBeLessThanOrEqual(12 + 259 + 11);
      if (!("question" in read)) return;
      const written = writeAnswer(read, answer("10.0.0.1"), limit);
      expect(written.length).toBeLessThanOrEqual(Math.max(limit, 12 + read.question.length + 11));
      expect(isAnswerTo(written, read.id, read.question)).toBe(true);
      readAddresses(input, Math.min(read.question.length, input.length - 12));
    }),
    { seed, numRuns: 5_000 },
  );
});
