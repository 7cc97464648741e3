import { expect, test } from "bun:test";
import { WatchSource } from "../base/watch.ts";
import { convertDocuments } from "../mesh/convert/convert_documents.ts";
import type { DocumentsInForce } from "../mesh/documents/in_force.ts";
import { parseDocuments } from "../mesh/documents/parse.ts";
import { diffStates, emptyState } from "../mesh/store/change.ts";
import { MeshStore } from "../mesh/store/store.ts";
import { context } from "../mesh/testing/convert_text.ts";
import type { TrafficPlan } from "../mesh/traffic/traffic_plan.ts";
import { TrafficPlanner } from "./traffic_planner.ts";

const clock = {
  now: () => 0,
  wallMs: () => 0,
  setTimer: () => ({ cancel: () => {} }),
  defer: (callback: () => void) => queueMicrotask(callback),
};

function waypoint(namespace: string, address: string): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: waypoint, namespace: ${namespace}, labels: {istio.io/waypoint-for: all}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${address}, serviceAccount: waypoint}
---
`;
}

function service(namespace: string, address: string): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: ${namespace}, labels: {istio.io/use-waypoint: waypoint}}
spec: {hosts: [web.${namespace}.mesh], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: ${address}}]}
---
`;
}

/** Says of every service what only those may be told that its namespace or its waypoint's routes. */
function routes(namespace: string, hosts: string): string {
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all, namespace: ${namespace}}
spec: {hosts: [${hosts}], http: [{name: of-${namespace}, directResponse: {status: 200}}]}
---
`;
}

function limit(namespace: string): string {
  return `apiVersion: fairlead.dev/v1
kind: RateLimit
metadata: {name: all, namespace: ${namespace}}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}], rules: [{limit: {requests: 1, unit: SECOND}}]}
---
`;
}

interface Planned {
  readonly plans: readonly TrafficPlan[];
  readonly set: (text: string) => Promise<void>;
}

function planned(text: string, waypoints: readonly string[]): Planned {
  const store = new MeshStore();
  let state = emptyState;
  const read = (given: string): DocumentsInForce => {
    const { documents, errors } = parseDocuments([{ path: "f", text: given }]);
    expect(errors).toEqual([]);
    const conversion = convertDocuments(documents, context);
    const change = diffStates(state, conversion);
    state = conversion;
    if (change !== null) store.apply(change);
    return { documents, refused: [] };
  };
  const documents = new WatchSource<DocumentsInForce | null>(read(text));
  const plans: TrafficPlan[] = [];
  void new TrafficPlanner({
    clock,
    store,
    documents,
    rootNamespace: "istio-system",
    waypoints: () =>
      [...store.workloads()].filter(({ namespace, name }) => waypoints.includes(`${namespace}/${name}`)),
    onPlan: (plan) => void plans.push(plan),
  });
  return {
    plans,
    set: async (next) => {
      documents.set(read(next));
      for (let i = 0; i < 50; i++) await Promise.resolve();
    },
  };
}

const names = (plan: TrafficPlan | undefined, key: string) =>
  plan?.routes.get(key)?.http.map(({ name }) => name);
const mesh =
  waypoint("a", "10.0.0.1") + waypoint("b", "10.0.0.2") + service("a", "10.1.0.1") + service("b", "10.1.0.2");

test("each waypoint of a process routes its own services, by its own namespace's documents and theirs", () => {
  const everything = mesh + routes("a", '"*.mesh"') + routes("b", "web.b.mesh") + limit("a");
  const { plans } = planned(everything, ["a/waypoint", "b/waypoint"]);
  const [plan] = plans;
  expect(names(plan, "a/web.a.mesh:80")).toEqual(["of-a"]);
  // Another tenant's wildcard is not for it, though one process serves both.
  expect(names(plan, "b/web.b.mesh:80")).toEqual(["of-b"]);
  expect(plan?.rateLimits.map(({ targets }) => targets)).toEqual([
    [{ kind: "service", service: "a/web.a.mesh" }],
  ]);
});

test("one alone has its Gateway's rate limits for all that passes it", () => {
  const { plans } = planned(mesh + limit("a"), ["a/waypoint"]);
  expect(plans[0]?.rateLimits.map(({ targets }) => targets)).toEqual([[{ kind: "waypoint" }]]);
});

test("a change of documents is planned again, once, and what did not change stays the same value", async () => {
  const { plans, set } = planned(mesh + routes("a", "web.a.mesh"), ["a/waypoint"]);
  await set(mesh + routes("a", "web.a.mesh") + routes("b", "web.b.mesh") + service("c", "10.1.0.3"));
  const last = plans.at(-1);
  expect(last?.routes.size).toBe(2);
  expect(last?.routes.get("a/web.a.mesh:80")).toBe(
    plans[0]?.routes.get("a/web.a.mesh:80") ?? expect.anything(),
  );
  expect(plans.length).toBeLessThanOrEqual(3);
});
