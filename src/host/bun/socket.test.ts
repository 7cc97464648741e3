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

function setUp(lingering = 0) {
  const timers: (() => void)[] = [];
  const context: SocketContext = {
    clock: {
      now: () => 0,
      wallMs: () => 0,
      setTimer(delayMs, callback) {
        expect(delayMs).toBe(hostLimits.lingerMs);
        timers.push(callback);
        return { cancel: () => void timers.splice(timers.indexOf(callback), 1) };
      },
      defer: queueMicrotask,
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
  return {
    context,
    calls,
    timers,
    socket: new BunSocket(context, native, { local: end, remote: end }, "peer"),
  };
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
