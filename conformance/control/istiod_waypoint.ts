/** A waypoint of ours in an istiod's mesh, and a node of ours that calls a service behind it. */
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { comesTrue } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import type { Tally } from "../peer/tally.ts";
import { fairleadArgv } from "./control_process.ts";
import { freePort } from "./free_port.ts";

export interface WaypointScene {
  readonly istiod: { readonly name: string; readonly rootPath: string; readonly tokenPath: string };
  /** Where istiod is reached, on 127.0.0.1. */
  readonly port: number;
  readonly directory: string;
  /** Of `istio-system/waypoint`. */
  readonly tokenPath: string;
  /** `api.shop.mesh` behind that waypoint, with an endpoint of each version at this port of 127.9.0.11 and 127.9.0.12. */
  readonly show: (port: number) => Promise<void>;
}

/** A waypoint takes istiod's documents, and a request goes by them; a node of ours calls. */
export async function waypointDecides(tally: Tally, prefix: string, scene: WaypointScene): Promise<void> {
  const { istiod, directory, port, tokenPath } = scene;
  const applications = await Promise.all([application("v1", "127.9.0.11"), application("v2", "127.9.0.12")]);
  await scene.show(applicationPort);
  const hbone = String(freePort());
  const mapped = `127.9.0.1:${freePort()}`;
  const start = (name: string, workload: string, token: string, ...flags: readonly string[]) => {
    const readiness = `127.0.0.1:${freePort()}`;
    const node = Subprocess.start({
      name,
      argv: [
        ...[...fairleadArgv(), "node", "--control", `https://127.0.0.1:${port}`],
        ...["--control-name", istiod.name, "--control-root", istiod.rootPath, "--token-file", token],
        ...["--state-directory", join(directory, name), "--workload", workload, "--hbone-port", hbone],
        ...[
          "--admin",
          "off",
          "--admin-socket",
          "off",
          "--metrics",
          "off",
          "--readiness",
          readiness,
          ...flags,
        ],
      ],
      logPath: join(directory, `${name}.log`),
    });
    const isReady = async () =>
      (await fetch(`http://${readiness}/healthz/ready`).catch(() => null))?.ok === true;
    return { node, isReady };
  };
  const nodes = [
    start("waypoint", "istio-system/waypoint", tokenPath, "--waypoint", "istio-system/waypoint"),
    start("caller", "shop/cart", istiod.tokenPath, "--map", `${mapped}=api.shop.mesh:80`),
  ];
  try {
    const areReady = await comesTrue(async () => {
      const ready = await Promise.all(nodes.map(({ isReady }) => isReady()));
      return ready.every((each) => each);
    });
    tally.check(
      `${prefix}: a waypoint is ready with its documents`,
      areReady ? null : (nodes[0]?.node.log().slice(-2000) ?? ""),
    );
    const ask = async (path: string, headers: Record<string, string> = {}, method = "GET") => {
      const answer = await fetch(`http://${mapped}${path}`, { method, headers });
      return `${answer.status} ${answer.headers.get("x-version") ?? ""}`.trim();
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
    const versions = new Set<string>();
    for (let i = 0; i < 80; i++) versions.add(await ask("/items/1"));
    const both = [...versions].sort().join();
    tally.check(`${prefix}: a waypoint shares out by weight`, both === "200 v1,200 v2" ? null : both);
  } finally {
    await Promise.all(nodes.map(({ node }) => node.stop()));
    for (const server of applications) server.close();
  }
}

const applicationPort = 28_681;

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
