/** What happens to a mesh while it is called: each leaves it as it was, and throws when it does not come to that. */
import { comesTrue, hangMs } from "../peer/lab/eventually.ts";
import type { Caller } from "./caller.ts";
import { callers, churn, nothingOfChurn } from "./documents.ts";
import type { World } from "./world.ts";

export interface Stage {
  readonly world: World;
  readonly frontend: Caller;
  readonly reports: Caller;
  readonly throughWaypoint: Caller;
}

export interface SoakEvent {
  readonly name: string;
  /** What it came to, for the log. */
  run(stage: Stage, turn: number): Promise<string>;
}

/** A hang alone reaches it; how long a change took is printed. */
const changeMs = hangMs;
const churned = 60;

/** Reports, itself and through the waypoint, is kept out for a while. */
async function policyChange({ world, reports, throughWaypoint }: Stage): Promise<string> {
  const changed = [reports, throughWaypoint];
  const becomes = async (expected: "refused" | "answered", ...names: readonly string[]): Promise<number> => {
    for (const caller of changed) caller.expect("either");
    await world.publish("callers.yaml", callers(...names));
    const from = performance.now();
    for (const caller of changed)
      if (!(await caller.becomes(expected, changeMs)))
        throw new Error(`${caller.name} is not ${expected}, as policy says`);
    return performance.now() - from;
  };
  const refusedMs = await becomes("refused", "frontend");
  await Bun.sleep(1_000);
  await becomes("answered", "frontend", "reports");
  return `in force ${refusedMs.toFixed(0)} ms after it was acknowledged`;
}

async function churnOfDocuments({ world }: Stage, turn: number): Promise<string> {
  await world.publish("churn.yaml", churn(churned, turn));
  await world.publish("churn.yaml", churn(churned, turn + 1));
  const path = `${world.processes.directory}/churn.yaml`;
  await Bun.write(path, nothingOfChurn);
  const { exitCode, output } = await world.administer("apply", "--yes", "--prune", "churn", "--file", path);
  if (exitCode !== 0) throw new Error(`apply --prune ended with ${exitCode}: ${output}`);
  return `${2 * churned + 1} documents made, changed and removed`;
}

async function rotationIs(
  world: World,
  holds: (phase: string, waiting: string | null) => boolean,
): Promise<boolean> {
  return await comesTrue(async () => {
    const { output } = await world.administer("ca", "rotate", "status", "--output", "json");
    try {
      const {
        rotation,
      }: {
        readonly rotation: { readonly phase: string; readonly waiting: { readonly what: string } | null };
      } = JSON.parse(output);
      return holds(rotation.phase, rotation.waiting?.what ?? null);
    } catch {
      return false;
    }
  });
}

async function rootRotation({ world }: Stage): Promise<string> {
  const started = await world.administer("ca", "rotate", "start");
  if (started.exitCode !== 0) throw new Error(`ca rotate start: ${started.output}`);
  if (!(await rotationIs(world, (_, waiting) => waiting === "finish")))
    throw new Error(
      `the rotation does not get ready to finish: ${(await world.administer("ca", "rotate", "status")).output}`,
    );
  const finished = await world.administer("ca", "rotate", "finish");
  if (finished.exitCode !== 0) throw new Error(`ca rotate finish: ${finished.output}`);
  if (!(await rotationIs(world, (phase) => phase === "idle")))
    throw new Error("the old root is still believed");
  return "start, finish, the old root gone";
}

async function controlKilled({ world }: Stage): Promise<string> {
  await world.end("control plane", "SIGKILL");
  await Bun.sleep(1_500);
  await world.ready(world.startControl(), world.controlIp);
  return "killed, and back with its state";
}

/** Callers that depend on it may fail while it is away, and no longer. */
async function nodeRestart(
  { world, ...all }: Stage,
  name: "frontend" | "backend" | "waypoint",
): Promise<string> {
  const affected = {
    frontend: [all.frontend],
    backend: [all.frontend, all.reports, all.throughWaypoint],
    waypoint: [all.throughWaypoint],
  }[name];
  for (const caller of affected) caller.expect("either");
  await world.end(name, "SIGTERM");
  await world.ready(await world.startNode(world.places[name]), world.places[name].ip);
  for (const caller of affected)
    if (!(await caller.becomes("answered", changeMs)))
      throw new Error(`${caller.name} is not answered after ${name} is back`);
  return `${name} stopped, and back by its own certificate`;
}

/** A host that joins, calls, and is revoked: its place is taken by the next one. */
async function guest({ world }: Stage): Promise<string> {
  const member = { ...world.places.newer, name: "guest" };
  await world.publish(
    "guest.yaml",
    `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: guest, namespace: shop, labels: {app: guest}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${member.ip}, serviceAccount: guest}
`,
  );
  await world.publish("callers.yaml", callers("frontend", "reports", "guest"));
  world.forgetJoining(member);
  await Bun.$`rm -rf ${world.processes.directory}/guest`.quiet();
  await world.ready(await world.startNode(member), member.ip);
  const isLetIn = async () => (await world.call(member, 18_080)).status === 200;
  if (!(await comesTrue(isLetIn, changeMs))) throw new Error("a host that has joined is not answered");
  const { output } = await world.administer("nodes", "--output", "json");
  const nodes: readonly { readonly node: string; readonly binding: { readonly workload?: string } }[] =
    JSON.parse(output);
  const node = nodes.find(({ binding }) => binding.workload === "shop/guest")?.node ?? "";
  const from = performance.now();
  const revoked = await world.administer("revoke", "--node", node, "--reason", "soak");
  if (revoked.exitCode !== 0) throw new Error(`revoke: ${revoked.output}`);
  if (!(await comesTrue(async () => !(await isLetIn()), changeMs)))
    throw new Error("a revoked host is still let in");
  const tookMs = performance.now() - from;
  await world.end("guest", "SIGTERM");
  await world.publish("callers.yaml", callers("frontend", "reports"));
  return `joined, called, and was shut out ${tookMs.toFixed(0)} ms after the revocation was given`;
}

export const events: readonly SoakEvent[] = [
  { name: "policy change", run: policyChange },
  { name: "churn of documents", run: churnOfDocuments },
  { name: "restart of a caller's node", run: (stage) => nodeRestart(stage, "frontend") },
  { name: "a host joins and is revoked", run: guest },
  { name: "kill of the control plane", run: controlKilled },
  { name: "restart of the waypoint", run: (stage) => nodeRestart(stage, "waypoint") },
  { name: "rotation of the root", run: rootRotation },
  { name: "restart of the backend's node", run: (stage) => nodeRestart(stage, "backend") },
];
