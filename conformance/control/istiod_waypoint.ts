/** A waypoint of ours in an istiod's mesh, and a node of ours that calls a service behind it. */
import { createServer, type Server } from "node:http";
import type { Tally } from "../peer/tally.ts";
import { freePort } from "./free_port.ts";
import { areReady, IstiodNode } from "./istiod_node.ts";

export interface WaypointScene {
  readonly istiod: { readonly name: string; readonly rootPath: string; readonly tokenPath: string };
  /** Where istiod is reached, on 127.0.0.1. */
  readonly port: number;
  readonly directory: string;
  /** Of `istio-system/waypoint`. */
  readonly tokenPath: string;
  /** `api.shop.mesh` behind that waypoint, with an endpoint of each version at this port of 127.9.0.11 and 127.9.0.12. */
  readonly show: (port: number) => Promise<void>;
  /** `HOST:PORT` of what else the caller can ask. */
  readonly also?: readonly string[];
  /** More to try while both run. */
  readonly further?: (running: RunningScene) => Promise<void>;
}

export interface RunningScene {
  readonly waypoint: IstiodNode;
  /** As `shop/cart`, to `api.shop.mesh`. @returns the status, and which version answered. */
  readonly ask: (path: string, headers?: Record<string, string>, method?: string) => Promise<string>;
  /** The same, to one of `also`. */
  readonly askAlso: (which: string, ...request: Parameters<RunningScene["ask"]>) => Promise<string>;
  /** Of a hundred requests: who answered, how often. */
  readonly share: () => Promise<ReadonlyMap<string, number>>;
}

/** A waypoint takes istiod's documents, and a request goes by them; a node of ours calls. */
export async function waypointDecides(tally: Tally, prefix: string, scene: WaypointScene): Promise<void> {
  const { istiod, directory, port, tokenPath } = scene;
  const applications = await Promise.all(
    Object.entries(applicationHosts).map(([version, address]) => application(version, address)),
  );
  await scene.show(applicationPort);
  const hbonePort = freePort();
  const mapped = `127.9.0.1:${freePort()}`;
  const others = new Map((scene.also ?? []).map((target) => [target, `127.9.0.1:${freePort()}`]));
  const also = [...others].flatMap(([target, at]) => ["--map", `${at}=${target}`]);
  const start = (name: string, workload: string, token: string, ...flags: readonly string[]) =>
    new IstiodNode({
      ...{ name, directory, port, workload, hbonePort, flags, tokenPath: token },
      ...{ controlName: istiod.name, rootPath: istiod.rootPath },
    });
  const waypoint = start(
    "waypoint",
    "istio-system/waypoint",
    tokenPath,
    "--waypoint",
    "istio-system/waypoint",
  );
  const caller = start(
    "caller",
    "shop/cart",
    istiod.tokenPath,
    "--map",
    `${mapped}=api.shop.mesh:80`,
    ...also,
  );
  try {
    tally.check(
      `${prefix}: a waypoint is ready with its documents`,
      (await areReady([waypoint, caller])) ? null : waypoint.process.log().slice(-2000),
    );
    const asker =
      (at: string): RunningScene["ask"] =>
      async (path, headers = {}, method = "GET") => {
        const answer = await fetch(`http://${at}${path}`, { method, headers, redirect: "manual" });
        await answer.arrayBuffer();
        return `${answer.status} ${answer.headers.get("x-version") ?? ""}`.trim();
      };
    const ask = asker(mapped);
    const share = async () => {
      const answered = new Map<string, number>();
      for (let i = 0; i < 100; i++) {
        const came = await ask("/items/1");
        answered.set(came, (answered.get(came) ?? 0) + 1);
      }
      return answered;
    };
    const cases: readonly (readonly [string, string, Promise<string>])[] = [
      [
        "routes by a header, to the version that istiod tells",
        "200 v2",
        ask("/items/1", { "x-tester": "yes" }),
      ],
      ["denies what no rule allows", "403", ask("/items/1", {}, "POST")],
      ["denies by a header", "403", ask("/items/1", { "x-a": "b" })],
      ["refuses a token that is none", "401", ask("/items/1", { "x-token": "Bearer a.b.c" })],
    ];
    for (const [what, wanted, asked] of cases) {
      const came = await asked;
      tally.check(`${prefix}: a waypoint ${what}`, came === wanted ? null : `${came}, not ${wanted}`);
    }
    const both = [...(await share()).keys()].sort().join();
    tally.check(`${prefix}: a waypoint shares out by weight`, both === "200 v1,200 v2" ? null : both);
    await scene.further?.({
      waypoint,
      ask,
      askAlso: (which, ...request) => asker(others.get(which) ?? which)(...request),
      share,
    });
  } finally {
    await Promise.all([waypoint.stop(), caller.stop()]);
    for (const server of applications) server.close();
  }
}

export const applicationPort = 28_681;
/** By what each answers. */
const applicationHosts = { v1: "127.9.0.11", v2: "127.9.0.12", team: "127.9.0.13", lone: "127.9.0.14" };

function application(version: string, address: string): Promise<Server> {
  const server = createServer((_request, response) => {
    response.setHeader("x-version", version);
    response.end(version);
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(applicationPort, address, () => resolve(server));
  });
}
