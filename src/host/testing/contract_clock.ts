/** Time, order and randomness. */
import { expect, test } from "bun:test";
import type { HostFixture } from "./contract.ts";

export function contractClock(fixture: () => HostFixture): void {
  const clock = () => fixture().host.clock;

  test("timers fire in the order of their times, never early", async () => {
    const fired: string[] = [];
    const startedMs = clock().now();
    let elapsedMs = 0;
    clock().setTimer(30, () => {
      fired.push("30");
      elapsedMs = clock().now() - startedMs;
    });
    clock().setTimer(10, () => fired.push("10"));
    await fixture().until(() => fired.length === 2, "both timers");
    expect(fired).toEqual(["10", "30"]);
    expect(elapsedMs).toBeGreaterThanOrEqual(29);
  });

  test("a cancelled timer never fires; to cancel again, or late, is harmless", async () => {
    let fired = 0;
    const timer = clock().setTimer(5, () => fired++);
    timer.cancel();
    timer.cancel();
    const other = clock().setTimer(5, () => fired++);
    await fixture().pass(30);
    other.cancel();
    expect(fired).toBe(1);
  });

  test("deferred callbacks run in order, after the microtasks; those they defer run later", async () => {
    const order: string[] = [];
    clock().defer(() => {
      order.push("first");
      clock().defer(() => order.push("third"));
    });
    clock().defer(() => order.push("second"));
    queueMicrotask(() => order.push("microtask"));
    expect(order).toEqual([]);
    await fixture().until(() => order.length === 4, "all callbacks");
    expect(order).toEqual(["microtask", "first", "second", "third"]);
  });

  test("what is deferred while sockets are read runs after all that were ready", async () => {
    const { host, address } = fixture();
    const order: string[] = [];
    const listener = host.net.listen({ address: { ip: address, port: 0 } }, (socket) =>
      socket.setHandler({
        onData() {
          order.push("data");
          clock().defer(() => order.push("deferred"));
        },
        onDrain() {},
        onEnd() {},
        onClose() {},
      }),
    );
    const clients = await fixture().settled(
      Promise.all([1, 2, 3, 4].map(() => host.net.connect({ to: listener.address, timeoutMs: 60_000 }))),
    );
    await fixture().pass(20);
    // Written in one go: all four are readable before the loop looks again.
    for (const client of clients) client.write(Uint8Array.of(1));
    await fixture().until(() => order.length === 8, "everything");
    expect(order.filter((what) => what === "deferred").length).toBe(4);
    expect(order.slice(0, 2)).toEqual(["data", "data"]);
    for (const client of clients) client.reset();
    listener.close();
  });

  test("the monotonic clock does not go back; the wall clock is in this century", async () => {
    let last = clock().now();
    for (let round = 0; round < 5; round++) {
      await fixture().pass(1);
      expect(clock().now()).toBeGreaterThanOrEqual(last);
      last = clock().now();
    }
    expect(new Date(clock().wallMs()).getUTCFullYear()).toBeGreaterThan(2000);
  });

  test("random bytes fill all of a long buffer, and differ", () => {
    const { random } = fixture().host;
    const [first, second] = [new Uint8Array(200_000), new Uint8Array(200_000)];
    random.fill(first);
    random.fill(second);
    expect(Buffer.compare(first, second)).not.toBe(0);
    for (const part of [first.subarray(0, 64), first.subarray(-64)])
      expect(part.some((byte) => byte !== 0)).toBe(true);
    const floats = Array.from({ length: 100 }, () => random.float());
    expect(floats.every((float) => float >= 0 && float < 1)).toBe(true);
    expect(new Set(floats).size).toBeGreaterThan(90);
  });
}
