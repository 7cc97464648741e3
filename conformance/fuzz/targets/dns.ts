/** Queries to the DNS proxy, answers of the servers behind it, and both over TCP; and the host's `resolv.conf`. */

import { IpAddress } from "../../../src/base/ip.ts";
import { ourResolvConf, readResolvConf, readSaved, writeSaved } from "../../../src/dns/resolv_conf.ts";
import { MessageReader } from "../../../src/dns/tcp_exchange.ts";
import {
  codeOf,
  dnsCode,
  dnsHeadBytes,
  dnsType,
  encodeName,
  isAnswerTo,
  isTruncated,
  readAddresses,
  readQuery,
  udpLimit,
  withId,
  writeAnswer,
  writeFailure,
  writeQuery,
} from "../../../src/wire/dns/message.ts";
import { bytesOf, holds, type Look, latin1, readCut, same, type Target } from "../target.ts";

const ipv4 = IpAddress.parse("10.0.0.1") ?? IpAddress.loopback(true);
const ipv6 = IpAddress.parse("2001:db8::1") ?? IpAddress.loopback(false);

/** What we answer is an answer to what was asked, in the client's own spelling, and no longer than it takes. */
function checkQuery(bytes: Uint8Array, look: Look): void {
  const query = look.turn(() => readQuery(bytes));
  if (query === null) return;
  const failure = writeFailure(query, dnsCode.serverFailure);
  holds(
    codeOf(failure) === dnsCode.serverFailure && (failure[2] ?? 0) >= 0x80,
    "a failure is an answer with its code",
  );
  holds(readQuery(failure) === null, "an answer is never taken for a query");
  if (!("question" in query)) return;
  const { id, question, name, type } = query;
  holds(isAnswerTo(failure, id, question), "a failure answers the question");
  if (name !== null && name !== "") {
    holds(
      name === name.toLowerCase() && name.length <= 253,
      "a name is in lower case and no longer than DNS has it",
    );
    const own = writeQuery(id, name, type);
    holds(own !== null, "a name that was read can be asked for");
    const again = readQuery(own);
    same(again !== null && "name" in again ? again.name : null, name, "a name, asked for again");
  }
  for (const addresses of [[], [ipv4], [ipv6], Array.from({ length: 60 }, () => ipv4)])
    for (const canonicalName of [null, "a.b"]) {
      const limit = udpLimit(query);
      const answer = writeAnswer(
        query,
        { code: dnsCode.noError, canonicalName, addresses, ttlSeconds: 30 },
        limit,
      );
      holds(
        answer.length <= Math.max(limit, dnsHeadBytes + question.length + 11),
        "an answer is within what the client takes",
      );
      holds(isAnswerTo(answer, id, question), "an answer answers the question");
      same(
        latin1(answer.subarray(dnsHeadBytes, dnsHeadBytes + question.length)),
        latin1(question),
        "the question, as it came",
      );
      const read = readAddresses(answer, question.length);
      same(
        read?.map(({ text }) => text),
        isTruncated(answer) ? [] : addresses.map(({ text }) => text),
        "the addresses",
      );
    }
}

function checkAnswer(bytes: Uint8Array, look: Look): void {
  const asked = writeQuery(7, "a.example", dnsType.a) ?? new Uint8Array(0);
  const query = readQuery(asked);
  if (query === null || !("question" in query)) return;
  const answer = bytes.length < 2 ? bytes : withId(bytes, 7);
  if (!isAnswerTo(answer, 7, query.question)) return;
  const found = look.turn(() => readAddresses(answer, query.question.length));
  holds(found === null || found.length * 4 <= answer.length, "no more addresses than there are bytes for");
}

function checkStream(bytes: Uint8Array, look: Look): void {
  readCut(bytes, look, (parts) => {
    const reader = new MessageReader(600);
    const found: string[] = [];
    for (const part of parts) {
      const messages = reader.receive(part);
      if (messages === null) return "too long";
      found.push(...messages.map(latin1));
    }
    return found;
  });
}

function checkResolvConf(bytes: Uint8Array, look: Look): void {
  const text = new TextDecoder().decode(bytes);
  const read = look.turn(() => readResolvConf(text));
  // Two dots at an end are no name.
  if (read.search.some((name) => name.endsWith("."))) return;
  const again = readResolvConf(ourResolvConf(ipv4, read, "a"));
  same([again.search, again.options], [read.search, read.options], "what a host searches, in our file");
  same(
    again.servers.map(({ ip }) => ip.text),
    [ipv4.text],
    "our file names our server alone",
  );
  for (const saved of [
    { text, link: null },
    { text, link: "/run/x" },
  ])
    if (!text.startsWith("# fairlead:"))
      same(readSaved(writeSaved(saved)), saved, "what was there, kept and read again");
}

function run(input: Uint8Array, look: Look): void {
  const bytes = input.slice(1);
  const check = [checkQuery, checkAnswer, checkStream, checkResolvConf][(input[0] ?? 0) % 4];
  check?.(bytes, look);
}

function seeds(): readonly Uint8Array[] {
  const asked = writeQuery(7, "A.example", dnsType.a) ?? new Uint8Array(0);
  const query = readQuery(asked);
  if (query === null || !("question" in query)) return [];
  const answer = writeAnswer(
    query,
    { code: 0, canonicalName: "b.example", addresses: [ipv4, ipv4], ttlSeconds: 5 },
    512,
  );
  const root = Uint8Array.of(0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1);
  return [
    Uint8Array.of(0, ...asked),
    Uint8Array.of(0, ...root),
    Uint8Array.of(0, ...answer),
    Uint8Array.of(1, ...answer),
    Uint8Array.of(2, 0, asked.length, ...asked, 0, 2, 1, 2),
    Uint8Array.of(3, ...bytesOf("nameserver 10.0.0.2\nsearch a.b C\noptions ndots:2\n; x\ndomain d.\n")),
  ];
}

export const target: Target = {
  maxBytes: 1024,
  seeds,
  dictionary: [
    Uint8Array.of(0xc0, 12),
    Uint8Array.of(0, 41, 4, 0xd0),
    encodeName("a.example") ?? "",
    "nameserver ",
    "options ",
    "search ",
    "::1",
  ],
  run,
};
