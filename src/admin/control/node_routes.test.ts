/** However many hosts there are, no one else waits for a list of them. */
import { expect, test } from "bun:test";
import { ControlWorld } from "./testing/control_world.ts";

test("hosts are told in slices; one of them, and how many there are, without reading the others", async () => {
  const control = new ControlWorld();
  const count = 2_000;
  for (let index = 0; index < count; index++)
    control.nodes.push(control.node(`host-${index}`, { kind: "node", node: `host-${index}` }, "mark"));
  let elapsedMs = 0;
  // Each look at the clock finds that a millisecond has passed.
  Object.defineProperty(control, "nowMs", { get: () => elapsedMs++ });
  let turns = 0;
  let over = false;
  const turn = (): void => {
    turns++;
    if (!over) setTimeout(turn, 0);
  };
  turn();
  const all = await control.ask("root", "GET", "/v1/nodes");
  const turnsForAll = turns;
  expect((JSON.parse(all.text) as { nodes: unknown[] }).nodes).toHaveLength(count);
  expect(turnsForAll).toBeGreaterThan(count / 50);

  const one = await control.ask("root", "GET", "/v1/nodes/host-7");
  expect(JSON.parse(one.text)).toMatchObject({ node: "host-7" });
  expect((await control.ask("root", "GET", "/v1/nodes/nobody")).status).toBe(404);
  const status = await control.ask("root", "GET", "/v1/status");
  expect(JSON.parse(status.text)).toMatchObject({ nodes: count });
  over = true;
});
