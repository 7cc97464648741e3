import { describe, expect, test } from "bun:test";
import { Socks5Server, socks5Reply } from "./socks5.ts";

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));
const greeting = hex("05 01 00");

describe("SOCKS5 (RFC 1928)", () => {
  test("§3 §4: method, then CONNECT to an IPv4 address, byte by byte", () => {
    const server = new Socks5Server();
    expect(server.receive(hex("05"))).toEqual({ kind: "more", answer: hex("") });
    expect(server.receive(hex("0100"))).toEqual({ kind: "more", answer: hex("0500") });
    const request = hex("05 01 00 01 0a000001 1f90");
    for (const byte of request.subarray(0, -1)) {
      expect(server.receive(Uint8Array.of(byte)).kind).toBe("more");
    }
    const step = server.receive(request.subarray(-1));
    if (step.kind !== "connect") throw new Error(step.kind);
    expect(String("ip" in step.destination && step.destination.ip.text)).toBe("10.0.0.1");
    expect(step.destination.port).toBe(8080);
    expect(step.rest.length).toBe(0);
  });

  test("§5: a name, an IPv6 address, a literal address given as a name", () => {
    const destinations = [
      "05 01 00 03 0b 6578616d706c652e636f6d 0050",
      "05 01 00 04 20010db8000000000000000000000001 0050",
      "05 01 00 03 08 31302e302e302e32 0050",
    ].map((request) => {
      const server = new Socks5Server();
      server.receive(greeting);
      const step = server.receive(hex(request));
      if (step.kind !== "connect") throw new Error(step.kind);
      return "ip" in step.destination ? step.destination.ip.text : step.destination.host;
    });
    expect(destinations).toEqual(["example.com", "2001:db8::1", "10.0.0.2"]);
  });

  test("a client that does not wait gets both answers, and its data is kept", () => {
    const step = new Socks5Server().receive(hex("050100 05010001 0a000001 0050 aabb"));
    if (step.kind !== "connect") throw new Error(step.kind);
    expect([step.answer, step.rest]).toEqual([hex("0500"), hex("aabb")]);
  });

  test("refusals say why in SOCKS5's words", () => {
    const refuse = (...chunks: string[]) => {
      const server = new Socks5Server();
      let step = server.receive(hex(chunks[0] ?? ""));
      for (const chunk of chunks.slice(1)) step = server.receive(hex(chunk));
      return step.kind === "refuse" ? Buffer.from(step.answer).toString("hex") : step.kind;
    };
    const reply = (code: number) => Buffer.from(Socks5Server.reply(code as 0)).toString("hex");
    expect(refuse("0401")).toBe("");
    expect(refuse("05 01 02")).toBe("05ff");
    expect(refuse("050100", "05 02 00 01 0a000001 0050")).toBe(reply(socks5Reply.commandNotSupported));
    expect(refuse("050100", "05 01 00 09 0a000001 0050")).toBe(reply(socks5Reply.addressTypeNotSupported));
    expect(refuse("050100", "05 01 00 03 03 612f62 0050")).toBe(reply(socks5Reply.addressTypeNotSupported));
  });
});
