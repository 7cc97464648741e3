/** Unix sockets on a real file system: modes, files left over, other users. */
import { afterEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Listener, PeerCredentials, Socket } from "../host.ts";
import { createBunHost } from "./host.ts";
import { LinuxSockets } from "./linux_socket.ts";
import { LinuxUnixSockets } from "./linux_unix_socket.ts";

const { net } = createBunHost();
const cleanups: (() => void)[] = [];
const isRoot = process.getuid?.() === 0;

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "fairlead-unix-"));
  cleanups.push(() => rmSync(directory, { recursive: true }));
  return directory;
}

function listen(path: string, mode: number, onAccept: (socket: Socket) => void = () => {}): Listener {
  const listener = net.listenUnix(path, mode, onAccept);
  cleanups.push(() => listener.close());
  return listener;
}

/** As another user, by a program that is not ours. @returns `connected` or the error's name. */
async function connectAs(uid: number, path: string): Promise<string> {
  const script = `
import os, socket, sys, errno
os.setgroups([]); os.setgid(${uid}); os.setuid(${uid})
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1]); print("connected"); s.recv(1)
except OSError as e: print(errno.errorcode[e.errno])`;
  const child = Bun.spawn(["python3", "-c", script, path], { stdout: "pipe", stderr: "inherit" });
  return (await new Response(child.stdout).text()).trim();
}

describe("the file", () => {
  test.each([0o600, 0o660, 0o666])("has the mode that was asked for, whatever the umask: %o", (mode) => {
    const directory = newDirectory();
    const path = join(directory, "s.sock");
    const before = process.umask(0o077);
    try {
      listen(path, mode);
    } finally {
      process.umask(before);
    }
    expect(statSync(path).mode & 0o7777).toBe(mode);
    expect(readdirSync(directory)).toEqual(["s.sock"]);
  });

  test("is gone with its listener, but for one that somebody else has put there", () => {
    const path = join(newDirectory(), "s.sock");
    listen(path, 0o600).close();
    expect(existsSync(path)).toBe(false);
    const second = listen(path, 0o600);
    rmSync(path);
    writeFileSync(path, "");
    second.close();
    expect(existsSync(path)).toBe(true);
  });

  test("a stale one, of a process that was killed, is replaced", async () => {
    const path = join(newDirectory(), "s.sock");
    const script =
      "import socket,sys,os;s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);s.listen();os._exit(0)";
    await Bun.spawn(["python3", "-c", script, path]).exited;
    expect(statSync(path).isSocket()).toBe(true);
    const accepted = Promise.withResolvers<Socket>();
    listen(path, 0o600, accepted.resolve);
    const client = await net.connectUnix(path, 1_000);
    (await accepted.promise).reset();
    client.reset();
  });

  test("a live datagram socket is somebody's", async () => {
    const path = join(newDirectory(), "s.sock");
    const script =
      "import socket,sys;s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);s.bind(sys.argv[1]);print('up',flush=True);sys.stdin.read()";
    const child = Bun.spawn(["python3", "-c", script, path], { stdin: "pipe", stdout: "pipe" });
    await child.stdout.getReader().read();
    expect(() => listen(path, 0o600)).toThrow(expect.objectContaining({ code: "address_in_use" }));
    child.kill();
    await child.exited;
  });

  test("one whose name alone would fit, but not the way it is made, is refused and leaves nothing behind", () => {
    const parent = newDirectory();
    const directory = join(parent, "d".repeat(101 - parent.length));
    mkdirSync(directory);
    expect(join(directory, "s")).toHaveLength(104);
    expect(() => listen(join(directory, "s"), 0o600)).toThrow(
      expect.objectContaining({ code: "io", message: expect.stringContaining("ENAMETOOLONG") }),
    );
    expect(readdirSync(directory)).toEqual([]);
  });
});

describe.skipIf(!isRoot)("another user (needs root)", () => {
  const open = (directory: string) => {
    chmodSync(directory, 0o755);
    return join(directory, "s.sock");
  };

  test("is told by the kernel, not by itself", async () => {
    const path = open(newDirectory());
    const seen: (PeerCredentials | null)[] = [];
    listen(path, 0o666, (socket) => {
      seen.push(net.peerCredentials(socket));
      socket.close();
    });
    expect(await connectAs(54_321, path)).toBe("connected");
    // As a number beyond 2^31, which a signed 32-bit field shows as negative.
    expect(await connectAs(4_000_000_000, path)).toBe("connected");
    expect(seen.map((who) => [who?.uid, who?.gid])).toEqual([
      [54_321, 54_321],
      [4_000_000_000, 4_000_000_000],
    ]);
    expect(seen[0]?.pid).toBeGreaterThan(0);
  });

  test("is kept out by the mode", async () => {
    const path = open(newDirectory());
    listen(path, 0o600, () => expect.unreachable());
    expect(await connectAs(54_321, path)).toBe("EACCES");
  });
});

test("what is no Unix socket has no credentials, though the kernel answers", () => {
  const [linux, unix] = [LinuxSockets.open(), LinuxUnixSockets.open()];
  if (linux === null || unix === null) return;
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  cleanups.push(() => listener.stop());
  expect(unix.peerCredentials("fd" in listener ? Number(listener.fd) : -1)).toBeNull();
  expect(unix.peerCredentials(-1)).toBeNull();
});
