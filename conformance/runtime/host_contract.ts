/** The Host of this runtime, held to the contract of all hosts; over both families. For `run_files.ts`, in Node and Deno. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { assert } from "../../src/base/assert.ts";
import { IpAddress } from "../../src/base/ip.ts";
import { hostLimits } from "../../src/base/limits/host.ts";
import { rejectionOf } from "../../src/base/testing/rejection.ts";
import type { Socket } from "../../src/host/host.ts";
import { createNodeHost } from "../../src/host/node/host.ts";
import { type HostFixture, hostContract } from "../../src/host/testing/contract.ts";
import { keepAliveTimers } from "../../src/host/testing/keep_alive_timers.ts";
import { connectRecorders } from "../../src/host/testing/recorder.ts";

/** A hang alone reaches it. */
const patienceMs = 60_000;

async function fixture(address: string): Promise<HostFixture> {
  const directory = await mkdtemp(join(tmpdir(), "fairlead-host-"));
  return {
    host: createNodeHost(),
    address: ipOf(address),
    blackhole: { ip: ipOf("127.0.0.1"), port: Number(process.env.BLACKHOLE_PORT) },
    directory,
    async until(condition, what) {
      const deadline = performance.now() + patienceMs;
      while (!condition()) {
        if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
        await sleep(1);
      }
    },
    settled: (promise) => promise,
    pass: (milliseconds) => sleep(milliseconds),
    close: () => rm(directory, { recursive: true }),
  };
}

function ipOf(text: string): IpAddress {
  const ip = IpAddress.parse(text);
  assert(ip !== null, "an address");
  return ip;
}

hostContract("IPv4,", () => fixture("127.0.0.1"));
hostContract("IPv6,", () => fixture("::1"));

describe("what this host alone bounds", () => {
  test("a socket is given no more than unsentBytes that have not left, and asks for the rest", async () => {
    const made = await fixture("127.0.0.1");
    const { client, server, close } = await connectRecorders(made);
    server.socket.pause();
    const whole = new Uint8Array(hostLimits.unsentBytes);
    let sent = 0;
    // What the kernel takes at once is no longer here.
    for (let taken = whole.length; taken === whole.length; sent += taken) taken = client.socket.write(whole);
    expect(client.socket.write(Uint8Array.of(1))).toBe(0);
    server.socket.resume();
    await made.until(() => client.drains === 1, "room");
    expect(client.socket.write(Uint8Array.of(1))).toBe(1);
    await made.until(() => server.byteCount === sent + 1, "all of it");
    const more = await connectRecorders(made);
    expect(more.client.socket.write(new Uint8Array(hostLimits.unsentBytes + 1))).toBe(hostLimits.unsentBytes);
    for (const { socket } of [client, more.client]) socket.reset();
    close();
    more.close();
    await made.close();
  });

  test("connections are not probed all at once, at neither end", async () => {
    const made = await fixture("127.0.0.1");
    const { net } = made.host;
    const accepted: Socket[] = [];
    const listener = net.listen(
      { address: { ip: made.address, port: 0 } },
      (socket) => void accepted.push(socket),
    );
    const dial = () => net.connect({ to: listener.address, timeoutMs: patienceMs });
    const dialled = await Promise.all(Array.from({ length: 50 }, dial));
    await made.until(() => accepted.length === dialled.length, "all of them");
    for (const seconds of keepAliveTimers(listener.address.port)) {
      expect(seconds.length).toBe(dialled.length);
      expect(Math.min(...seconds)).toBeGreaterThan(hostLimits.keepAliveMinSeconds - 20);
      expect(Math.max(...seconds)).toBeLessThanOrEqual(hostLimits.keepAliveMaxSeconds);
      expect(new Set(seconds.map(Math.round)).size).toBeGreaterThan(10);
    }
    for (const socket of [...accepted, ...dialled]) socket.reset();
    listener.close();
    await made.close();
  });

  test("datagramsWaiting wait for the one that leaves, in their order; one more is lost", async () => {
    const made = await fixture("127.0.0.1");
    const { net } = made.host;
    const heard: number[] = [];
    const receiver = await net.bindUdp({ ip: made.address, port: 0 }, ([first = 0]) => heard.push(first));
    const sender = await net.bindUdp({ ip: made.address, port: 0 }, () => {});
    for (let index = 0; index < hostLimits.datagramsWaiting + 3; index++)
      sender.send(Uint8Array.of(index), receiver.address);
    await made.until(() => heard.length === hostLimits.datagramsWaiting + 1, "what was not lost");
    await made.pass(50);
    expect(heard).toEqual(Array.from({ length: hostLimits.datagramsWaiting + 1 }, (_, index) => index));
    sender.close();
    receiver.close();
    await made.close();
  });

  test("what runs elsewhere is refused by name, and never done by half", async () => {
    const { net, databases } = createNodeHost();
    const to = { ip: ipOf("127.0.0.1"), port: 9 };
    const refusal = expect.objectContaining({ code: "unsupported", blame: "local" });
    expect(() => net.listen({ address: { ...to, port: 0 }, transparent: true }, () => {})).toThrow(refusal);
    expect(() => net.openDatagrams(to)).toThrow(refusal);
    expect(() => databases.open("state.db", { applicationId: 1 })).toThrow(refusal);
    for (const options of [{ mark: 1 }, { from: { ...to, transparent: true } }])
      expect(await rejectionOf(net.connect({ to, timeoutMs: 1_000, ...options }))).toMatchObject({
        code: "unsupported",
      });
  });

  test("callers of a socket that others may open are unknown; of one that they may not, this user", async () => {
    const made = await fixture("127.0.0.1");
    const { net } = made.host;
    const known: unknown[] = [];
    for (const mode of [0o600, 0o660, 0o606, 0o666]) {
      const path = join(made.directory, `${mode}.sock`);
      const accepted = Promise.withResolvers<void>();
      const listener = net.listenUnix(path, mode, (socket) => {
        known.push(net.peerCredentials(socket)?.uid ?? null);
        socket.reset();
        accepted.resolve();
      });
      (await net.connectUnix(path, 60_000)).reset();
      await accepted.promise;
      listener.close();
    }
    expect(known).toEqual([process.getuid?.(), null, null, null]);
    await made.close();
  });
});
