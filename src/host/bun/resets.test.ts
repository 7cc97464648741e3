import { describe, expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import { createBunHost } from "./host.ts";
import type { NativeSocket } from "./native.ts";
import { ResetQueue } from "./resets.ts";

function setUp(resetOnClose: ((fd: number) => boolean) | null) {
  const deferred: (() => void)[] = [];
  const terminated: number[] = [];
  const marked: number[] = [];
  const linux =
    resetOnClose === null ? null : { resetOnClose: (fd: number) => marked.push(fd) > 0 && resetOnClose(fd) };
  const queue = new ResetQueue({ defer: (callback) => void deferred.push(callback) }, linux);
  const reset = (fd: number) =>
    queue.reset({ fd, terminate: () => void terminated.push(fd) } as unknown as NativeSocket);
  const turn = () => {
    for (const callback of deferred.splice(0)) callback();
  };
  return { deferred, terminated, marked, reset, turn };
}

const crowd = hostLimits.resetsPerTurn * 3 + 1;
const upTo = (count: number) => Array.from({ length: count }, (_, fd) => fd);

describe("sockets that are reset", () => {
  test("are closed at once while they are few", () => {
    const { terminated, marked, reset, turn, deferred } = setUp(() => true);
    for (const fd of upTo(hostLimits.resetsPerTurn)) reset(fd);
    expect([terminated.length, marked.length]).toEqual([hostLimits.resetsPerTurn, 0]);
    turn();
    expect(deferred).toHaveLength(0);
    reset(1_000);
    expect(terminated.at(-1)).toBe(1_000);
  });

  test("of a crowd are marked at once, and closed a turn's share at a time, in order", () => {
    const { terminated, marked, reset, turn, deferred } = setUp(() => true);
    for (const fd of upTo(crowd)) reset(fd);
    expect(terminated).toEqual(upTo(hostLimits.resetsPerTurn));
    expect(marked).toEqual(upTo(crowd).slice(hostLimits.resetsPerTurn));
    for (const turns of [2, 3]) {
      turn();
      expect(terminated).toEqual(upTo(hostLimits.resetsPerTurn * turns));
    }
    reset(crowd); // Comes last, though there is room in the last turn's share.
    turn();
    expect(terminated).toEqual(upTo(crowd + 1));
    turn();
    turn();
    expect(deferred).toHaveLength(0);
  });

  test("are closed at once where they cannot be marked", () => {
    for (const resetOnClose of [null, () => false]) {
      const { terminated, reset } = setUp(resetOnClose);
      for (const fd of upTo(crowd)) reset(fd);
      expect(terminated).toHaveLength(crowd);
    }
  });

  test("are closed at once when they have no descriptor any more", () => {
    const { terminated, marked, reset } = setUp(() => true);
    for (let index = 0; index < crowd; index++) reset(-1);
    expect([terminated.length, marked.length]).toEqual([crowd, 0]);
  });
});

/** Connects `crowd` sockets to the port it is given, resets all of them, and is killed before any other turn. */
const resetter = `
  import { IpAddress } from ${JSON.stringify(`${import.meta.dir}/../../base/ip.ts`)};
  import { createBunHost } from ${JSON.stringify(`${import.meta.dir}/host.ts`)};
  const to = { ip: IpAddress.parse("127.0.0.1"), port: Number(process.argv.at(-1)) };
  const { net } = createBunHost();
  const dialled = Array.from({ length: ${crowd} }, () => net.connect({ to, timeoutMs: 60000 }));
  const sockets = await Promise.all(dialled);
  for (const socket of sockets) socket.setHandler({ onData() {}, onDrain() {}, onEnd() {}, onClose() {} });
  await Bun.stdin.text();
  for (const socket of sockets) socket.reset();
  process.kill(process.pid, "SIGKILL");
`;

test.skipIf(process.platform !== "linux")("a crowd is reset though the process is killed", async () => {
  const ip = IpAddress.parse("127.0.0.1");
  if (ip === null) throw new Error("no loopback");
  const ends: string[] = [];
  const accepted = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  let open = 0;
  const over = (how: string) => {
    if (ends.push(how) === crowd) ended.resolve();
  };
  const listener = createBunHost().net.listen({ address: { ip, port: 0 } }, (socket) => {
    socket.setHandler({
      onData() {},
      onDrain() {},
      onEnd: () => over("end"),
      onClose: (error) => over(error?.code ?? "closed"),
    });
    if (++open === crowd) accepted.resolve();
  });
  const child = Bun.spawn([process.execPath, "-e", resetter, String(listener.address.port)], {
    stdio: ["pipe", "inherit", "inherit"],
  });
  await accepted.promise;
  await child.stdin.end();
  await ended.promise;
  await child.exited;
  listener.close();
  expect(ends).toEqual(Array.from({ length: crowd }, () => "connection_reset"));
});
