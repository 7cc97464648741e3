import { describe, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { hostLimits } from "../base/limits/host.ts";
import type { Machine } from "../base/machine.ts";
import type { Clock } from "../host/host.ts";
import { FakeSocket } from "../host/testing/fake_socket.ts";
import { Drive } from "./drive.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** Gives what it was told to give, from scratch memory that it overwrites at each taking. */
class Script implements Machine {
  readonly received: string[] = [];
  readonly turns: string[][] = [];
  deadlineMs: number | null = null;
  done = false;
  ended = 0;
  ticks: number[] = [];
  readonly #scratch = new Uint8Array(64);

  /** Most bytes that are taken in one go, and how long each byte takes. */
  most = Number.POSITIVE_INFINITY;
  onReceive: (bytes: number) => void = () => {};

  receive(data: Uint8Array): number {
    const taken = Math.min(this.most, data.length);
    this.received.push(new TextDecoder().decode(data.subarray(0, taken)));
    this.onReceive(taken);
    return taken;
  }
  receiveEnd(): void {
    this.ended++;
  }
  get wantsOutput(): boolean {
    return this.turns.length > 0;
  }
  takeOutput(): readonly Uint8Array[] {
    let at = 0;
    return (this.turns.shift() ?? []).map((text) => {
      // What begins with an asterisk is the caller's own memory.
      if (text.startsWith("*")) return bytes(text);
      this.#scratch.set(bytes(text), at);
      at += text.length;
      return this.#scratch.subarray(at - text.length, at);
    });
  }
  isScratch(chunk: Uint8Array): boolean {
    return chunk.buffer === this.#scratch.buffer;
  }
  tick(now: number): void {
    this.ticks.push(now);
    this.deadlineMs = null;
  }
}

function driven(room = Number.POSITIVE_INFINITY) {
  const socket = new FakeSocket();
  socket.room = room;
  const machine = new Script();
  let now = 0;
  const deferred: (() => void)[] = [];
  const timers: { atMs: number; callback: () => void }[] = [];
  const clock: Clock = {
    now: () => now,
    wallMs: () => 0,
    defer: (callback) => void deferred.push(callback),
    setTimer: (delayMs, callback) => {
      const timer = { atMs: now + delayMs, callback };
      timers.push(timer);
      return { cancel: () => void timers.splice(timers.indexOf(timer), 1) };
    },
  };
  const gone: unknown[] = [];
  const drive = new Drive(clock, socket, machine, (error) => gone.push(error));
  const turn = () => {
    for (const callback of deferred.splice(0)) callback();
  };
  const work = (ms: number) => {
    now += ms;
  };
  const advance = (toMs: number) => {
    now = toMs;
    for (const timer of timers.filter((one) => one.atMs <= toMs)) {
      timers.splice(timers.indexOf(timer), 1);
      timer.callback();
    }
  };
  return { socket, machine, drive, turn, advance, work, gone, deferred, timers, clock };
}

describe("a machine over a socket", () => {
  test("output of one turn leaves together, at its end", () => {
    const { socket, machine, drive, turn, deferred } = driven();
    drive.start();
    turn();
    machine.turns.push(["one "]);
    drive.outputReady();
    machine.turns.push(["two"]);
    drive.outputReady();
    expect([socket.text, deferred.length]).toEqual(["", 1]);
    turn();
    expect(socket.text).toBe("one two");
  });

  test("what the socket does not take is kept, scratch memory as a copy, and comes first when there is room", () => {
    const { socket, machine, drive, turn } = driven(5);
    machine.turns.push(["head", "*body", "tail"], ["next"]);
    drive.start();
    turn();
    expect(socket.text).toBe("head*");
    machine.turns.push(["last"]);
    socket.drain(2);
    expect(socket.text).toBe("head*bo");
    socket.drain(100);
    expect(socket.text).toBe("head*bodytailnextlast");
  });

  test("a machine that is done has its output written, then the socket is closed", () => {
    const { socket, machine, drive, turn, gone } = driven(3);
    machine.turns.push(["goaway"]);
    machine.done = true;
    drive.start();
    turn();
    expect(socket.state).toBe("open");
    socket.drain(10);
    expect([socket.text, socket.state, gone]).toEqual(["goaway", "closed", [null]]);
  });

  test("the deadline is kept by one timer, however often it moves", () => {
    const { machine, drive, advance, timers, socket } = driven();
    machine.deadlineMs = 100;
    drive.start();
    for (let index = 0; index < 50; index++) {
      machine.deadlineMs = 100 + index;
      socket.receive("x");
    }
    expect(timers.length).toBe(1);
    advance(100);
    expect([machine.ticks, timers.length]).toEqual([[], 1]);
    advance(149);
    expect(machine.ticks).toEqual([149]);
  });

  test("the end of the transport is told once, to the machine first", () => {
    const { machine, drive, socket, gone, turn } = driven();
    drive.start();
    turn();
    socket.handler?.onEnd();
    socket.handler?.onClose(null);
    drive.abort();
    expect([machine.ended, gone]).toEqual([2, [null]]);
  });

  test.each(["by itself", "and was told to before"])(
    "a machine that is done %s, and a peer that reads nothing: the socket is reset in bounded time",
    (how) => {
      const { socket, machine, drive, turn, advance, gone, timers } = driven(0);
      machine.turns.push(["goaway"], ["and more"]);
      if (how === "by itself") machine.done = true;
      drive.start();
      turn();
      if (how !== "by itself") {
        machine.done = true;
        drive.outputReady();
        turn();
      }
      expect(socket.state).toBe("open");
      advance(hostLimits.lingerMs - 1);
      expect(socket.state).toBe("open");
      advance(hostLimits.lingerMs);
      expect([socket.state, gone, timers.length]).toEqual(["reset", [null], 0]);
    },
  );
});

/** Has more than any socket takes. */
class Bulk extends Script {
  readonly batches: number[] = [];
  takenBytes = 0;

  override get wantsOutput(): boolean {
    return true;
  }
  override takeOutput(maxBytes = 0): readonly Uint8Array[] {
    this.batches.push(maxBytes);
    this.takenBytes += maxBytes;
    return [new Uint8Array(maxBytes)];
  }
}

describe("bulk over a socket that is full", () => {
  const { blockedBatchBytes, writeBatchBytes } = hostLimits;

  test("what is taken from the machine and not by the socket is no more than the socket takes at once, and one small batch", () => {
    const { clock } = driven();
    for (const room of [0, 1, 4_096, blockedBatchBytes, 100_000]) {
      const machine = new Bulk();
      const socket = new FakeSocket();
      socket.room = room;
      const drive = new Drive(clock, socket, machine, () => {});
      socket.setHandler(drive);
      for (let rounds = 0; rounds < 5; rounds++) {
        const before = socket.written.length;
        socket.drain(room);
        const waiting = machine.takenBytes - socket.written.length;
        expect(waiting).toBeLessThanOrEqual(socket.written.length - before + blockedBatchBytes);
      }
    }
  });

  test("a socket that takes all gets larger batches, to the largest, and a small one again after it was full", () => {
    const { clock } = driven();
    const machine = new Bulk();
    const socket = new FakeSocket();
    socket.room = 0;
    const drive = new Drive(clock, socket, machine, () => {});
    socket.setHandler(drive);
    socket.drain(0);
    socket.drain(2_000_000);
    const [first, ...rest] = machine.batches;
    expect([first, rest.at(0), rest.at(1), Math.max(...rest), rest.at(-1)]).toEqual([
      blockedBatchBytes,
      blockedBatchBytes,
      2 * blockedBatchBytes,
      writeBatchBytes,
      writeBatchBytes,
    ]);
    socket.drain(machine.takenBytes - socket.written.length + 1);
    expect(machine.batches.at(-1)).toBe(blockedBatchBytes);
  });

  test("a machine that says little at a time is no reason for larger ones", () => {
    const { machine, drive, turn, socket } = driven();
    const asked: number[] = [];
    const { takeOutput } = machine;
    machine.takeOutput = (maxBytes?: number) => {
      asked.push(maxBytes ?? 0);
      return takeOutput.call(machine);
    };
    drive.start();
    turn();
    for (let index = 0; index < 10; index++) {
      machine.turns.push(["x"]);
      drive.outputReady();
      turn();
    }
    expect([socket.text.length, new Set(asked)]).toEqual([10, new Set([blockedBatchBytes])]);
  });
});

describe("a turn of the event loop", () => {
  test("input that takes longer waits for the next turns, in its order, and the socket with it; its end comes last", () => {
    const { socket, machine, drive, turn, work, gone } = driven();
    drive.start();
    turn();
    machine.most = 2;
    machine.onReceive = () => work(hostLimits.turnMs / 2);
    socket.receive("abcdefgh");
    expect([machine.received, socket.paused]).toEqual([["ab", "cd"], true]);
    // What the host had read already, and all that follows.
    socket.receive("ij");
    socket.handler?.onEnd();
    socket.handler?.onClose(null);
    expect([machine.ended, gone]).toEqual([0, []]);
    turn();
    expect(machine.received).toEqual(["ab", "cd", "ef", "gh"]);
    turn();
    expect([machine.received.at(-1), machine.ended, gone, socket.paused]).toEqual(["ij", 2, [null], false]);
  });

  test("is shared by all sockets: one that would have to wait behind another's work does, and is served in the next turn", () => {
    const { socket, machine, drive, turn, work, clock } = driven();
    const other = new Script();
    const quiet = new FakeSocket();
    new Drive(clock, quiet, other, () => {}).start();
    drive.start();
    turn();
    machine.onReceive = () => work(hostLimits.turnMs);
    socket.receive("x");
    quiet.receive("hello");
    expect(other.received).toEqual([]);
    turn();
    expect(other.received).toEqual(["hello"]);
  });

  test("a connection that broke, or that we cut, is not read on", () => {
    for (const end of ["reset", "abort"] as const) {
      const { socket, machine, drive, turn, work, gone } = driven();
      drive.start();
      turn();
      machine.most = 1;
      machine.onReceive = () => work(hostLimits.turnMs);
      socket.receive("ab");
      if (end === "abort") drive.abort();
      else socket.handler?.onClose(new MeshError("connection_reset", "peer", "reset"));
      turn();
      expect([machine.received, machine.ended, gone.length]).toEqual([["a"], 1, 1]);
    }
  });
});
