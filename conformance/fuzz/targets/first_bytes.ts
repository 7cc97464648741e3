/** The first bytes of a connection: which protocol it is, whom a TLS hello names, where a SOCKS5 client wants to go. */

import { Duplex } from "node:stream";
import { connect as tlsConnect } from "node:tls";
import { formatAddress } from "../../../src/base/ip.ts";
import { detect } from "../../../src/waypoint/serve/detect.ts";
import { Socks5Server } from "../../../src/wire/socks5.ts";
import { helloServerName } from "../../../src/wire/tls_hello.ts";
import { bytesOf, holds, type Look, latin1, readCut, same, type Target } from "../target.ts";

/** What is decided of the first bytes is not decided otherwise by those that follow. */
function checkDetection(bytes: Uint8Array, look: Look): void {
  const whole = look.turn(() => detect(bytes));
  for (const [cut = 0] of look.cuts(bytes.length)) {
    const early = detect(bytes.subarray(0, cut));
    if (early !== null) same(early, whole, `the protocol after ${cut} bytes, and of all`);
  }
}

function checkHello(bytes: Uint8Array, look: Look): void {
  const whole = look.turn(() => helloServerName(bytes));
  for (const [cut = 0] of look.cuts(bytes.length)) {
    const early = helloServerName(bytes.subarray(0, cut));
    if (early.kind !== "more") same(early, whole, `the name after ${cut} bytes, and of all`);
  }
  if (whole.kind === "name") {
    holds(whole.name === whole.name.toLowerCase() && whole.name.length <= 253, "a name is one of DNS");
    holds(latin1(bytes).toLowerCase().includes(whole.name) || bytes.length > 5, "the name is in the hello");
  }
}

function checkSocks(bytes: Uint8Array, look: Look): void {
  readCut(bytes, look, (parts) => {
    const server = new Socks5Server();
    let answered = "";
    for (const [index, part] of parts.entries()) {
      const step = server.receive(part);
      answered += latin1(step.answer);
      if (step.kind === "more") continue;
      if (step.kind === "refuse") return { kind: "refuse", answered };
      const rest = Buffer.concat([step.rest, ...parts.slice(index + 1)]);
      return { kind: "connect", answered, to: formatAddress(step.destination), rest: latin1(rest) };
    }
    return { kind: "more", answered };
  });
}

function run(input: Uint8Array, look: Look): void {
  const bytes = input.slice(1);
  switch ((input[0] ?? 0) % 3) {
    case 0:
      checkDetection(bytes, look);
      return;
    case 1:
      checkHello(bytes, look);
      return;
    default:
      checkSocks(bytes, look);
  }
}

/** A ClientHello as a TLS library writes it. */
async function helloOf(servername: string): Promise<Uint8Array> {
  return await new Promise((resolve) => {
    const socket = new Duplex({
      read: () => {},
      write: (chunk: Uint8Array, _encoding, done) => {
        resolve(new Uint8Array(chunk));
        done();
      },
    });
    const client = tlsConnect({ socket, servername, rejectUnauthorized: false });
    client.on("error", () => {});
  });
}

/** One by hand, of the smallest. */
function smallHello(name: string): Uint8Array {
  const host = bytesOf(name);
  const u16 = (value: number) => [value >> 8, value & 0xff];
  const list = [0, ...u16(host.length), ...host];
  const extension = [...u16(0), ...u16(list.length + 2), ...u16(list.length), ...list];
  const body = [
    3,
    3,
    ...new Array<number>(32).fill(7),
    0,
    ...u16(2),
    0x13,
    1,
    1,
    0,
    ...u16(extension.length),
    ...extension,
  ];
  const hello = [1, 0, ...u16(body.length), ...body];
  return Uint8Array.from([22, 3, 1, ...u16(hello.length), ...hello]);
}

async function seeds(): Promise<readonly Uint8Array[]> {
  const small = smallHello("a.shop.mesh");
  const halves = [
    ...small.subarray(0, 3),
    0,
    20,
    ...small.subarray(5, 25),
    22,
    3,
    1,
    0,
    small.length - 25,
    ...small.subarray(25),
  ];
  const real = await Promise.race([helloOf("reviews.shop.mesh"), Bun.sleep(2000).then(() => small)]);
  return [
    ...[
      "GET / HTTP/1.1\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "OPTIONS * HTTP/1.1",
      "SSH-2.0-x",
      "CONNECT a:1 HTTP/1.1",
    ].map((text) => Uint8Array.of(0, ...bytesOf(text))),
    Uint8Array.of(0, 0x16, 3, 1),
    Uint8Array.of(1, ...small),
    Uint8Array.of(1, ...halves),
    Uint8Array.of(1, ...real),
    Uint8Array.of(2, 5, 1, 0, 5, 1, 0, 1, 10, 0, 0, 1, 0, 80, 97),
    Uint8Array.of(2, 5, 2, 0, 2, 5, 1, 0, 3, 4, ...bytesOf("a.bc"), 1, 187),
    Uint8Array.of(2, 5, 1, 0, 5, 1, 0, 4, ...new Uint8Array(15), 1, 0, 80),
    Uint8Array.of(2, 5, 1, 2),
  ];
}

export const target: Target = { maxBytes: 2048, seeds, run };
