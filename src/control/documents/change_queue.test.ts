import { expect, test } from "bun:test";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { ChangeQueue } from "./change_queue.ts";

const tenant = (actor: string) => ({ actor, isOfMesh: false });
const root = { actor: "root", isOfMesh: true };

/** Tasks that end when they are told to, in a queue of a few places. */
class Turns {
  readonly queue = new ChangeQueue({ max: 8, reserved: 2, each: 3 });
  readonly begun: string[] = [];
  #end: (() => void)[] = [];

  ask(name: string, owner: Parameters<ChangeQueue["run"]>[0]): boolean {
    const run = this.queue.run(owner, () => {
      this.begun.push(name);
      return new Promise<void>((resolve) => this.#end.push(resolve));
    });
    return run !== null;
  }

  async end(): Promise<void> {
    this.#end.shift()?.();
    for (let turn = 0; turn < 10; turn++) await Promise.resolve();
  }
}

test("one at a time; callers take turns, and what is the control plane's own comes first", async () => {
  const turns = new Turns();
  for (const name of ["a1", "a2", "a3"]) expect(turns.ask(name, tenant("a"))).toBe(true);
  turns.ask("b1", tenant("b"));
  turns.ask("root1", root);
  turns.ask("ours", "ours");
  expect(turns.begun).toEqual(["a1"]);
  for (let count = 0; count < 6; count++) await turns.end();
  expect(turns.begun).toEqual(["a1", "ours", "a2", "b1", "root1", "a3"]);
});

test("a task that fails is its caller's matter, and the next one runs", async () => {
  const queue = new ChangeQueue();
  const failing = queue.run(tenant("a"), () => Promise.reject(new Error("no")));
  const next = queue.run(tenant("a"), async () => "done");
  expect(await rejectionOf(failing ?? Promise.resolve())).toMatchObject({ message: "no" });
  expect(await next).toBe("done");
});

test("no caller fills it: each has a share, others find room, and the mesh's administrators always", () => {
  const turns = new Turns();
  turns.ask("under way", "ours");
  const asked = (name: string) =>
    [1, 2, 3, 4, 5].filter((at) => turns.ask(`${name}${at}`, tenant(name))).length;
  expect(asked("a")).toBe(3);
  expect(asked("b")).toBe(2);
  expect(asked("c")).toBe(1);
  expect(asked("d")).toBe(0);
  expect(turns.ask("root1", root)).toBe(true);
  expect(turns.ask("root2", root)).toBe(true);
  expect(turns.ask("root3", root)).toBe(false);
  expect(turns.queue.length).toBe(8);
});
