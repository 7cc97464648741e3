import { expect, test } from "bun:test";
import { convert, document } from "../testing/convert_text.ts";
import { ip, service, workload } from "../testing/fixture.ts";
import type { Workload } from "../workload.ts";
import { diffStates, emptyState, sameValue } from "./change.ts";

test("nothing changed is no change, also when everything was read again", () => {
  const texts = [
    document("WorkloadEntry", "shop/w", "labels: {app: a} | {address: 10.0.0.1}"),
    document(
      "ServiceEntry",
      "shop/s",
      "{hosts: [s.s], addresses: [10.88.0.0/16], resolution: STATIC, ports: [{number: 80, name: http}], workloadSelector: {labels: {app: a}}}",
    ),
    document("AuthorizationPolicy", "shop/p", "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}"),
  ];
  expect(diffStates(convert(texts), convert(texts))).toBeNull();
  expect(diffStates(emptyState, emptyState)).toBeNull();
});

test("a change holds what differs and nothing else", () => {
  const w = workload("w", { addresses: [ip("10.0.0.1")] });
  const s = service("s", { 80: 80 });
  const before = { workloads: [w, workload("gone")], services: [s], policies: [] };
  const after = { workloads: [{ ...w, capacity: 2 }, workload("new")], services: [s], policies: [] };
  const change = diffStates(before, after);
  expect(change).toEqual({
    workloads: { upsert: [{ ...w, capacity: 2 }, workload("new")], remove: [workload("gone").uid] },
  });
});

test("what differs is the same whether the others stand where they stood or not", () => {
  const [a, b, c] = [workload("a"), workload("b"), workload("c")];
  const changed = { ...b, capacity: 2 };
  const diff = (before: readonly Workload[], after: readonly Workload[]) =>
    diffStates({ ...emptyState, workloads: before }, { ...emptyState, workloads: after });
  const expected = { workloads: { upsert: [changed], remove: [] } };
  expect(diff([a, b, c], [a, changed, c])).toEqual(expected);
  expect(diff([a, b, c], [{ ...a }, changed, { ...c }])).toEqual(expected);
  expect(diff([a, b, c], [changed, c, a])).toEqual(expected);
  expect(diff([a, b, c], [c, b, a])).toBeNull();
  expect(diff([a, b], [a, c])).toEqual({ workloads: { upsert: [c], remove: [b.uid] } });
});

test("a policy that moved in its file changed: denials name its place", () => {
  const policy = document("AuthorizationPolicy", "shop/p", "{rules: [{}]}");
  const change = diffStates(convert([policy]), convert([`# one more line\n${policy}`]));
  expect(change?.policies?.upsert?.map((entry) => entry.location?.line)).toEqual([2]);
});

const pairs: readonly (readonly [unknown, unknown, boolean])[] = [
  [1, 1, true],
  [Number.NaN, Number.NaN, true],
  [null, {}, false],
  [[1, 2], [1, 2], true],
  [[1, 2], [2, 1], false],
  [{ a: 1 }, { a: 1, b: undefined }, false],
  [{ a: undefined }, { b: undefined }, false],
  [new Map([["a", 1]]), new Map([["a", 1]]), true],
  [new Map([["a", 1]]), new Map([["b", 1]]), false],
  [ip("10.0.0.1"), ip("10.0.0.1"), true],
  [ip("10.0.0.1"), ip("10.0.0.2"), false],
  [ip("10.0.0.1"), { bytes: ip("10.0.0.1").bytes, text: "10.0.0.1" }, false],
  [[], {}, false],
];

test("equality looks inside", () => {
  for (const [a, b, same] of pairs) {
    expect(sameValue(a, b)).toBe(same);
    expect(sameValue(b, a)).toBe(same);
  }
});
