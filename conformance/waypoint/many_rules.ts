/** Policies of ten thousand rules in a real waypoint, applied and changed while requests go on: decisions, turns, memory. */
import { request as httpRequest } from "node:http";
import { bulkHangMs, comesTrue } from "../peer/lab/eventually.ts";
import { applicationOf, openSmallStage, type SmallStage } from "./small_stage.ts";

type Tell = (name: string, fault: string | null) => void;

const number = 42;
const rules = 10_000;
/** Istio's schema takes 512. */
const rulesPerPolicy = 500;
/** No turn of the event loop is longer; in CPU time, see `TurnMeter`. */
const longestTurnMs = 50;
/** Of the whole process. Most of it is what the collector has not taken up yet, which goes by the machine's load. */
const mostResidentBytes = 1536 * 1024 * 1024;
/** That live: 80 MB of one set of rules, and sometimes of one more whose end the collector has not seen; not of all before. */
const mostLiveBytes = 320 * 1024 * 1024;
/** A collector's pause, or a neighbour's load, does not come with each; what a change costs does. */
const changes = 3;

interface Shape {
  readonly name: string;
  /** In a rule, for one path and one header; the first of them lets `/go` pass. */
  readonly rule: (index: number, mark: string) => string;
}

const shapes: readonly Shape[] = [
  {
    name: "of paths and headers",
    rule: (index, mark) =>
      `{to: [{operation: {methods: [GET], paths: ["/r/${index}"${index === 0 ? ', "/go"' : ""}]}}], when: [{key: "request.headers[x-user]", values: [user-${index}, ${mark}]}]}`,
  },
  {
    // Nothing of these can be looked up: each is tried.
    name: "of suffixes",
    rule: (index, mark) =>
      `{to: [{operation: {methods: [GET], paths: ["*/${index}"${index === 0 ? ', "*go"' : ""}], notHosts: [${mark}.example]}}], when: [{key: "request.headers[x-user]", values: ["*-${index}", "*${mark}"]}]}`,
  },
];

function policies(shape: Shape, mark: string): string {
  return Array.from({ length: rules / rulesPerPolicy }, (_, at) => {
    const own = Array.from({ length: rulesPerPolicy }, (_none, index) =>
      shape.rule(at * rulesPerPolicy + index, mark),
    );
    return policy(`many-${at}`, own);
  }).join("---\n");
}

function policy(name: string, own: readonly string[]): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}]
  rules:
  - ${own.join("\n  - ")}
`;
}

/** @returns the reason for which turns were not looked at; null when they were. */
export async function tryManyRules(directory: string, tell: Tell): Promise<string | null> {
  const { address, port } = applicationOf(number);
  const application = Bun.serve({ hostname: address, port, fetch: () => new Response("served") });
  let stage: SmallStage | null = null;
  try {
    stage = await openSmallStage(directory, { number, flags: [], documents: "", measuresTurns: true });
    for (const shape of shapes) await tryShape(stage, shape, tell);
    await tryOneTooLarge(stage, tell);
    return stage.turns().length === 0 ? "turns are measured of the source alone, not of the binary" : null;
  } finally {
    await stage?.stop();
    await application.stop(true);
  }
}

async function tryShape(stage: SmallStage, shape: Shape, tell: Tell): Promise<void> {
  const name = `${rules} rules ${shape.name}`;
  stage.change("");
  const statusOf = (path: string, user: string, method = "GET") => ask(stage.url, path, user, method);
  await comesTrue(async () => (await statusOf("/none", "mark-0")) === 200);
  const callers = new Callers(stage.url);
  const longest: number[] = [];
  try {
    for (let change = 1; change <= changes; change++) {
      const before = await measured(stage);
      stage.change(policies(shape, `mark-${change}`));
      // Both in force and gone: the new mark opens, the old one does not any more.
      const isSwapped = await comesTrue(
        async () =>
          (await statusOf("/r/77", `mark-${change}`)) === 200 &&
          (await statusOf("/r/77", `mark-${change - 1}`)) === 403,
        bulkHangMs,
      );
      if (!isSwapped) {
        tell(`${name}, change ${change} is in force`, stage.log().slice(-500));
        return;
      }
      await measured(stage);
      longest.push(Math.max(...stage.turns().slice(before)));
    }
  } finally {
    await callers.stop();
  }
  const { served, faults } = callers;
  tell(`${name}, requests go on while they change`, faults[0] ?? (served > 0 ? null : "there was none"));
  // Without a measure there are no turns, and -Infinity is no long one.
  const least = Math.min(...longest);
  tell(
    `${name}, a change has no turn above ${longestTurnMs} ms`,
    least > longestTurnMs ? longest.join() : null,
  );
  const last = rules - 1;
  const asked: readonly (readonly [string, number, string, string, string?])[] = [
    ["the first", 200, "/r/0", "user-0"],
    ["the last", 200, `/r/${last}`, `user-${last}`],
    ["one in the middle", 200, "/r/5000", "user-5000"],
    ["none by its path", 403, "/r/x", "user-0"],
    ["none by its header", 403, `/r/${last}`, "user-5"],
    ["none by its method", 403, `/r/${last}`, `user-${last}`, "POST"],
  ];
  for (const [what, wanted, path, user, method] of asked) {
    const status = await statusOf(path, user, method);
    tell(`${name}: ${what}`, status === wanted ? null : `${status}, not ${wanted}`);
  }
  const { rssBytes } = await stage.waypoint.memory();
  tell(`${name}, memory after ${changes} changes`, rssBytes > mostResidentBytes ? `${rssBytes} bytes` : null);
  const live = await stage.liveHeapBytes();
  if (live === null) return;
  tell(`${name}, what lives after ${changes} changes`, live > mostLiveBytes ? `${live} bytes` : null);
}

/** @returns how many seconds are told of by now, once all before have been. */
async function measured(stage: SmallStage): Promise<number> {
  const before = stage.turns().length;
  if (before > 0) await comesTrue(() => stage.turns().length > before + 1);
  return stage.turns().length;
}

/** One policy of all of them is refused, and what was in force before stays: nothing is opened that it might have denied. */
async function tryOneTooLarge(stage: SmallStage, tell: Tell): Promise<void> {
  const name = `one policy of ${rules} rules`;
  stage.change(policy("many-0", ['{to: [{operation: {paths: ["/in-force"]}}]}']));
  const isInForce = await comesTrue(async () => (await ask(stage.url, "/in-force", "any")) === 200);
  stage.change(policy("many-0", Array<string>(rules).fill("{}")));
  const refusal = new RegExp(`waypoint.yaml:\\d+:\\d+.*many-0.*${rules} rules`);
  const isTold = isInForce && (await comesTrue(() => refusal.test(stage.log())));
  tell(`${name} is refused with its place`, isTold ? null : stage.log().slice(-500));
  const statuses = [await ask(stage.url, "/in-force", "any"), await ask(stage.url, "/other", "any")];
  tell(`${name} changes nothing`, statuses.join() === "200,403" ? null : statuses.join());
}

/** Callers whose request every set of rules lets pass. */
class Callers {
  readonly faults: string[] = [];
  served = 0;
  #isOver = false;
  readonly #running: readonly Promise<void>[];

  constructor(url: string) {
    this.#running = Array.from({ length: 4 }, () => this.#call(url));
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }

  async #call(url: string): Promise<void> {
    while (!this.#isOver) {
      const status = await ask(url, "/go", "user-0").catch(String);
      if (status === 200) this.served++;
      else this.faults.push(`answer ${status}`);
      await Bun.sleep(2);
    }
  }
}

/** @returns the status. */
function ask(url: string, path: string, user: string, method = "GET"): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const headers = { host: "web.shop.mesh", "x-user": user };
  httpRequest(`${url}${path}`, { method, headers }, (response) => {
    response.resume();
    response.once("end", () => resolve(response.statusCode ?? 0));
    response.once("error", reject);
  })
    .once("error", reject)
    .end();
  return promise;
}
