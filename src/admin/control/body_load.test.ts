import { expect, test } from "bun:test";
import { controlAdminLimits } from "../../base/limits/control.ts";
import { BodyLoad } from "./body_load.ts";
import { ControlWorld } from "./testing/control_world.ts";

const { maxApplyBytes, maxBodyBytes, maxHeldBodyBytes } = controlAdminLimits;

test("callers who take all they can leave room for the next one, and small bodies have room of their own", () => {
  const load = new BodyLoad();
  const held = Array.from({ length: 6 }, (_, index) => load.open(`tenant ${index}`, maxApplyBytes));
  for (const one of held) expect(() => fill(one)).toThrow("use too much memory");
  expect(load.heldBytes).toBeLessThan(maxHeldBodyBytes);
  // A newcomer has its share all the same, and a revocation its own room.
  load.open("late", maxApplyBytes).take(256 * 1024);
  load.open("tenant 0", maxBodyBytes).take(maxBodyBytes);
  for (const one of held) {
    one.release();
    one.release();
  }
  expect(load.heldBytes).toBe(256 * 1024 + maxBodyBytes);
});

function fill(held: ReturnType<BodyLoad["open"]>): void {
  for (let step = maxApplyBytes; ; step = Math.max(1, step / 2)) {
    try {
      for (;;) held.take(step);
    } catch (thrown) {
      if (step <= 1) throw thrown;
    }
  }
}

test("bodies that never end are refused past a share; one that is given up gives its room back", async () => {
  const control = new ControlWorld();
  const bodies: ReadableStreamDefaultController<Uint8Array>[] = [];
  const answers: Promise<Response>[] = [];
  const send = (): void => {
    const body = new ReadableStream<Uint8Array>({ start: (controller) => void bodies.push(controller) });
    const headers = { authorization: "blue", "content-type": "application/json" };
    const init = { method: "POST", headers, body, duplex: "half" };
    const request = new Request("https://control.example:15012/v1/apply", init);
    answers.push(Promise.resolve(control.app.fetch(request, control.peer)));
  };
  for (let count = 0; count < 4; count++) send();
  for (const body of bodies) body.enqueue(new Uint8Array(15 * 1024 * 1024).fill(32));
  const refused = await Promise.race(answers);
  expect(refused.status).toBe(429);
  // The others are cut, and what they held is there again.
  for (const body of bodies) {
    try {
      body.error(new Error("given up"));
    } catch {}
  }
  expect((await Promise.all(answers)).map(({ status }) => status).sort()).toEqual([429, 500, 500, 500]);
  const apply = { documents: [{ path: "p", text: " ".repeat(15 * 1024 * 1024) }] };
  expect((await control.ask("blue", "POST", "/v1/apply", apply)).status).not.toBe(429);
});
