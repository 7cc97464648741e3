/**
 * `bun conformance/earlier/make.ts`: what this version leaves on disks, for later ones to open: a control plane's state, a back-up of it, and
 * a host's credentials and snapshot. It is run once for each release, and what is there is never written again.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { version } from "../../package.json";
import { comesTrue } from "../peer/lab/eventually.ts";
import { callers, meshOf } from "../soak/documents.ts";
import { World } from "../soak/world.ts";
import type { Expected } from "./expected.ts";

const target = join(import.meta.dir, "..", "fixtures", "earlier", version);
if (existsSync(target)) {
  console.error(`${target} is there already: what a release has left does not change`);
  process.exit(1);
}

/** Nothing that grows: the room that is kept on the disk is 64 MiB of nothing. */
function copyFiles(from: string, to: string, names: readonly string[]): void {
  mkdirSync(to, { recursive: true });
  for (const name of names) if (existsSync(join(from, name))) copyFileSync(join(from, name), join(to, name));
}

async function administer(world: World, ...words: readonly string[]): Promise<string> {
  const { exitCode, output } = await world.administer(...words);
  if (exitCode !== 0) throw new Error(`${words.join(" ")} ended with ${exitCode}: ${output}`);
  return output;
}

const world = await World.create(null);
try {
  await world.ready(world.startControl(), world.controlIp);
  await world.publish("mesh.yaml", meshOf(world));
  await world.publish("callers.yaml", callers("frontend", "reports"));
  await world.publish("callers.yaml", callers("frontend"));
  const { frontend } = world.places;
  await world.ready(await world.startNode(frontend), frontend.ip);
  await administer(world, "join-token", "create", "--workload", "shop/reports");
  await administer(
    world,
    "revoke",
    "spiffe://cluster.local/ns/shop/sa/stolen",
    "--reason",
    "for later versions",
  );
  const node = join(world.processes.directory, "frontend");
  const files = ["node.json", "mesh.snapshot", "control-audit-heads.json"];
  if (!(await comesTrue(() => files.every((name) => existsSync(join(node, name))))))
    throw new Error(`the host kept only ${readdirSync(node).join(", ")}`);
  const backup = join(world.processes.directory, "fairlead.backup");
  await administer(world, "backup", backup);
  await world.end("frontend", "SIGTERM");
  await world.end("control plane", "SIGTERM");
  const state = readdirSync(world.state).filter((name) => statSync(join(world.state, name)).isFile());
  copyFiles(
    world.state,
    join(target, "control"),
    state.filter((name) => !name.endsWith(".reserve")),
  );
  copyFiles(node, join(target, "node"), files);
  copyFileSync(backup, join(target, "fairlead.backup"));
  const expected: Expected = {
    documents: [
      "AuthorizationPolicy shop/backend-callers",
      "AuthorizationPolicy shop/web-callers",
      "PeerAuthentication shop/only-mutual-tls",
      "ServiceEntry shop/backend",
      "ServiceEntry shop/web",
      ...["backend", "frontend", "reports", "waypoint"].map((name) => `WorkloadEntry shop/${name}`),
    ],
    documentVersion: 3,
    workloads: ["shop/frontend"],
    revokedIdentity: "spiffe://cluster.local/ns/shop/sa/stolen",
    tokens: 2,
    authorities: ["root", "intermediate"],
    control: `${world.controlIp}:15012`,
  };
  writeFileSync(join(target, "expected.json"), `${JSON.stringify(expected, null, 2)}\n`);
  console.log(`written: ${target}`);
} finally {
  await world.processes.stopAll();
}
