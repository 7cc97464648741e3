/** Unix sockets: who may connect, who is told to have connected, and what becomes of the file. */
import { expect, test } from "bun:test";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { Socket } from "../host.ts";
import { unixSocketAddress } from "../unix_address.ts";
import type { HostFixture } from "./contract.ts";
import { bytesOf, connectPair, pattern, Recorder, writeAll } from "./recorder.ts";

export function contractUnix(fixture: () => HostFixture): void {
  const net = () => fixture().host.net;
  let paths = 0;
  const newPath = () => `${fixture().directory}/${paths++}.sock`;
  const dial = (path: string) => fixture().settled(net().connectUnix(path, 1_000));

  const connect = async (path: string): Promise<{ client: Socket; server: Socket; close: () => void }> => {
    let accepted: Socket | null = null;
    const listener = net().listenUnix(path, 0o600, (socket) => {
      accepted = socket;
    });
    const client = await dial(path);
    await fixture().until(() => accepted !== null, "the accept");
    if (accepted === null) throw new Error("accepted");
    return { client, server: accepted, close: () => listener.close() };
  };

  test("both ends know the user at the other, also after the end", async () => {
    const { client, server, close } = await connect(newPath());
    const expected = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
    expect(fixture().host.process.uid).toBe(expected.uid);
    for (const socket of [client, server]) {
      expect(net().peerCredentials(socket)).toMatchObject(expected);
      expect(net().peerCredentials(socket)?.pid).toBe(fixture().host.process.pid);
      expect([socket.local, socket.remote]).toEqual([unixSocketAddress, unixSocketAddress]);
    }
    const recorder = new Recorder(server);
    client.reset();
    await fixture().until(() => recorder.closes === 1, "the close");
    expect(net().peerCredentials(server)).toMatchObject(expected);
    close();
  });

  test("a pair of sockets is connected: bytes both ways, and each side ends by itself", async () => {
    const [near, far] = await fixture().settled(net().socketPair());
    const [first, second] = [new Recorder(near), new Recorder(far)];
    const sent = pattern(1024 * 1024);
    await writeAll(fixture(), first, sent);
    first.socket.end();
    await fixture().until(() => second.ends === 1, "the first end");
    expect(Buffer.compare(second.bytes, sent)).toBe(0);
    second.socket.write(bytesOf("answer"));
    second.socket.end();
    await fixture().until(() => first.closes === 1 && second.closes === 1, "both closes");
    expect([first.text, first.error, second.error]).toEqual(["answer", null, null]);
  });

  test("a TCP connection has no such credentials", async () => {
    const { client, server, close } = await connectPair(fixture());
    for (const socket of [client, server]) expect(net().peerCredentials(socket)).toBeNull();
    client.reset();
    server.reset();
    close();
  });

  test("megabytes pass both ways, and each side ends by itself", async () => {
    const pair = await connect(newPath());
    const [client, server] = [new Recorder(pair.client), new Recorder(pair.server)];
    const sent = pattern(2 * 1024 * 1024);
    await writeAll(fixture(), client, sent);
    client.socket.end();
    await fixture().until(() => server.ends === 1, "the client's end");
    expect(Buffer.compare(server.bytes, sent)).toBe(0);
    await writeAll(fixture(), server, sent);
    server.socket.end();
    await fixture().until(() => client.closes === 1 && server.closes === 1, "both closes");
    expect(Buffer.compare(client.bytes, sent)).toBe(0);
    expect([client.error, server.error]).toEqual([null, null]);
    pair.close();
  });

  test("what the client says at once waits for the server's handler", async () => {
    const { client, server, close } = await connect(newPath());
    client.write(bytesOf("eager"));
    await fixture().pass(30);
    const recorder = new Recorder(server);
    await fixture().until(() => recorder.byteCount === 5, "the bytes");
    expect(recorder.text).toBe("eager");
    client.reset();
    server.reset();
    close();
  });

  test("a path where somebody listens is address_in_use, and goes on being theirs", async () => {
    const path = newPath();
    const { client, server, close } = await connect(path);
    expect(() => net().listenUnix(path, 0o600, () => {})).toThrow(
      expect.objectContaining({ code: "address_in_use", blame: "local" }),
    );
    (await dial(path)).reset();
    client.reset();
    server.reset();
    close();
  });

  test("a file that is no socket is left alone", async () => {
    const path = newPath();
    const { files } = fixture().host;
    await fixture().settled(files.writeAtomic(path, bytesOf("somebody's"), 0o600));
    expect(() => net().listenUnix(path, 0o600, () => {})).toThrow(
      expect.objectContaining({ code: "address_in_use", blame: "local" }),
    );
    expect(await fixture().settled(files.readText(path))).toBe("somebody's");
    expect(await rejectionOf(dial(path))).toMatchObject({ code: "connect_refused", blame: "upstream" });
  });

  test("a closed listener takes its file along, and its path can be had again", async () => {
    const path = newPath();
    const { client, server, close } = await connect(path);
    close();
    close();
    expect(await rejectionOf(dial(path))).toMatchObject({ code: "connect_unreachable", blame: "upstream" });
    const recorder = new Recorder(server);
    client.write(bytesOf("still here"));
    await fixture().until(() => recorder.byteCount === 10, "the bytes");
    client.reset();
    const again = await connect(path);
    // A second close of the first listener must not take the second one's file.
    close();
    (await dial(path)).reset();
    again.client.reset();
    again.server.reset();
    again.close();
  });

  test("a path that does not fit, or leads nowhere, is io, blame local", () => {
    const long = `${fixture().directory}/${"x".repeat(108 - fixture().directory.length - 1)}`;
    for (const path of [long, `${fixture().directory}/missing/s.sock`])
      expect(() => net().listenUnix(path, 0o600, () => {})).toThrow(
        expect.objectContaining({ code: "io", blame: "local" }),
      );
  });

  test("a path that is too long to dial is not dialled short", async () => {
    expect(await rejectionOf(dial(`/${"x".repeat(200)}`))).toMatchObject({ code: "connect_unreachable" });
  });
}
