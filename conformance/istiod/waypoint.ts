/** A waypoint at a whole istiod while its documents and endpoints change, and while istiod is away. */
import { applicationPort, type RunningScene } from "../control/istiod_waypoint.ts";
import { comesTrue } from "../peer/lab/eventually.ts";
import type { Tally } from "../peer/tally.ts";
import { apiEndpoint, apiHttpRoute, apiPolicy, apiRoutes, refusedPolicy, subsets } from "./mesh.ts";
import type { Scene } from "./suite.ts";

type Check = (tally: Tally, prefix: string, scene: Scene, running: RunningScene) => Promise<void>;

const teamWorkload = `127.9.0.13:${applicationPort}`;
const loneWorkload = `127.9.0.14:${applicationPort}`;
/** What the caller can ask beside `api.shop.mesh`. */
export const also = ["web.shop.svc.cluster.local:80", "app.team.mesh:80", teamWorkload, loneWorkload];

/** Whole, and left as it was found, each. */
const checks: readonly Check[] = [
  kubernetesService,
  bindings,
  routes,
  subsetsChange,
  policyChanges,
  endpoints,
  refusal,
  away,
  httpRoute,
];

export const waypointFollows: Check = async (tally, prefix, scene, running) => {
  for (const check of checks) await check(tally, prefix, scene, running);
};

async function kubernetesService(
  tally: Tally,
  prefix: string,
  _: Scene,
  { askAlso, waypoint }: RunningScene,
): Promise<void> {
  const ask = (path: string, method = "GET") => askAlso("web.shop.svc.cluster.local:80", path, {}, method);
  const came = [await ask("/a"), await ask("/a", "POST"), await ask("/gone")];
  tally.check(
    `${prefix}: a waypoint serves a Service of Kubernetes, by its HTTPRoute and its policy`,
    /^200 v[12],403,301$/.test(came.join()) ? null : `${came}\n${waypoint.process.log().slice(-2000)}`,
  );
}

/** By each label there is; who got around the waypoint would get around its policy. */
async function bindings(
  tally: Tally,
  prefix: string,
  _: Scene,
  { ask, askAlso }: RunningScene,
): Promise<void> {
  const came = [
    ["a ServiceEntry's label", await ask("/forbidden"), "403"],
    ["a Service's label", await askAlso("web.shop.svc.cluster.local:80", "/forbidden"), "403"],
    ["a namespace's label", await askAlso("app.team.mesh:80", "/a"), "200 team"],
    ["a namespace's label", await askAlso("app.team.mesh:80", "/forbidden"), "403"],
    ["a namespace's label, by a workload's address", await askAlso(teamWorkload, "/forbidden"), "403"],
    ["a workload's label", await askAlso(loneWorkload, "/a"), "200 lone"],
    ["a workload's label", await askAlso(loneWorkload, "/forbidden"), "403"],
  ] as const;
  for (const [what, answer, wanted] of came)
    tally.check(
      `${prefix}: ${what} binds to the waypoint: ${wanted}`,
      answer === wanted ? null : `${answer}, not ${wanted}`,
    );
}

async function routes(
  tally: Tally,
  prefix: string,
  { istiod: { kubernetes } }: Scene,
  { waypoint, share }: RunningScene,
): Promise<void> {
  const log = (): string => waypoint.process.log().slice(-2000);
  await kubernetes.applyAll(apiRoutes(0));
  const second = await comesTrue(async () => (await share()).get("200 v2") === 100);
  tally.check(`${prefix}: a waypoint follows a VirtualService that changes`, second ? null : log());
  await kubernetes.applyAll(apiRoutes(50));
  const near = await comesTrue(async () => Math.abs(((await share()).get("200 v1") ?? 0) - 50) < 25);
  tally.check(`${prefix}: and its weights`, near ? null : log());
  await kubernetes.applyAll(apiRoutes(90));
}

/** The labels of subsets are those of the workloads: nothing of them is in what a waypoint gets but here. */
async function subsetsChange(
  tally: Tally,
  prefix: string,
  { istiod: { kubernetes } }: Scene,
  { waypoint, ask }: RunningScene,
): Promise<void> {
  const tester = { "x-tester": "yes" };
  await kubernetes.applyAll(subsets("stage"));
  const nobody = await comesTrue(async () => (await ask("/items/1", tester)) === "503");
  tally.check(
    `${prefix}: a waypoint follows a DestinationRule: a subset that nobody is in answers 503`,
    nobody ? null : waypoint.process.log().slice(-2000),
  );
  await kubernetes.applyAll(subsets("version"));
  const back = await comesTrue(async () => (await ask("/items/1", tester)) === "200 v2");
  tally.check(`${prefix}: and one that somebody is in again`, back ? null : await ask("/items/1", tester));
}

async function policyChanges(
  tally: Tally,
  prefix: string,
  { istiod: { kubernetes } }: Scene,
  { ask }: RunningScene,
): Promise<void> {
  await kubernetes.applyAll(apiPolicy("POST"));
  const turned = await comesTrue(
    async () => (await ask("/items/1")) === "403" && (await ask("/items/1", {}, "POST")).startsWith("200"),
  );
  tally.check(`${prefix}: a waypoint follows an AuthorizationPolicy that changes`, turned ? null : "no");
  await kubernetes.removeAll(apiPolicy("POST"));
  const open = await comesTrue(
    async () => (await ask("/items/1")).startsWith("200") && (await ask("/other")).startsWith("200"),
  );
  tally.check(`${prefix}: and one that is taken away`, open ? null : await ask("/other"));
  await kubernetes.applyAll(apiPolicy("GET"));
  const closed = await comesTrue(async () => (await ask("/other")) === "403");
  tally.check(`${prefix}: and one that comes`, closed ? null : await ask("/other"));
}

async function endpoints(
  tally: Tally,
  prefix: string,
  { istiod: { kubernetes } }: Scene,
  { ask, share }: RunningScene,
): Promise<void> {
  const tester = { "x-tester": "yes" };
  await kubernetes.removeAll(apiEndpoint("v2"));
  const gone = await comesTrue(async () => (await ask("/items/1", tester)) === "503");
  tally.check(`${prefix}: a waypoint follows an endpoint that goes`, gone ? null : "it is still called");
  const first = (await share()).get("200 v1") ?? 0;
  // What the route gives to the second version has nowhere to go.
  tally.check(`${prefix}: and calls the other one still`, first > 50 ? null : `${first} of a hundred`);
  await kubernetes.applyAll(apiEndpoint("v2"));
  const back = await comesTrue(async () => (await ask("/items/1", tester)) === "200 v2");
  tally.check(`${prefix}: and one that comes back`, back ? null : await ask("/items/1", tester));
}

/** istiod is told, what it was about is denied, and what came with it is in force. */
async function refusal(
  tally: Tally,
  prefix: string,
  { istiod }: Scene,
  { waypoint, ask }: RunningScene,
): Promise<void> {
  const { kubernetes } = istiod;
  await kubernetes.applyAll(refusedPolicy);
  const said = await comesTrue(() =>
    waypoint.process
      .lines()
      .some((line) => line.includes("a resource was refused") && line.includes("shop/unclear")),
  );
  tally.check(
    `${prefix}: a waypoint says which document it refuses`,
    said ? null : waypoint.process.log().slice(-2000),
  );
  const denied = await comesTrue(async () => (await ask("/items/1")) === "403");
  tally.check(
    `${prefix}: what a refused policy may have been about is denied`,
    denied ? null : await ask("/items/1"),
  );
  const told = await comesTrue(() => acknowledgedErrors(istiod.istiod.log()).length > 0);
  tally.check(
    `${prefix}: istiod is told of a refusal`,
    told ? null : istiod.istiod.lines().slice(-15).join("\n"),
  );
  const others = acknowledgedErrors(istiod.istiod.log()).filter((line) => !line.includes("shop/unclear"));
  tally.check(`${prefix}: and of no other`, others.length === 0 ? null : others.slice(0, 3).join("\n"));
  await kubernetes.removeAll(refusedPolicy);
  const again = await comesTrue(async () => (await ask("/items/1")).startsWith("200"));
  tally.check(`${prefix}: and carried again without it`, again ? null : await ask("/items/1"));
}

async function away(
  tally: Tally,
  prefix: string,
  { istiod }: Scene,
  { waypoint, ask }: RunningScene,
): Promise<void> {
  await istiod.stopIstiod();
  const stays = [await ask("/items/1"), await ask("/items/1", {}, "POST")];
  tally.check(
    `${prefix}: a waypoint decides on while istiod is away`,
    stays[0]?.startsWith("200") === true && stays[1] === "403" ? null : stays.join(),
  );
  await istiod.kubernetes.applyAll(apiPolicy("POST"));
  await istiod.startIstiod();
  const followed = await comesTrue(async () => (await ask("/items/1")) === "403");
  tally.check(
    `${prefix}: a waypoint has what was changed meanwhile`,
    followed ? null : waypoint.process.log().slice(-2000),
  );
  await istiod.kubernetes.applyAll(apiPolicy("GET"));
  const back = await comesTrue(async () => (await ask("/items/1")).startsWith("200"));
  tally.check(`${prefix}: and what is changed afterwards`, back ? null : await ask("/items/1"));
}

async function httpRoute(
  tally: Tally,
  prefix: string,
  { istiod: { kubernetes } }: Scene,
  { waypoint, ask }: RunningScene,
): Promise<void> {
  await kubernetes.removeAll(apiRoutes(90));
  await kubernetes.applyAll(apiHttpRoute);
  const routed = await comesTrue(async () => (await ask("/items/old/1")).startsWith("200"));
  const redirected = await comesTrue(async () => (await ask("/items/1", {}, "GET")).startsWith("302"));
  tally.check(
    `${prefix}: a waypoint goes by an HTTPRoute, as istiod gives it`,
    routed && redirected
      ? null
      : `${await ask("/items/1")}, ${await ask("/items/old/1")}\n${waypoint.process.log().slice(-2000)}`,
  );
  await kubernetes.removeAll(apiHttpRoute);
  await kubernetes.applyAll(apiRoutes(90));
}

/** As istiod logs them. */
function acknowledgedErrors(log: string): readonly string[] {
  return log.split("\n").filter((line) => /ADS:.*ACK ERROR/.test(line));
}
