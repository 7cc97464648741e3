/** Replies of Redis; and the PROXY header that we write, read by another reader of the same specification. */
import { MeshError } from "../../../src/base/errors.ts";
import { IpAddress } from "../../../src/base/ip.ts";
import { encodeProxyHeader } from "../../../src/wire/proxy_protocol.ts";
import { encodeCommand, RespReader } from "../../../src/wire/resp.ts";
import { bytesOf, holds, type Look, latin1, readCut, same, type Target } from "../target.ts";

function checkReplies(bytes: Uint8Array, look: Look): void {
  readCut(bytes, look, (parts) => {
    const reader = new RespReader();
    const replies: unknown[] = [];
    try {
      for (const part of parts) replies.push(...reader.receive(part));
    } catch (error) {
      if (error instanceof MeshError && error.code === "message_malformed") return "malformed";
      throw error;
    }
    return replies;
  });
  // A command is an array of bulk strings, which is a reply as well.
  const words = latin1(bytes).split(" ").slice(0, 8);
  const [reply] = new RespReader().receive(encodeCommand(words));
  same(
    reply,
    { kind: "list", items: words.map((text) => ({ kind: "text", text })) },
    "a command, read again",
  );
}

/** haproxy's proxy-protocol.txt §2.2, read strictly. */
function readProxyHeader(header: Uint8Array) {
  const view = new DataView(header.buffer, header.byteOffset);
  same(latin1(header.subarray(0, 12)), "\r\n\r\n\0\r\nQUIT\n", "the signature");
  same(header[12], 0x21, "version and command");
  const isIpv4 = header[13] === 0x11;
  holds(isIpv4 || header[13] === 0x21, "TCP over one of both");
  same(view.getUint16(14), header.length - 16, "the length");
  const width = isIpv4 ? 4 : 16;
  const text = (from: number) => IpAddress.fromBytes(header.subarray(from, from + width))?.text;
  const tlvs: (readonly [type: number, value: string])[] = [];
  for (let at = 16 + 2 * width + 4; at < header.length; ) {
    holds(at + 3 <= header.length, "a TLV has a head");
    const end = at + 3 + view.getUint16(at + 1);
    holds(end <= header.length, "a TLV is within the header");
    tlvs.push([header[at] ?? 0, new TextDecoder().decode(header.subarray(at + 3, end))]);
    at = end;
  }
  return {
    source: [text(16), view.getUint16(16 + 2 * width)],
    destination: [text(16 + width), view.getUint16(16 + 2 * width + 2)],
    tlvs,
  };
}

function checkHeader(bytes: Uint8Array): void {
  const address = (from: number) => {
    const width = ((bytes[from] ?? 0) & 1) === 0 ? 4 : 16;
    const own = new Uint8Array(width);
    own.set(bytes.subarray(from + 1, from + 1 + width));
    return IpAddress.fromBytes(own) ?? IpAddress.loopback(true);
  };
  const source = { ip: address(0), port: ((bytes[17] ?? 0) << 8) | (bytes[18] ?? 0) };
  const destination = { ip: address(19), port: ((bytes[36] ?? 0) << 8) | (bytes[37] ?? 0) };
  const identity = bytes.length > 38 ? new TextDecoder().decode(bytes.subarray(38)) : null;
  const read = readProxyHeader(encodeProxyHeader(source, destination, identity));
  same(read.source, [source.ip.text, source.port], "the source");
  same(read.destination, [destination.ip.text, destination.port], "the destination");
  same(read.tlvs, identity === null ? [] : [[0xd0, identity]], "the identity");
}

function run(input: Uint8Array, look: Look): void {
  const bytes = input.slice(1);
  if ((input[0] ?? 0) % 2 === 0) checkReplies(bytes, look);
  else checkHeader(bytes);
}

export const target: Target = {
  maxBytes: 1024,
  seeds: () => [
    ...[
      "+OK\r\n",
      ":12\r\n-ERR no\r\n",
      "$3\r\nabc\r\n$-1\r\n",
      "*2\r\n:1\r\n*1\r\n$0\r\n\r\n",
      "*-1\r\n",
      "*0\r\n",
    ].map((text) => Uint8Array.of(0, ...bytesOf(text))),
    Uint8Array.of(1, ...new Uint8Array(38), ...bytesOf("spiffe://a/ns/b/sa/c")),
    Uint8Array.of(1, 1, ...new Uint8Array(20).fill(9)),
  ],
  dictionary: ["\r\n", "$-1\r\n", "*1\r\n", ":0\r\n", "$0\r\n\r\n", "-", "+"],
  run,
};
