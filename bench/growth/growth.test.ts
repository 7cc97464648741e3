import { expect, test } from "bun:test";
import type { Lab } from "../../conformance/peer/lab/lab.ts";
import { convertDocuments } from "../../src/mesh/convert/convert_documents.ts";
import { parseDocuments } from "../../src/mesh/documents/parse.ts";
import type { Run } from "../tunnel/report.ts";
import { summarize } from "../tunnel/report.ts";
import { curve } from "./curve.ts";
import { idleTable } from "./idle.ts";
import { change, documents, ztunnelMesh } from "./mesh.ts";
import { base, growths, idlePoint } from "./points.ts";
import { growthTable } from "./table.ts";

// What the documents name of it.
const lab = { place: { client: { name: "client" } } } as unknown as Lab;

function convert(texts: Readonly<Record<string, string>>) {
  const files = Object.entries(texts).map(([path, text]) => ({ path, text }));
  const { documents: parsed, errors } = parseDocuments(files);
  expect(errors).toEqual([]);
  return convertDocuments(parsed, {
    trustDomain: "cluster.local",
    network: "",
    clusterId: "c1",
    rootNamespace: "istio-system",
  });
}

test("a point's documents are a mesh of its size, and none is refused", () => {
  const { workloads, services, policies, errors } = convert(
    documents(lab, { ...base, services: 40, peers: 3, changes: true }),
  );
  expect(errors).toEqual([]);
  expect([workloads.length, services.length, policies.length]).toEqual([44, 41, 42]);
  const others = policies.filter(({ name }) => name !== "callers");
  expect(new Set(others.map(({ namespace, scope }) => `${namespace} ${scope}`))).toEqual(
    new Set(["shop NAMESPACE"]),
  );
});

test("a large mesh comes in several files", () => {
  const files = documents(lab, { ...base, services: 5_000, changes: true });
  expect(Object.keys(files)).toEqual(["part_0.yaml", "part_1.yaml", "part_2.yaml", "changing.yaml"]);
});

test("a change is one of a workload, a service and a policy", () => {
  const [before, after] = [convert({ f: change(1) }), convert({ f: change(2) })];
  for (const kind of ["workloads", "services", "policies"] as const) {
    expect(before[kind]).toHaveLength(1);
    expect(before[kind]).not.toEqual(after[kind]);
  }
});

test("ztunnel gets as many of each", () => {
  const { workloads, services, policies } = ztunnelMesh({ ...base, services: 300 });
  expect([workloads, services, policies].map((items) => new Set(items).size)).toEqual([300, 300, 300]);
});

test("one thing grows at a time, and every row has a name of its own", () => {
  for (const quick of [true, false]) {
    const rows = growths(quick);
    expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
    const [first] = rows;
    for (const { name, point } of rows.slice(1)) {
      const grown = Object.entries(point).filter(
        ([key, value]) => value !== Object.entries(first?.point ?? {}).find(([own]) => own === key)?.[1],
      );
      expect([name, grown.length]).toEqual([name, name.endsWith("a change a second") ? grown.length : 1]);
    }
  }
});

test("a row has subject, point, and both roles in one cell; what was not measured is a question mark", () => {
  const run = (value: number): Run => ({
    subject: "fairlead: 10 connections",
    round: value,
    measures: {
      "CPU us/request outbound": value,
      "CPU us/request inbound": value * 2,
      "p99 ms": value / 10,
    },
  });
  const [, , row] = growthTable(summarize([run(10), run(12), run(11)])).split("\n");
  expect(row).toBe(
    "| 10 connections | fairlead | 11 (10–12) / 22 (20–24) | 1.1 (1–1.2) | ? / ? | ? | ? / ? | ? / ? | ? / ? | ? / ? |",
  );
});

test("what is open and idle is the row of most connections", () => {
  expect([true, false].map((quick) => idlePoint(quick).point.connections)).toEqual([500, 10_000]);
});

test("idle connections have a column for each subject, with what was before and afterwards", () => {
  const run = (subject: string, value: number): Run => ({
    subject: `${subject}: 10,000 connections`,
    round: 1,
    measures: {
      "minutes with nothing sent": 60,
      "idle CPU ms a second outbound": value,
      "idle CPU ms a second inbound": value + 1,
      "before: MB anonymous outbound": value + 2,
      "before: MB anonymous inbound": value + 3,
      "connections that answer afterwards": value * 1_000,
    },
  });
  const lines = idleTable(summarize([run("ztunnel", 1), run("fairlead", 10)])).split("\n");
  expect(lines).toContain("| outbound / inbound | ztunnel | fairlead |");
  expect(lines).toContain("| minutes with nothing sent | 60 | 60 |");
  expect(lines).toContain("| idle CPU ms/s | 1 / 2 | 10 / 11 |");
  expect(lines).toContain("| MB anonymous, before | 3 / 4 | 12 / 13 |");
  expect(lines).toContain("| connections that answer afterwards | 1,000 | 10,000 |");
  expect(lines).toContain("| p99 ms, afterwards | ? | ? |");
});

test("a reason is about what has grown in a row, not about what is the same in each", () => {
  const [first, ...others] = growths(false).map(({ name }) => `fairlead: ${name}`);
  const at = (name: string, value: number): Run => ({
    subject: name,
    round: 1,
    measures: { "MB anonymous outbound": value, "CPU us/request outbound": value },
  });
  const lines = curve(summarize([at(first ?? "", 1), ...others.map((name) => at(name, 9))]));
  expect(lines).toHaveLength(2 * others.length);
  const reasonOf = (row: string, said: string) =>
    lines
      .find((line) => line.includes(`, ${row}: ${said}`))
      ?.split(". ")
      .at(-1);
  expect(reasonOf("10,000 connections, 10 services, 1 peer", "MB")).toStartWith("What each open connection");
  expect(reasonOf("1,000 connections, 10,000 services, 1 peer", "MB")).toStartWith("What each service");
  expect(reasonOf("1,000 connections, 10 services, 1,000 peers", "MB")).toStartWith("Each peer has a tunnel");
  expect(reasonOf("1,000 connections, 10 services, 100 peers", "CPU µs/request")).toStartWith(
    "Requests that",
  );
  expect(reasonOf("1,000 connections, 10 services, 1 peer, a change a second", "CPU µs/request")).toStartWith(
    "Each second the files are read twice",
  );
});

test("what has grown beyond its base has a line with the reason, and what only wavers has none", () => {
  const run = (subject: string, round: number, measures: Run["measures"]): Run => ({
    subject,
    round,
    measures,
  });
  const at = (name: string, values: readonly number[], measure = "p99 ms") =>
    values.map((value, index) => run(name, index + 1, { [measure]: value }));
  const lines = (...runs: readonly Run[]) => curve(summarize(runs));
  const first = at("fairlead: 10 services", [1, 1.2]);
  expect(lines(...first, ...at("fairlead: 1,000 services", [1.4, 1.6]))).toEqual([]);
  // More than its base by the median, and not by each round.
  expect(lines(...first, ...at("fairlead: 1,000 services", [1.1, 9]))).toEqual([]);
  const [line, ...others] = lines(...first, ...at("fairlead: 1,000 services, a change a second", [3, 3.6]));
  expect(others).toEqual([]);
  expect(line).toStartWith("- fairlead, 1,000 services, a change a second: p99 ms 3x. Documents are read,");
  expect(lines(...first, ...at("fairlead: 7 moons", [3, 3.6]))).toEqual([
    "- fairlead, 7 moons: p99 ms 3x. Not explained.",
  ]);
  const memory = (name: string, value: number) => at(name, [value], "MB anonymous inbound");
  expect(lines(...memory("ztunnel: 10 services", 2), ...memory("ztunnel: 1,000 services", 8))).toEqual([
    "- ztunnel, 1,000 services: MB anonymous 4x inbound. Not looked into.",
  ]);
});
