/** Bytes: they arrive whole, in order, and never faster than the reader wants them. */
import { expect, test } from "bun:test";
import type { HostFixture } from "./contract.ts";
import { bytesOf, connectPair, connectRecorders, pattern, Recorder, writeAll } from "./recorder.ts";

/** More than any host buffers for one connection. */
const manyBytes = 24 * 1024 * 1024;

export function contractSockets(fixture: () => HostFixture): void {
  test("bytes arrive as they were sent, both ways", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    client.socket.write(bytesOf("hello"));
    await fixture().until(() => server.byteCount === 5, "the server's bytes");
    server.socket.write(bytesOf("good day"));
    await fixture().until(() => client.byteCount === 8, "the client's bytes");
    expect([server.text, client.text]).toEqual(["hello", "good day"]);
    client.socket.reset();
    close();
  });

  test("megabytes arrive in order through short writes", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    const sent = pattern(manyBytes);
    await writeAll(fixture(), client, sent);
    await fixture().until(() => server.byteCount === sent.length, "all bytes");
    expect(Buffer.compare(server.bytes, sent)).toBe(0);
    client.socket.reset();
    close();
  });

  test("a chunk belongs to its handler: later ones do not change it", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    for (const text of ["first", "second", "third"]) {
      client.socket.write(bytesOf(text));
      await fixture().until(() => server.text.endsWith(text), text);
    }
    expect(server.text).toBe("firstsecondthird");
    client.socket.reset();
    close();
  });

  test("what was given to write may be changed afterwards", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    const scratch = bytesOf("scratch");
    expect(client.socket.write(scratch)).toBe(7);
    scratch.fill(0);
    await fixture().until(() => server.byteCount === 7, "the bytes");
    expect(server.text).toBe("scratch");
    client.socket.reset();
    close();
  });

  test("a reader that stops stops the writer; when it goes on, so does the writer, and nothing is lost", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    server.socket.pause();
    const sent = pattern(manyBytes);
    let offset = client.socket.write(sent);
    // Kernel buffers grow for a while; they have an end.
    for (let round = 0; round < 20; round++) {
      await fixture().pass(10);
      offset += client.socket.write(sent.subarray(offset));
    }
    expect(offset).toBeLessThan(sent.length);
    expect(server.byteCount).toBe(0);
    const drains = client.drains;
    server.socket.resume();
    await fixture().until(() => client.drains > drains, "the drain");
    await writeAll(fixture(), client, sent.subarray(offset));
    await fixture().until(() => server.byteCount === sent.length, "all bytes");
    expect(Buffer.compare(server.bytes, sent)).toBe(0);
    client.socket.reset();
    close();
  });

  test("onDrain follows a short write only", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    for (let round = 0; round < 5; round++) {
      client.socket.write(bytesOf("x"));
      client.socket.pause();
      client.socket.resume();
      await fixture().pass(5);
    }
    await fixture().until(() => server.byteCount === 5, "the bytes");
    expect(client.drains).toBe(0);
    client.socket.reset();
    close();
  });

  test("pause and resume may be repeated", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    server.socket.pause();
    server.socket.pause();
    client.socket.write(bytesOf("later"));
    await fixture().pass(30);
    expect(server.byteCount).toBe(0);
    server.socket.resume();
    server.socket.resume();
    await fixture().until(() => server.byteCount === 5, "the bytes");
    client.socket.reset();
    close();
  });

  test("bytes and the end that come before a handler wait for it, in order", async () => {
    const { client, server, close } = await connectPair(fixture());
    const sender = new Recorder(client);
    client.write(bytesOf("early"));
    client.end();
    await fixture().pass(30);
    const receiver = new Recorder(server);
    expect(receiver.order).toEqual([]);
    await fixture().until(() => receiver.ends === 1, "the end");
    expect(receiver.text).toBe("early");
    expect(receiver.order).toEqual(["data", "end"]);
    server.end();
    await fixture().until(() => sender.closes === 1 && receiver.closes === 1, "both closes");
    close();
  });

  test("before a handler nothing is read without bound", async () => {
    const { client, server, close } = await connectPair(fixture());
    const sender = new Recorder(client);
    const sent = pattern(manyBytes);
    let offset = 0;
    for (let round = 0; round < 20; round++) {
      offset += client.write(sent.subarray(offset));
      await fixture().pass(10);
    }
    expect(offset).toBeLessThan(sent.length);
    const receiver = new Recorder(server);
    await writeAll(fixture(), sender, sent.subarray(offset));
    await fixture().until(() => receiver.byteCount === sent.length, "all bytes");
    expect(Buffer.compare(receiver.bytes, sent)).toBe(0);
    client.reset();
    close();
  });

  test("a new handler gets what the old one has not had, and the only onClose", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    client.socket.write(bytesOf("one"));
    await fixture().until(() => server.byteCount === 3, "the first bytes");
    const second = new Recorder(server.socket);
    client.socket.write(bytesOf("two"));
    await fixture().until(() => second.byteCount === 3, "the second bytes");
    client.socket.reset();
    await fixture().until(() => second.closes === 1, "the close");
    expect([server.text, server.closes, second.text]).toEqual(["one", 0, "two"]);
    close();
  });

  test("both ends name the same addresses, also after the end", async () => {
    const { client, server, close } = await connectRecorders(fixture());
    const [dialled, accepted] = [client.socket, server.socket];
    client.socket.reset();
    await fixture().until(() => server.closes === 1, "the close");
    expect(dialled.local.ip.equals(accepted.remote.ip) && dialled.local.port === accepted.remote.port).toBe(
      true,
    );
    expect(dialled.remote.ip.equals(accepted.local.ip) && dialled.remote.port === accepted.local.port).toBe(
      true,
    );
    close();
  });
}
