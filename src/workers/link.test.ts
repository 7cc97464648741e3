import { expect, test } from "bun:test";
import { workerLimits } from "../base/limits/host.ts";
import { FakeSocket } from "../host/testing/fake_socket.ts";
import { FrameReader, writeFrame } from "./frames.ts";
import { NodeLink } from "./link.ts";
import type { Told } from "./messages.ts";

function scene(take: (told: Told) => unknown = () => null) {
  const socket = new FakeSocket();
  const lost: (string | null)[] = [];
  const link = new NodeLink(socket, { take, lost: (error) => void lost.push(error?.message ?? null) });
  const said = () => [...new FrameReader().receive(Uint8Array.from(socket.written))];
  const told = (seq: number, one: Told) => socket.handler?.onData(writeFrame({ seq, told: one }));
  return { socket, link, lost, said, told };
}

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
};

test("one after the other, and each is confirmed when it is in force", async () => {
  const first = Promise.withResolvers<null>();
  const taken: string[] = [];
  const { told, said } = scene(({ kind }) => {
    taken.push(kind);
    return kind === "serve" ? first.promise : { answer: kind };
  });
  told(1, { kind: "serve" });
  told(2, { kind: "watch", on: true });
  await turns();
  expect([taken, said()]).toEqual([["serve"], []]);
  first.resolve(null);
  await turns();
  expect(taken).toEqual(["serve", "watch"]);
  expect(said()).toEqual([
    { kind: "done", seq: 1, answer: null },
    { kind: "done", seq: 2, answer: { answer: "watch" } },
  ]);
});

test("nothing but the mesh waits for the mesh, and all is confirmed in order", async () => {
  const compiled = [Promise.withResolvers<null>(), Promise.withResolvers<null>()];
  const lists = Promise.withResolvers<null>();
  const taken: string[] = [];
  const { told, said } = scene(({ kind }) => {
    taken.push(kind);
    if (kind === "mesh") return compiled[taken.filter((one) => one === "mesh").length - 1]?.promise;
    return kind === "trust" ? lists.promise : kind;
  });
  const mesh = { kind: "mesh", change: {} } as const;
  const trust = { kind: "trust", rootsPem: "", lists: [] } as const;
  for (const [at, one] of [mesh, trust, mesh, trust, { kind: "serve" } as const, trust].entries())
    told(at + 1, one);
  await turns();
  expect([taken, said()]).toEqual([["mesh", "trust"], []]);
  compiled[0]?.resolve(null);
  await turns();
  expect([taken, said()]).toEqual([["mesh", "trust", "mesh"], [{ kind: "done", seq: 1, answer: null }]]);
  lists.resolve(null);
  await turns();
  // The last waits for `serve`, which waits for all before it.
  expect(taken).toEqual(["mesh", "trust", "mesh", "trust"]);
  expect(said()).toHaveLength(2);
  compiled[1]?.resolve(null);
  await turns();
  expect(taken).toEqual(["mesh", "trust", "mesh", "trust", "serve", "trust"]);
  expect(said().map((one) => (one as { seq: number }).seq)).toEqual([1, 2, 3, 4, 5, 6]);
});

test("what is in force after the end is not confirmed any more, and what waited is not taken", async () => {
  const first = Promise.withResolvers<null>();
  const taken: string[] = [];
  const { socket, told, said } = scene(({ kind }) => {
    taken.push(kind);
    return first.promise;
  });
  told(1, { kind: "mesh", change: {} });
  told(2, { kind: "serve" });
  socket.handler?.onClose(null);
  first.resolve(null);
  await turns();
  expect([taken, said()]).toEqual([["mesh"], []]);
});

test("what cannot be put in force ends it, and the node hears why", async () => {
  const { told, said, lost } = scene(() => {
    throw new TypeError("no such thing");
  });
  told(1, { kind: "serve" });
  await turns();
  expect(said()).toMatchObject([{ kind: "failed", message: expect.stringContaining("no such thing") }]);
  expect(lost).toHaveLength(1);
});

test("a node that is gone, or says what cannot be read, ends it", async () => {
  const gone = scene();
  gone.socket.handler?.onClose(null);
  gone.socket.handler?.onEnd();
  expect(gone.lost).toEqual([null]);
  const broken = scene();
  broken.socket.handler?.onData(writeFrame({ seq: 1, told: { kind: "sing" } }));
  expect(broken.lost).toEqual(["a frame of a worker cannot be read: what is told"]);
});

test("records are left out past the bound of what waits for the node, and come again when there is room", () => {
  const { socket, link, said } = scene();
  const record = (message: string) =>
    link.sayRecord({ kind: "record", wallMs: 1, level: "info", message, fields: {} });
  socket.room = 0;
  const { maxRecordBytes } = workerLimits;
  record("x".repeat(maxRecordBytes - 100));
  record("at the bound");
  record("one more");
  socket.room = Number.POSITIVE_INFINITY;
  socket.handler?.onDrain();
  record("again");
  expect(said().map((value) => (value as { message: string }).message.slice(0, 12))).toEqual([
    "x".repeat(12),
    "at the bound",
    "again",
  ]);
});
