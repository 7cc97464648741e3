import { expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { createBunHost } from "../../host/bun/host.ts";
import type { Socket } from "../../host/host.ts";
import { FakeSocket } from "../../host/testing/fake_socket.ts";
import { Recorder } from "../../host/testing/recorder.ts";
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
