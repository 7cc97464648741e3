/** Ends of one socket at times that the runtime seldom has, by a native socket that says what it is told to say. */
import { describe, expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import type { Socket as NetSocket } from "node:net";
import { assert } from "../../base/assert.ts";
import { IpAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import { ResetTurns, type SocketContext } from "./native.ts";
import { NodeSocket } from "./socket.ts";
import { UnsentBytes } from "./unsent.ts";

const endMs = 2;
const perTurn = hostLimits.turnMs / endMs;
const settle = () => new Promise((resolve) => setTimeout(resolve, 1));

/** Of `node:net` what a socket that is read and ends is asked for. */
class Native extends EventEmitter {
  readonly writableLength = 0;
  readonly unread: Uint8Array[] = [];
  destroyed = false;

  pause(): void {}
  resume(): void {}
  read = () => this.unread.shift() ?? null;

  resetAndDestroy(): void {
    this.destroyed = true;
  }

  /** As the runtime tells of a reset. */
  break(): void {
    this.destroyed = true;
    this.emit("error", Object.assign(new Error("reset"), { code: "ECONNRESET" }));
    this.emit("close");
  }
}

/** Sockets of one loop, whose handlers take two milliseconds for each end. */
function crowd(count: number) {
  let nowMs = 0;
  const deferred: (() => void)[] = [];
  const defer = (work: () => void): void => void deferred.push(work);
  const clock = { now: () => nowMs, wallMs: () => 0, setTimer: () => ({ cancel() {} }), defer };
  const context: SocketContext = {
    ...{ clock, resets: new ResetTurns(clock), unsent: new UnsentBytes() },
    ...{ maxOpen: count, open: 0, lingering: 0 },
  };
  const ip = IpAddress.parse("127.0.0.1");
  assert(ip !== null, "loopback");
  const end = { ip, port: 1 };
  const told: string[] = [];
  const tell = (what: string): void => {
    told.push(what);
    nowMs += endMs;
  };
  const natives = Array.from({ length: count }, () => new Native());
  const sockets = natives.map((native, index) => {
    const socket = new NodeSocket(
      context,
      native as unknown as NetSocket,
      { local: end, remote: end },
      "peer",
    );
    socket.setHandler({
      onData: (bytes) => void told.push(`${index} says ${bytes}`),
      onDrain() {},
      onEnd: () => tell(`${index} ended`),
      onClose: (error) => tell(`${index} is over, ${error?.code ?? "in order"}`),
    });
    return socket;
  });
  const turn = (): void => {
    for (const work of deferred.splice(0)) work();
  };
  return { natives, sockets, told, turn };
}

describe("connections that end at the same moment", () => {
  const named = (what: string, count: number) => Array.from({ length: count }, (_, at) => `${at} ${what}`);

  test("are told of in turns, in their order, each once", async () => {
    const { natives, told, turn } = crowd(3 * perTurn);
    for (const native of natives) native.emit("end");
    expect(told.length).toBe(perTurn);
    turn();
    expect(told.length).toBe(2 * perTurn);
    turn();
    turn();
    await settle();
    expect(told).toEqual(named("ended", natives.length));
  });

  test("are told of in turns when they break, too", async () => {
    const { natives, told, turn } = crowd(3 * perTurn);
    for (const native of natives) native.break();
    await settle();
    expect(told.length).toBe(perTurn);
    for (let turns = 0; turns < 3; turns++) turn();
    expect(told).toEqual(named("is over, connection_reset", natives.length));
  });

  test("one that was told of its end is told of its break alone when that comes", async () => {
    const { natives, told } = crowd(1);
    natives[0]?.emit("end");
    natives[0]?.break();
    await settle();
    expect(told).toEqual(["0 ended", "0 is over, connection_reset"]);
  });

  test("one whose turn has not come is told what it still had, its end and its break, in this order and once", async () => {
    const { natives, told, turn } = crowd(perTurn + 1);
    for (const native of natives) native.emit("end");
    const last = natives.at(-1);
    last?.unread.push(Uint8Array.of(7));
    last?.break();
    await settle();
    expect(told.length).toBe(perTurn);
    for (let turns = 0; turns < 3; turns++) turn();
    await settle();
    const which = natives.length - 1;
    expect(told.slice(perTurn)).toEqual([
      `${which} says 7`,
      `${which} ended`,
      `${which} is over, connection_reset`,
    ]);
  });

  test("one that was reset and whose turn has not come is told of no end that comes then", async () => {
    const { natives, sockets, told, turn } = crowd(perTurn + 1);
    for (const native of natives.slice(0, -1)) native.emit("end");
    sockets.at(-1)?.reset();
    await settle();
    natives.at(-1)?.emit("end");
    for (let turns = 0; turns < 3; turns++) turn();
    await settle();
    expect(told.slice(perTurn)).toEqual([`${natives.length - 1} is over, in order`]);
  });

  test("one that is reset before its turn comes is told no end any more, and is over once", async () => {
    const { natives, sockets, told, turn } = crowd(perTurn + 1);
    for (const native of natives) native.emit("end");
    sockets.at(-1)?.reset();
    await settle();
    for (let turns = 0; turns < 3; turns++) turn();
    await settle();
    expect(told.slice(perTurn)).toEqual([`${natives.length - 1} is over, in order`]);
  });
});
