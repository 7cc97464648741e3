/** Sockets from process to process: nothing that came is lost, whichever of the two accepts. */
import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert } from "../../../base/assert.ts";
import { IpAddress, type SocketAddress } from "../../../base/ip.ts";
import { upgradeLimits } from "../../../base/limits/host.ts";
import { rejectionOf } from "../../../base/testing/rejection.ts";
import type { Socket } from "../../host.ts";
import { createBunHost, createBunRuntime } from "../host.ts";
import { SocketLink, takeReceived } from "./handover.ts";

const loopback = IpAddress.loopback(true);

/** What it says who answers: each of its listeners, by the name that it is given. */
const program = (runtime: string) => `
import { createBunRuntime } from ${JSON.stringify(runtime)};
import { IpAddress } from ${JSON.stringify(join(import.meta.dir, "../../../base/ip.ts"))};
const [port, http, udp, path] = process.argv.slice(2);
const { host, handover, serveHttp } = await createBunRuntime();
const ip = IpAddress.loopback(true);
const greet = (socket) => { socket.setHandler({ onData() {}, onDrain() {}, onEnd() {}, onClose() {} }); socket.write(new TextEncoder().encode("new")); socket.end(); };
host.net.listen({ address: { ip, port: Number(port) } }, greet);
host.net.listenUnix(path, 0o600, greet);
serveHttp({ ip, port: Number(http) }, () => new Response("new"));
const socket = await host.net.bindUdp({ ip, port: Number(udp) }, (_, from) => socket.send(new TextEncoder().encode("new"), from));
const { link, accept } = handover.received;
const { output } = await host.process.run("sh", ["-c", "env | grep -c FAIRLEAD_HANDOVER"]);
link.send("ready, and hands on " + output.trim());
if (await link.next() === "take") await accept();
link.send("serving");
await link.next();
process.exit(0);
`;

test("every kind of listening socket goes on in the next process, and comes back", async () => {
  const directory = mkdtempSync(join(tmpdir(), "fairlead-handover-"));
  const script = join(directory, "next.ts");
  writeFileSync(script, program(join(import.meta.dir, "../host.ts")));
  const path = join(directory, "socket");
  const { host, handover, serveHttp } = await createBunRuntime();
  const { net } = host;
  expect(handover.received).toBeNull();
  const greet = (socket: Socket): void => {
    socket.setHandler({ onData() {}, onDrain() {}, onEnd() {}, onClose() {} });
    socket.write(new TextEncoder().encode("old"));
    socket.end();
  };
  const tcp = net.listen({ address: { ip: loopback, port: 0 } }, greet);
  const unix = net.listenUnix(path, 0o600, greet);
  const http = serveHttp({ ip: loopback, port: 0 }, () => new Response("old"));
  const udp = await net.bindUdp({ ip: loopback, port: 0 }, (_, from) =>
    udp.send(new TextEncoder().encode("old"), from),
  );
  const answers = async (): Promise<readonly string[]> => [
    await words(net.connect({ to: tcp.address, timeoutMs: 60_000 })),
    await words(net.connectUnix(path, 60_000)),
    await (await fetch(`http://127.0.0.1:${http.address.port}/`, { keepalive: false })).text(),
    await askUdp(udp.address),
  ];
  const bun = await handover.hold(process.execPath);
  try {
    const args = [tcp.address.port, http.address.port, udp.address.port, path].map(String);
    const next = await handover.start(bun, [script, ...args]);
    // It is handed nothing that it would hand on by mistake.
    expect(await next.link.next()).toBe("ready, and hands on 0");
    expect(await answers()).toEqual(["old", "old", "old", "old"]);
    next.stopAccepting();
    // Nothing accepts now: what comes waits in the kernel, and is not refused.
    const waiting = words(net.connect({ to: tcp.address, timeoutMs: 60_000 }));
    await Bun.sleep(50);
    next.link.send("take");
    expect(await next.link.next()).toBe("serving");
    expect(await waiting).toBe("new");
    expect(await answers()).toEqual(["new", "new", "new", "new"]);
    next.kill();
    expect(await next.ended).toBe("by SIGKILL");
    const queued = words(net.connect({ to: tcp.address, timeoutMs: 60_000 }));
    await next.acceptAgain();
    expect(await queued).toBe("old");
    expect(await answers()).toEqual(["old", "old", "old", "old"]);
    // And for good: the path is the other process's then.
    const last = await handover.start(bun, [script, ...args]);
    expect(await last.link.next()).toBe("ready, and hands on 0");
    last.stopAccepting();
    last.link.send("take");
    expect(await last.link.next()).toBe("serving");
    last.letGo();
    for (const listener of [tcp, unix, http, udp]) listener.close();
    expect(await answers()).toEqual(["new", "new", "new", "new"]);
    last.link.send("end");
    expect(await last.ended).toBe("with exit code 0");
    const refused = await rejectionOf(net.connect({ to: tcp.address, timeoutMs: 60_000 }));
    expect(String(refused)).toContain("ECONNREFUSED");
  } finally {
    bun.close();
    for (const listener of [tcp, unix, http, udp]) listener.close();
    rmSync(directory, { recursive: true });
  }
}, 120_000);

test("a program that cannot be started is told, and nothing has changed", async () => {
  const { host, handover } = await createBunRuntime();
  const listener = host.net.listen({ address: { ip: loopback, port: 0 } }, (socket) => socket.close());
  for (const [path, reason] of [
    ["/nowhere/at/all", "cannot run /nowhere/at/all: ENOENT"],
    ["/", "cannot run /: it is no file"],
  ] as const)
    expect(String(await rejectionOf(handover.hold(path)))).toContain(reason);
  const text = await handover.hold(import.meta.path);
  expect(String(await rejectionOf(handover.start(text, [])))).toContain(`cannot start ${import.meta.path}`);
  text.close();
  const socket = await host.net.connect({ to: listener.address, timeoutMs: 60_000 });
  socket.close();
  listener.close();
});

test("what runs is the file that was looked at, when its path means another by then, and a script, too", async () => {
  const directory = mkdtempSync(join(tmpdir(), "fairlead-held-"));
  const { handover } = await createBunRuntime();
  const path = join(directory, "program");
  try {
    writeFileSync(path, "#!/bin/sh\nexit 3\n", { mode: 0o755 });
    const held = await handover.hold(path);
    const digest = await held.digest();
    expect(digest).toBe(new Bun.CryptoHasher("sha256").update("#!/bin/sh\nexit 3\n").digest("hex"));
    writeFileSync(join(directory, "other"), "#!/bin/sh\nexit 4\n", { mode: 0o755 });
    renameSync(join(directory, "other"), path);
    expect(await (await handover.start(held, [])).ended).toBe("with exit code 3");
    expect(await held.digest()).toBe(digest);
    held.close();
    const written = await handover.hold(path);
    const before = await written.digest();
    writeFileSync(path, "#!/bin/sh\nexit 5\n");
    expect(await written.digest()).not.toBe(before);
    written.close();
    // As an operator's list of processes shows it.
    const sleep = await handover.hold("/bin/sleep");
    const sleeping = await handover.start(sleep, ["60"]);
    const words = (): string => readFileSync(`/proc/${sleeping.pid}/cmdline`, "utf8");
    // Empty while the kernel still sets the program up.
    while (words() === "") await new Promise((resolve) => setImmediate(resolve));
    expect(words()).toBe("/bin/sleep\x0060\x00");
    sleeping.kill();
    await sleeping.ended;
    sleep.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("as many sockets as the bound are handed over, and one more is refused", async () => {
  const { host, handover } = await createBunRuntime();
  const open = (port: number) => {
    const ip = IpAddress.parse(`127.1.${port >> 8}.${port & 255}`);
    assert(ip !== null, "an address of loopback");
    return host.net.listen({ address: { ip, port: 0 } }, () => {});
  };
  const listeners = Array.from({ length: upgradeLimits.maxListeners }, (_, index) => open(index));
  const shell = await handover.hold("/bin/sh");
  try {
    const next = await handover.start(shell, ["-c", "ls /proc/self/fd | wc -l; exit 3"]);
    expect(await next.ended).toBe("with exit code 3");
    listeners.push(open(upgradeLimits.maxListeners));
    expect(String(await rejectionOf(handover.start(shell, [])))).toContain("at most 1000");
  } finally {
    shell.close();
    for (const listener of listeners) listener.close();
  }
}, 60_000);

test("what is in the environment is read once, and refused when it is not ours", () => {
  const environment: Record<string, string | undefined> = {
    FAIRLEAD_HANDOVER: '["tcp 127.0.0.1:1","unix /a"]',
  };
  expect(takeReceived(environment)).toEqual({
    link: 3,
    listeners: new Map([
      ["tcp 127.0.0.1:1", 4],
      ["unix /a", 5],
    ]),
  });
  expect(environment).toEqual({});
  expect(takeReceived(environment)).toBeNull();
  for (const text of ["", "{", "{}", "[1]"])
    expect(() => takeReceived({ FAIRLEAD_HANDOVER: text })).toThrow("by nothing else");
});

test("a message of the bound is read, and one byte more ends the link; so does a crowd of them", async () => {
  const pair = async () => {
    const [near, far] = await createBunHost().net.socketPair();
    far.setHandler({ onData() {}, onDrain() {}, onEnd() {}, onClose() {} });
    return { link: new SocketLink(near), far };
  };
  const say = (socket: Socket, text: string) => void socket.write(new TextEncoder().encode(text));
  const { link, far } = await pair();
  const longest = "x".repeat(upgradeLimits.maxMessageBytes);
  say(far, `${longest}\n`);
  expect(await link.next()).toBe(longest);
  say(far, `${longest}x`);
  expect(await link.next()).toBeNull();
  const crowded = await pair();
  say(crowded.far, "a\n".repeat(upgradeLimits.maxWaitingMessages));
  await Bun.sleep(20);
  for (let index = 0; index < upgradeLimits.maxWaitingMessages; index++)
    expect(await crowded.link.next()).toBe("a");
  say(crowded.far, "a\n".repeat(upgradeLimits.maxWaitingMessages + 1));
  await Bun.sleep(20);
  expect(await crowded.link.next()).toBeNull();
});

async function words(connecting: Promise<Socket>): Promise<string> {
  const socket = await connecting;
  return await new Promise((resolve) => {
    let text = "";
    socket.setHandler({
      onData: (bytes) => {
        text += new TextDecoder().decode(bytes);
      },
      onDrain() {},
      onEnd: () => socket.close(),
      onClose: (error) => resolve(error === null ? text : String(error)),
    });
  });
}

async function askUdp(to: SocketAddress): Promise<string> {
  const { net } = createBunHost();
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = await net.bindUdp({ ip: loopback, port: 0 }, (bytes) =>
    resolve(new TextDecoder().decode(bytes)),
  );
  socket.send(new TextEncoder().encode("?"), to);
  const answer = await promise;
  socket.close();
  return answer;
}
