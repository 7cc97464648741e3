/** How connections end: half, whole, and badly. */
import { expect, test } from "bun:test";
import type { HostFixture } from "./contract.ts";
import { bytesOf, connectPair, connectRecorders, pattern, Recorder, writeAll } from "./recorder.ts";

export function contractEnds(fixture: () => HostFixture): void {
  for (const who of ["client", "server"] as const) {
    test(`the ${who} ends first: the other may still write, then both close well`, async () => {
      const pair = await connectRecorders(fixture());
      const [first, second] = who === "client" ? [pair.client, pair.server] : [pair.server, pair.client];
      first.socket.write(bytesOf("question"));
      first.call((socket) => socket.end());
      await fixture().until(() => second.ends === 1, "the end");
      expect(second.text).toBe("question");
      second.socket.write(bytesOf("answer"));
      await fixture().until(() => first.byteCount === 6, "the answer");
      expect([first.closes, second.closes]).toEqual([0, 0]);
      second.socket.end();
      await fixture().until(() => first.closes === 1 && second.closes === 1, "both closes");
      expect([first.error, second.error]).toEqual([null, null]);
      expect(first.order).toEqual(["data", "end", "close"]);
      expect(second.order).toEqual(["data", "end", "close"]);
      pair.close();
    });
  }

  test("after end nothing is taken any more", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    client.socket.end();
    client.socket.end();
    expect(client.socket.write(bytesOf("x"))).toBe(0);
    await fixture().until(() => server.ends === 1, "the end");
    expect(server.byteCount).toBe(0);
    server.socket.reset();
    close();
  });

  test("an end waits for what was written before it", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    server.socket.pause();
    const sent = pattern(8 * 1024 * 1024);
    const taken = client.socket.write(sent);
    client.socket.end();
    await fixture().pass(30);
    server.socket.resume();
    await fixture().until(() => server.ends === 1, "the end");
    expect(Buffer.compare(server.bytes, sent.subarray(0, taken))).toBe(0);
    server.socket.end();
    await fixture().until(() => client.closes === 1, "the close");
    expect(client.error).toBeNull();
    close();
  });

  test("a reader that is paused when both sides have ended still gets everything", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    client.socket.end();
    await fixture().until(() => server.ends === 1, "the client's end");
    client.socket.pause();
    const sent = pattern(1024 * 1024);
    const writing = writeAll(fixture(), server, sent).then(() => server.socket.end());
    await fixture().pass(50);
    expect([client.byteCount, client.ends, client.closes]).toEqual([0, 0, 0]);
    client.socket.resume();
    await writing;
    await fixture().until(() => client.closes === 1, "the close");
    expect(Buffer.compare(client.bytes, sent)).toBe(0);
    expect([client.error, client.order]).toEqual([null, ["data", "end", "close"]]);
    close();
  });

  test("close is told once as null, later and not from inside; nothing else follows", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    client.call((socket) => {
      socket.close();
      socket.close();
      socket.end();
      socket.reset();
    });
    expect([client.closes, client.reentered]).toEqual([0, false]);
    server.socket.write(bytesOf("too late"));
    await fixture().until(() => client.closes === 1 && server.ends === 1, "the close");
    expect(client.socket.write(bytesOf("x"))).toBe(0);
    await fixture().pass(30);
    expect([client.error, client.order]).toEqual([null, ["close"]]);
    server.socket.reset();
    close();
  });

  test("close still sends what was written, even when the peer's bytes were never read", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    client.socket.pause();
    server.socket.write(pattern(64 * 1024));
    await fixture().pass(30);
    const sent = pattern(256 * 1024);
    expect(client.socket.write(sent)).toBe(sent.length);
    client.socket.close();
    await fixture().until(() => server.ends === 1, "the end");
    expect(Buffer.compare(server.bytes, sent)).toBe(0);
    server.socket.end();
    await fixture().until(() => server.closes === 1, "the close");
    expect(server.error).toBeNull();
    close();
  });

  test("last words reach a peer that has sent more than anybody reads any more", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    client.socket.pause();
    const much = pattern(8 * 1024 * 1024);
    let sent = server.socket.write(much);
    await fixture().pass(30);
    client.socket.write(bytesOf("going away"));
    client.socket.close();
    for (let round = 0; round < 10; round++) {
      sent += server.socket.write(much.subarray(sent));
      await fixture().pass(10);
    }
    await fixture().until(() => server.ends === 1, "the end");
    expect([server.text, server.closes]).toEqual(["going away", 0]);
    server.socket.reset();
    close();
  });

  test("a reset is an error at the peer, and null at the one who reset", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    client.call((socket) => socket.reset());
    expect([client.closes, client.reentered]).toEqual([0, false]);
    await fixture().until(() => client.closes === 1 && server.closes === 1, "both closes");
    expect([client.error, server.error?.code]).toEqual([null, "connection_reset"]);
    expect(server.socket.write(bytesOf("x"))).toBe(0);
    close();
  });

  test("a reset is told to a paused reader too", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    server.socket.pause();
    await fixture().pass(10);
    client.socket.reset();
    await fixture().until(() => server.closes === 1, "the close");
    expect(server.error?.code).toBe("connection_reset");
    close();
  });

  for (const isPaused of [false, true])
    test(`what a peer said before it reset, its input unread, is read first${isPaused ? ", by a paused reader too" : ""}`, async () => {
      for (let round = 0; round < 20; round++) {
        const { client, server, close } = await connectRecorders(fixture());
        server.socket.pause();
        if (isPaused) client.socket.pause();
        // More than the peer's kernel takes: the client is in the middle of its upload.
        const upload = new Uint8Array(64 * 1024);
        for (let index = 0; index < 200 && client.socket.write(upload) === upload.length; index++) {}
        server.socket.write(bytesOf("413"));
        server.socket.resetAfterSent();
        for (let index = 0; index < 5 && client.closes === 0; index++) {
          client.call((socket) => socket.write(upload));
          await fixture().pass(1);
        }
        await fixture().until(() => client.closes === 1, "the close");
        expect([client.text, client.error?.code]).toEqual(["413", "connection_reset"]);
        close();
      }
    });

  test("a reset after all was sent waits for a slow reader; the reader sees all of it, then the reset", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    client.socket.pause();
    const chunk = new Uint8Array(64 * 1024).fill(7);
    let sent = 0;
    for (let taken = chunk.length; taken === chunk.length && sent < 64 * 1024 * 1024; sent += taken)
      taken = server.socket.write(chunk);
    server.socket.resetAfterSent();
    expect(server.closes).toBe(0);
    await fixture().pass(20);
    client.socket.resume();
    await fixture().until(() => client.closes === 1 && server.closes === 1, "both closes");
    expect([client.byteCount, client.error?.code, server.error]).toEqual([sent, "connection_reset", null]);
    close();
  });

  test("a write on a connection that was reset is told as its end", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    client.socket.pause();
    server.socket.reset();
    for (let round = 0; round < 5 && client.closes === 0; round++) {
      client.call((socket) => socket.write(bytesOf("x")));
      await fixture().pass(5);
    }
    await fixture().until(() => client.closes === 1, "the close");
    expect([client.error?.code, client.reentered]).toEqual(["connection_reset", false]);
    close();
  });

  test("a connection that ends before it has a handler is told when it gets one", async () => {
    const { client, server, close } = await connectPair(fixture());
    client.reset();
    await fixture().pass(30);
    const receiver = new Recorder(server);
    expect(receiver.closes).toBe(0);
    await fixture().until(() => receiver.closes === 1, "the close");
    expect(receiver.error?.code).toBe("connection_reset");
    close();
  });
}
