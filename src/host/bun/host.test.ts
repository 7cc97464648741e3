/** The contract on real sockets, over both families. */
import { dlopen } from "bun:ffi";
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert } from "../../base/assert.ts";
import { IpAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { KeepAlive, Socket } from "../host.ts";
import { type HostFixture, hostContract } from "../testing/contract.ts";
import { fullBacklog } from "../testing/full_backlog.ts";
import { keepAliveTimers } from "../testing/keep_alive_timers.ts";
import { ListenerTable, type TableEntry } from "./handover/listener_table.ts";
import { createBunHost } from "./host.ts";
import { openCLibrary } from "./linux_socket.ts";
import { BunSocket } from "./socket.ts";

/** A hang alone reaches it. */
const patienceMs = 60_000;

async function fixture(address: string, listeners = new ListenerTable()): Promise<HostFixture> {
  const ip = IpAddress.parse(address);
  assert(ip !== null, "an address");
  const directory = await mkdtemp(join(tmpdir(), "fairlead-host-"));
  const blackhole = await fullBacklog();
  return {
    host: createBunHost(listeners),
    address: ip,
    blackhole: blackhole.address,
    directory,
    async until(condition, what) {
      const deadline = performance.now() + patienceMs;
      while (!condition()) {
        if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
        await Bun.sleep(1);
      }
    },
    settled: (promise) => promise,
    pass: (milliseconds) => Bun.sleep(milliseconds),
    async close() {
      blackhole.close();
      await rm(directory, { recursive: true });
    },
  };
}

hostContract("bun, IPv4,", () => fixture("127.0.0.1"));
hostContract("bun, IPv6,", () => fixture("::1"));
hostContract("bun, on sockets that were handed over,", () => fixture("127.0.0.1", new HandedOver()));

/** Every listening socket goes from hand to hand before anything is accepted, as from one process to the next. */
class HandedOver extends ListenerTable {
  override listen(...[name, start, nameAt]: Parameters<ListenerTable["listen"]>): TableEntry {
    const entry = super.listen(name, start, nameAt);
    for (const paused of this.pause(this.#names())) void paused.resume();
    return entry;
  }

  override async listenLater(
    ...[name, start, nameAt]: Parameters<ListenerTable["listenLater"]>
  ): Promise<TableEntry> {
    const entry = await super.listenLater(name, start, nameAt);
    await Promise.all(this.pause(this.#names()).map((paused) => paused.resume()));
    return entry;
  }

  #names(): ReadonlySet<string> {
    return new Set(this.share().map(({ name }) => name));
  }
}

test("a file that cannot be read is told in words", async () => {
  const { files } = createBunHost();
  const said = (path: string) => files.readText(path).then(String, ({ message }: Error) => message);
  expect(await said("nowhere/at/all")).toBe("cannot read nowhere/at/all: it does not exist");
  expect(await said(import.meta.dir)).toBe(`cannot read ${import.meta.dir}: it is a directory`);
});

/** TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT (linux/tcp.h). */
function keepAliveOptions(fd: number): readonly number[] {
  const library = openCLibrary((name) =>
    dlopen(name, { getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" } }),
  );
  const value = new Int32Array(new ArrayBuffer(4));
  const length = new Uint32Array(new ArrayBuffer(4));
  return [4, 5, 6].map((option) => {
    length[0] = 4;
    expect(library?.symbols.getsockopt(fd, 6, option, value, length)).toBe(0);
    return value[0] ?? 0;
  });
}

// The kernel drops probes that many connections send at once, and after nine that were dropped a connection that lives.
test.skipIf(process.platform !== "linux")(
  "connections are not probed all at once, at neither end",
  async () => {
    const host = createBunHost();
    const loopback = IpAddress.parse("127.0.0.1");
    assert(loopback !== null, "an address");
    const accepted: Socket[] = [];
    const listener = host.net.listen(
      { address: { ip: loopback, port: 0 } },
      (socket) => void accepted.push(socket),
    );
    const dialled = await Promise.all(
      Array.from({ length: 100 }, () => host.net.connect({ to: listener.address, timeoutMs: 10_000 })),
    );
    while (accepted.length < dialled.length) await new Promise((resolve) => setImmediate(resolve));
    const { keepAliveMinSeconds: least, keepAliveMaxSeconds: most } = hostLimits;
    for (const seconds of keepAliveTimers(listener.address.port)) {
      expect(seconds.length).toBeGreaterThan(90);
      expect(Math.min(...seconds)).toBeGreaterThan(least - 20);
      expect(Math.max(...seconds)).toBeLessThanOrEqual(most);
      expect(new Set(seconds.map(Math.round)).size).toBeGreaterThan(20);
    }
    // What is not answered is asked again as late, and so often.
    for (const socket of [...accepted, ...dialled]) {
      assert(socket instanceof BunSocket, "a socket of this host");
      const [idle = 0, interval, probes] = keepAliveOptions(socket.fd);
      expect([interval, probes]).toEqual([idle, hostLimits.keepAliveProbes]);
      expect(idle).toBeGreaterThanOrEqual(least);
    }
    for (const socket of [...accepted, ...dialled]) socket.reset();
    listener.close();
  },
);

test.skipIf(process.platform !== "linux")("keep-alive is as it is asked for, or the host's own", async () => {
  const host = createBunHost();
  const accepted: { reset(): void }[] = [];
  const loopback = IpAddress.parse("127.0.0.1");
  assert(loopback !== null, "an address");
  const listener = host.net.listen(
    { address: { ip: loopback, port: 0 } },
    (socket) => void accepted.push(socket),
  );
  const written = ({ port }: { readonly port: number }): string =>
    `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  /** When the kernel will probe, in seconds (proc(5), /proc/net/tcp: "tr" 02 is the timer of keep-alive). */
  const probedIn = async (keepAlive?: KeepAlive): Promise<number> => {
    const options = { to: listener.address, timeoutMs: 1_000 };
    const socket = await host.net.connect(keepAlive === undefined ? options : { ...options, keepAlive });
    // By both ends: on a busy host the kernel gives one local port to connections to several places. A table that changes while
    // it is read may leave a line out, so it is read until the line is there.
    const ends = `: ${written(socket.local)} ${written(socket.remote)} `;
    for (;;) {
      const line = readFileSync("/proc/net/tcp", "utf8")
        .split("\n")
        .find((each) => each.includes(ends));
      const when = / 02:([0-9A-F]{8}) /.exec(line ?? "")?.[1];
      if (when !== undefined) {
        socket.reset();
        return Number.parseInt(when, 16) / 100;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const asked = await probedIn({ probes: 3, timeMs: 45_000, intervalMs: 5_000 });
  expect(asked).toBeGreaterThan(40);
  expect(asked).toBeLessThanOrEqual(45);
  const own = await probedIn();
  expect(own).toBeGreaterThan(hostLimits.keepAliveMinSeconds - 5);
  expect(own).toBeLessThanOrEqual(hostLimits.keepAliveMaxSeconds);
  expect(await probedIn({ probes: null, timeMs: 1e12, intervalMs: null })).toBeGreaterThan(30_000);
  for (const socket of accepted) socket.reset();
  listener.close();
});
