import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { createBunHost } from "../../host/bun/host.ts";
import type { Network, Socket } from "../../host/host.ts";
import { FakeSocket } from "../../host/testing/fake_socket.ts";
import { Recorder } from "../../host/testing/recorder.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { securedInside } from "./inner_socket.ts";

const host = createBunHost();
const plain = async (socket: Socket) => socket;

async function inside() {
  const outer = new FakeSocket();
  const client = new Recorder(await securedInside(host, outer, plain));
  return { outer, client };
}

async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 2_000 && !holds(); turn++) await Bun.sleep(1);
  expect(holds()).toBe(true);
}

test("bytes and ends go through, each way", async () => {
  const { outer, client } = await inside();
  client.socket.write(new TextEncoder().encode("question"));
  await until(() => outer.text === "question");
  outer.receive("answer");
  outer.handler?.onEnd();
  await until(() => client.text === "answer" && client.ends === 1);
  client.socket.end();
  await until(() => outer.state === "ended");
  await until(() => client.closes === 1);
  expect(client.error).toBeNull();
});

test("a stream that breaks is no end of what it said: a cut answer must not pass for a whole one", async () => {
  const { outer, client } = await inside();
  outer.receive("half an ans");
  await until(() => client.text === "half an ans");
  outer.handler?.onClose(new MeshError("h2_reset", "upstream", "the stream was reset"));
  await until(() => client.closes === 1);
  expect(client.ends).toBe(0);
  expect(client.error?.code).toBe("h2_reset");
});

test("a reset takes the stream with it, and so does a close that is never answered", async () => {
  const { outer, client } = await inside();
  client.socket.reset();
  await until(() => outer.state === "reset");
  const other = await inside();
  other.client.socket.close();
  await until(() => other.outer.state === "reset");
});

test("what fails on the way gives all of it back", async () => {
  const outer = new FakeSocket();
  const failing = securedInside(host, outer, (socket) => {
    socket.reset();
    return Promise.reject(new MeshError("tls_handshake", "upstream", "no"));
  });
  expect(await rejectionOf(failing)).toMatchObject({ code: "tls_handshake" });
  expect(outer.state).toBe("reset");
});

describe("a connection inside", () => {
  /** By hand: one socket for the caller's side, one for what is carried. */
  async function byHand() {
    const [near, far, outer] = [new FakeSocket(), new FakeSocket(), new FakeSocket()];
    const clock = new FakeClock(0);
    const net = { socketPair: async () => [near, far] } as unknown as Network;
    const client = new Recorder(await securedInside({ clock, net }, outer, plain));
    return { near, far, outer, clock, client };
  }

  test("that is closed twice is closed once, and waits once for its peer", async () => {
    const { near, clock, client } = await byHand();
    let closes = 0;
    near.close = () => void closes++;
    client.socket.close();
    client.socket.close();
    expect([closes, clock.timers]).toEqual([1, 1]);
  });

  test("whose stream is over waits for nothing when it is closed", async () => {
    const { near, far, outer, clock, client } = await byHand();
    near.close = () => {};
    far.handler?.onEnd();
    outer.handler?.onEnd();
    client.socket.close();
    expect(clock.timers).toBe(0);
  });

  test("that is lost says so once, and hears nothing more", async () => {
    const { near, outer, client } = await byHand();
    near.handler?.onDrain();
    expect(client.drains).toBe(1);
    outer.handler?.onClose(new MeshError("h2_reset", "upstream", "the stream was reset"));
    near.handler?.onEnd();
    const told = () => [client.text, client.drains, client.ends, client.closes];
    const before = told();
    near.receive("late");
    near.handler?.onDrain();
    near.handler?.onEnd();
    near.handler?.onClose(null);
    expect(told()).toEqual(before);
    expect([client.closes, client.error?.code]).toEqual([1, "h2_reset"]);
  });

  test("without a pair of sockets resets the stream, and says why", async () => {
    const outer = new FakeSocket();
    const net = {
      socketPair: async () => {
        throw new MeshError("limit_reached", "local", "no descriptors");
      },
    } as unknown as Network;
    const failing = securedInside({ clock: new FakeClock(0), net }, outer, plain);
    expect(await rejectionOf(failing)).toMatchObject({ code: "limit_reached" });
    expect(outer.state).toBe("reset");
  });

  test("whose stream breaks while it is secured fails with what broke it", async () => {
    const [near, far, outer] = [new FakeSocket(), new FakeSocket(), new FakeSocket()];
    const net = { socketPair: async () => [near, far] } as unknown as Network;
    const failing = securedInside({ clock: new FakeClock(0), net }, outer, () => {
      outer.handler?.onClose(new MeshError("h2_reset", "upstream", "the stream was reset"));
      return Promise.reject(new MeshError("tls_handshake", "upstream", "it ended"));
    });
    expect(await rejectionOf(failing)).toMatchObject({ code: "h2_reset" });
  });
});
