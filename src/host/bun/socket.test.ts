/** The bounds of one socket, reached with a native socket that says what Bun would only say under rare timing. */
import { describe, expect, test } from "bun:test";
import { assert } from "../../base/assert.ts";
import { IpAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import { Recorder } from "../testing/recorder.ts";
import { ListenerTable } from "./handover/listener_table.ts";
import type { NativeSocket, SocketContext } from "./native.ts";
import { ResetQueue } from "./resets.ts";
import { BunSocket } from "./socket.ts";

/** What a turn of the event loop does, and how long it takes. */
interface Loop {
  nowMs: number;
  readonly deferred: (() => void)[];
}

function setUp(lingering = 0, loop: Loop | null = null) {
  const timers: (() => void)[] = [];
  const context: SocketContext = {
    clock: {
      now: () => loop?.nowMs ?? 0,
      wallMs: () => 0,
      setTimer(delayMs, callback) {
        expect(delayMs).toBe(hostLimits.lingerMs);
        timers.push(callback);
        return { cancel: () => void timers.splice(timers.indexOf(callback), 1) };
      },
      defer: (work) => {
        if (loop === null) queueMicrotask(work);
        else loop.deferred.push(work);
      },
    },
    linux: null,
    passing: null,
    listeners: new ListenerTable(),
    resets: new ResetQueue({ defer: queueMicrotask }, null),
    descriptorCeiling: Number.POSITIVE_INFINITY,
    lingering,
  };
  const calls: string[] = [];
  const note = (name: string) => () => void calls.push(name);
  const native = {
    pause: note("pause"),
    resume: note("resume"),
    shutdown: note("shutdown"),
    end: note("end"),
    close: note("close"),
    terminate: note("terminate"),
    write: (bytes: Uint8Array) => bytes.length,
  } as unknown as NativeSocket;
  const ip = IpAddress.parse("127.0.0.1");
  assert(ip !== null, "loopback");
  const end = { ip, port: 1 };
  const another = () => new BunSocket(context, native, { local: end, remote: end }, "peer");
  return { context, calls, timers, another, socket: another() };
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 1));

describe("bytes that come while no handler may be told", () => {
  test("are held up to the limit and delivered before anything newer", async () => {
    const { socket, calls } = setUp();
    socket.awaitHandler();
    socket.onNativeData(new Uint8Array(hostLimits.heldBytes - 2).fill(1));
    socket.onNativeData(Uint8Array.of(2));
    const recorder = new Recorder(socket);
    socket.onNativeData(Uint8Array.of(3));
    expect(recorder.byteCount).toBe(0);
    await settle();
    expect(recorder.byteCount).toBe(hostLimits.heldBytes);
    expect([...recorder.bytes.slice(-3)]).toEqual([1, 2, 3]);
    expect(calls).toEqual(["pause", "resume"]);
  });

  test("count as long as they are held, and not after that", async () => {
    const { socket } = setUp();
    const recorder = new Recorder(socket);
    for (let round = 1; round <= 3; round++) {
      socket.pause();
      socket.onNativeData(new Uint8Array(hostLimits.heldBytes));
      socket.resume();
      await settle();
      expect([recorder.byteCount, recorder.closes]).toEqual([round * hostLimits.heldBytes, 0]);
    }
  });

  test("an end without any is told to whoever comes to handle it", async () => {
    const { socket } = setUp();
    socket.onNativeEnd();
    await settle();
    const recorder = new Recorder(socket);
    expect(recorder.ends).toBe(0);
    await settle();
    expect(recorder.order).toEqual(["end"]);
  });

  test("past the limit the connection is reset with limit_reached", async () => {
    const { socket, calls } = setUp();
    const recorder = new Recorder(socket);
    socket.pause();
    socket.onNativeData(new Uint8Array(hostLimits.heldBytes));
    expect(calls).toEqual(["pause"]);
    socket.onNativeData(Uint8Array.of(1));
    expect(calls).toEqual(["pause", "terminate"]);
    await settle();
    expect([recorder.error?.code, recorder.byteCount, recorder.closes]).toEqual(["limit_reached", 0, 1]);
  });

  test("are delivered, paused or not, when the connection is lost", async () => {
    const { socket } = setUp();
    const recorder = new Recorder(socket);
    socket.pause();
    socket.onNativeData(Uint8Array.of(7));
    await settle();
    expect(recorder.byteCount).toBe(0);
    socket.onNativeClose(Object.assign(new Error("reset"), { code: "ECONNRESET" }));
    await settle();
    expect([recorder.order, recorder.error?.code]).toEqual([["data", "close"], "connection_reset"]);
  });
});

describe("lingering", () => {
  test("a peer that goes on sending is read no further when it has sent its share, and cut when its time is over", () => {
    const { socket, calls, timers } = setUp();
    socket.close();
    const megabyte = new Uint8Array(hostLimits.lingerBytes);
    socket.onNativeData(megabyte);
    expect(calls).toEqual(["shutdown"]);
    socket.onNativeData(megabyte.subarray(0, 1));
    expect(calls).toEqual(["shutdown", "pause"]);
    timers[0]?.();
    expect(calls).toEqual(["shutdown", "pause", "close"]);
  });

  test("waits for the peer's end, and is then over", async () => {
    const { socket, context, calls, timers } = setUp();
    const recorder = new Recorder(socket);
    socket.close();
    expect([calls, context.lingering, timers.length]).toEqual([["shutdown"], 1, 1]);
    socket.onNativeData(Uint8Array.of(1));
    socket.onNativeEnd();
    expect(calls).toEqual(["shutdown", "end"]);
    socket.onNativeClose(null);
    await settle();
    expect([context.lingering, timers.length, recorder.order]).toEqual([0, 0, ["close"]]);
  });

  test("does not wait longer than its time", () => {
    const { socket, calls, timers } = setUp();
    socket.close();
    timers[0]?.();
    expect(calls).toEqual(["shutdown", "close"]);
  });

  test("is not done by more sockets than the limit", () => {
    const { socket, context, calls } = setUp(hostLimits.maxLingering);
    socket.close();
    expect([calls, context.lingering]).toEqual([["close"], hostLimits.maxLingering]);
  });

  test("is not needed when the peer has ended already", () => {
    const { socket, context, calls } = setUp();
    socket.onNativeEnd();
    socket.close();
    expect([calls, context.lingering]).toEqual([["end"], 0]);
  });
});

describe("connections that end at the same moment", () => {
  const endMs = 2;
  const perTurn = hostLimits.turnMs / endMs;

  /** Sockets of one loop, whose handlers take two milliseconds for each end. */
  function crowd(count: number) {
    const loop: Loop = { nowMs: 0, deferred: [] };
    const { another } = setUp(0, loop);
    const told: number[] = [];
    const sockets = Array.from({ length: count }, (_, index) => {
      const socket = another();
      const tell = () => {
        told.push(index);
        loop.nowMs += endMs;
      };
      socket.setHandler({ onData() {}, onDrain() {}, onEnd: tell, onClose: tell });
      return socket;
    });
    const turn = () => {
      for (const work of loop.deferred.splice(0)) work();
    };
    return { sockets, told, turn };
  }

  test("are told of in turns, in their order, each once", async () => {
    const { sockets, told, turn } = crowd(3 * perTurn);
    for (const socket of sockets) socket.onNativeEnd();
    expect(told.length).toBe(perTurn);
    turn();
    expect(told.length).toBe(2 * perTurn);
    turn();
    turn();
    await settle();
    expect(told).toEqual(sockets.map((_, index) => index));
  });

  test("are told of in turns when they break, too", async () => {
    const { sockets, told, turn } = crowd(3 * perTurn);
    for (const socket of sockets)
      socket.onNativeClose(Object.assign(new Error("reset"), { code: "ECONNRESET" }));
    await settle();
    expect(told.length).toBe(perTurn);
    turn();
    turn();
    turn();
    expect(told).toEqual(sockets.map((_, index) => index));
  });

  test("one whose turn has not come is told of its end before its break, and once", async () => {
    const { sockets, told, turn } = crowd(perTurn + 1);
    for (const socket of sockets) socket.onNativeEnd();
    sockets.at(-1)?.onNativeClose(Object.assign(new Error("reset"), { code: "ECONNRESET" }));
    await settle();
    expect(told.length).toBe(perTurn);
    for (let turns = 0; turns < 3; turns++) turn();
    await settle();
    expect(told.slice(perTurn)).toEqual([perTurn, perTurn]);
  });

  test("one that was reset and whose turn has not come is told of no end that comes then", async () => {
    const { sockets, told, turn } = crowd(perTurn + 1);
    for (const socket of sockets.slice(0, -1)) socket.onNativeEnd();
    sockets.at(-1)?.reset();
    await settle();
    sockets.at(-1)?.onNativeEnd();
    for (let turns = 0; turns < 3; turns++) turn();
    await settle();
    expect(told.slice(perTurn)).toEqual([perTurn]);
  });

  test("one that is reset before its turn comes is told no end any more, and is over once", async () => {
    const { sockets, told, turn } = crowd(perTurn + 1);
    for (const socket of sockets) socket.onNativeEnd();
    sockets.at(-1)?.reset();
    await settle();
    for (let turns = 0; turns < 3; turns++) turn();
    await settle();
    expect(told.slice(perTurn)).toEqual([perTurn]);
  });
});
