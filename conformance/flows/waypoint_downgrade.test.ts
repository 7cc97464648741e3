/** Requests of HTTP/2 that would be another request, or two, once they are said in HTTP/1.1: none reaches the application. */
import { expect, test } from "bun:test";
import { answering, bytes, ok, waypointLab, webService } from "./waypoint_lab.ts";

const target = [":method", "GET", ":scheme", "http", ":authority", "web.shop", ":path", "/"];
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: web.shop\r\n\r\n";

function changed(name: string, value: string): string[] {
  const fields = [...target];
  fields[fields.indexOf(name) + 1] = value;
  return fields;
}

for (const [what, headers, content] of [
  ["a line break in a value", [...target, "x", "a\r\ntransfer-encoding: chunked"], ""],
  ["a line feed in a value", [...target, "x", `a\n\n${smuggled}`], ""],
  ["a zero byte in a value", [...target, "x", "a\0b"], ""],
  ["a control in a value", [...target, "x", "a\x01b"], ""],
  ["a line break in a name", [...target, "x: y\r\ntransfer-encoding", "chunked"], ""],
  ["a colon in a name", [...target, "transfer-encoding: chunked\r\nx", "y"], ""],
  ["a blank in a name", [...target, "x y", "z"], ""],
  ["a capital in a name", [...target, "Transfer-Encoding", "chunked"], ""],
  ["transfer-encoding", [...target, "transfer-encoding", "chunked"], `0\r\n\r\n${smuggled}`],
  ["connection", [...target, "connection", "close"], ""],
  ["upgrade", [...target, "upgrade", "h2c"], ""],
  ["te other than trailers", [...target, "te", "chunked"], ""],
  ["a length shorter than the content", [...target, "content-length", "0"], smuggled],
  ["a length longer than the content", [...target, "content-length", "99"], "abc"],
  ["two lengths", [...target, "content-length", "3", "content-length", "3"], "abc"],
  ["a length that is none", [...target, "content-length", "+3"], "abc"],
  ["a line break in the path", changed(":path", `/ HTTP/1.1\r\nHost: a\r\n\r\n${smuggled}`), ""],
  ["a blank in the path", changed(":path", "/a HTTP/1.1 /b"), ""],
  ["a path without a slash", changed(":path", "a"), ""],
  ["a fragment in the path", changed(":path", "/a#b"), ""],
  ["an encoded zero byte in the path", changed(":path", "/a%00"), ""],
  ["a line break in the method", changed(":method", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET"), ""],
  ["a blank in the method", changed(":method", "GET /x"), ""],
  ["a line break in the authority", changed(":authority", "a\r\nx: y"), ""],
  ["a user in the authority", changed(":authority", "web.shop@evil"), ""],
  ["a path in the authority", changed(":authority", "web.shop/evil"), ""],
  ["a Host that differs", [...target, "host", "evil"], ""],
  ["two Hosts", [...target, "host", "web.shop", "host", "web.shop"], ""],
  ["a pseudo-header after a field", [...target.slice(0, 6), "x", "y", ":path", "/"], ""],
  ["two paths", [...target, ":path", "/b"], ""],
  ["an unknown pseudo-header", [...target.slice(0, 8), ":host", "evil"], ""],
  ["an underscore that frames", [...target, "content_length", "9"], ""],
] as const)
  test(what, async () => {
    const { lab, served, call } = await waypointLab(
      webService("HTTP"),
      answering((head) => ok(head.slice(0, 20))),
    );
    const client = await call();
    client.socket.write(rawRequest(headers, content));
    await lab.run(1_000);
    // A request that is cut off may have begun; none is whole, and nothing is seen of the other one.
    expect(served.map((peer) => peer.text).join("")).not.toContain("smuggled");
    expect(client.text).not.toContain("GET");
  });

test("the same by hand, and nothing wrong with it, is answered", async () => {
  const { lab, call } = await waypointLab(
    webService("HTTP"),
    answering((head) => ok(head.slice(0, 20))),
  );
  const client = await call();
  client.socket.write(rawRequest([...target, "x", "y"], ""));
  await lab.until(() => client.text.includes("GET / HTTP/1.1"), "the answer");
});

/** A connection's first bytes with one request, its fields as literals: what an encoder that minds the rules would not write. */
function rawRequest(headers: readonly string[], content: string): Uint8Array {
  const block: number[] = [];
  for (let i = 0; i + 1 < headers.length; i += 2) {
    block.push(0x00);
    for (const text of [headers[i] ?? "", headers[i + 1] ?? ""]) block.push(...literal(text));
  }
  const data = content === "" ? [] : frame(0x0, 0x1, 1, [...bytes(content)]);
  return Uint8Array.from([
    ...bytes("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ...frame(0x4, 0, 0, []),
    ...frame(0x1, content === "" ? 0x5 : 0x4, 1, block),
    ...data,
  ]);
}

/** RFC 7541 §5.2, without Huffman's code. */
function literal(text: string): number[] {
  const length = text.length < 127 ? [text.length] : [127, ...integer(text.length - 127)];
  return [...length, ...bytes(text)];
}

function integer(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...integer(Math.floor(value / 128))];
}

function frame(type: number, flags: number, stream: number, payload: readonly number[]): number[] {
  const { length } = payload;
  return [length >> 16, (length >> 8) & 0xff, length & 0xff, type, flags, 0, 0, 0, stream, ...payload];
}
