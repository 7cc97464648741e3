import { describe, expect, test } from "bun:test";
import { servingLimits } from "../../base/limits/serving.ts";
import { FakeSocket } from "../../host/testing/fake_socket.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { type Detected, detect, Sniffer } from "./detect.ts";

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** A ClientHello record that says it has so many bytes, and has as many as are asked for. */
function hello(bytes: number): Uint8Array {
  const record = new Uint8Array(bytes);
  record.set([22, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xff]);
  return record;
}

describe("the first bytes of a connection", () => {
  test.each([
    ["GET / HTTP/1.1", "http1"],
    ["M-SEARCH * HTTP/1.1", "http1"],
    ["GE", null],
    ["GET ", null],
    ["get / HTTP/1.1", "none"],
    ["GET 7", "none"],
    ["P", null],
    [preface.slice(0, -1), null],
    [preface, "http2"],
    ["PRI * HTTP/2.1", "http1"],
    ["\x16", null],
    ["\x16\x03", "tls"],
    ["\x16\x02", "none"],
    ["", null],
  ] as const)("%j is %s", (text, detected) => {
    expect(detect(ascii(text))).toBe(detected);
  });
});

function sniffed(wantsName: boolean) {
  const clock = new FakeClock(0);
  const socket = new FakeSocket();
  const found: Detected[] = [];
  const sniffer = new Sniffer(
    clock,
    socket,
    { timeoutMs: 5_000, wantsName },
    (detected) => void found.push(detected),
  );
  sniffer.start();
  return { clock, socket, found, sniffer };
}

describe("a connection is kept until its protocol is known", () => {
  test("as far as there is room for what may still become one", () => {
    const { detectBytes } = servingLimits;
    // A method of capitals may go on; no method is so long.
    const { socket, found, sniffer } = sniffed(false);
    for (let sent = 0; sent < 32; sent++) socket.handler?.onData(ascii("A"));
    expect(found).toEqual([]);
    socket.handler?.onData(ascii("A"));
    expect(found).toEqual(["none"]);
    const told: number[] = [];
    sniffer.handOver({
      onData: (bytes) => void told.push(bytes.length),
      onDrain() {},
      onEnd() {},
      onClose() {},
    });
    expect(told).toEqual([33]);
    // What comes after the bytes that are looked at decides nothing.
    expect(detect(ascii(`${"A".repeat(detectBytes)} / HTTP/1.1`))).toBe("none");
  });

  test("a server name is waited for while the hello may be whole, and no longer", () => {
    const { maxHelloBytes } = servingLimits;
    for (const [bytes, detected] of [
      [maxHelloBytes - 1, []],
      [maxHelloBytes, ["tls"]],
    ] as const) {
      const { socket, found, sniffer } = sniffed(true);
      socket.handler?.onData(hello(bytes));
      expect([found, sniffer.serverName]).toEqual([[...detected], ""]);
    }
    const { socket, found } = sniffed(false);
    socket.handler?.onData(hello(9));
    expect(found).toEqual(["tls"]);
  });

  test("and for a time, as a server may be the one that speaks first", async () => {
    const { clock, socket, found } = sniffed(false);
    await clock.advance(4_999);
    expect([found, socket.paused]).toEqual([[], false]);
    await clock.advance(1);
    expect([found, socket.paused]).toEqual([["none"], true]);
    socket.handler?.onData(ascii("GET / "));
    expect(found).toEqual(["none"]);
  });
});
