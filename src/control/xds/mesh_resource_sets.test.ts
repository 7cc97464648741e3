import { expect, test } from "bun:test";
import { MeshStore } from "../../mesh/store/store.ts";
import { ip, service, workload } from "../../mesh/testing/fixture.ts";
import { MeshResourceSets } from "./mesh_resource_sets.ts";

test("a change that comes in parts is pushed once, when all of it is there, and not looked at before", () => {
  const store = new MeshStore();
  let pushes = 0;
  const sets = new MeshResourceSets(store, () => void pushes++);
  const names = () => [...sets.addresses.all()].map(({ name }) => name).sort();
  const cart = workload("cart", { addresses: [ip("10.0.0.1")] });
  store.apply({ workloads: { upsert: [cart] }, isPart: true });
  expect([pushes, sets.flush(), names()]).toEqual([0, false, []]);
  store.apply({ services: { upsert: [service("cart", { 80: 80 })] } });
  expect([pushes, sets.flush()]).toEqual([1, true]);
  expect(names().length).toBe(2);
  store.apply({ services: { remove: ["shop/cart.shop"] } });
  expect([pushes, sets.flush(), names()]).toEqual([2, true, [cart.uid]]);
  sets.close();
  store.apply({ workloads: { remove: [cart.uid] } });
  expect(pushes).toBe(2);
});
