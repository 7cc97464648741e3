/**
 * `npm run demo -- control [dist/fairlead]`: one control plane and three hosts that join it, as processes, without root: joining,
 * traffic, a pushed policy, certificates and the root replaced under traffic, a host revoked, the control plane killed. Every
 * claim is checked; the exit code says whether all of them held.
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../control/free_port.ts";
import { comesTrue } from "../peer/lab/eventually.ts";
import {
  administer,
  callAs,
  controlIp,
  isReady,
  joinedNodes,
  joinLine,
  type Node,
  places,
  processes,
  publish,
  rotationIs,
  serialOf,
  startControl,
  startNode,
  state,
} from "./control_world.ts";
import { meshDocuments, onlyFrom, strict } from "./documents.ts";
import { backendPort, credential, entryPort, type Member } from "./places.ts";
import type { Running } from "./processes.ts";
import { SteadyCaller } from "./steady_caller.ts";
import { Story } from "./story.ts";
import { type Answer, call, OpenStream } from "./visitor.ts";

const story = new Story();

function describe(answer: Answer): string {
  return answer.status === null ? `no answer (${answer.ending})` : String(answer.status);
}

async function begin(): Promise<readonly [frontend: Node, backend: Node, reports: Node] | null> {
  story.chapter("A control plane, and three hosts that know nothing yet");
  startControl();
  const up = await comesTrue(() => isReady(controlIp));
  if (
    !story.check(
      up,
      "the control plane is up, with a root of its own, its key sealed",
      "it did not become ready",
    )
  )
    return null;
  const applied = await publish("mesh.yaml", meshDocuments(places));
  story.check(applied, "$ fairlead apply -f mesh.yaml", "the documents were refused");
  return await joinAll();
}

async function joinAll(): Promise<readonly [frontend: Node, backend: Node, reports: Node] | null> {
  story.chapter("1  Each joins by one line");
  const applicationPort = freePort();
  processes.start("backend", [
    process.execPath,
    join(import.meta.dir, "application.ts"),
    String(applicationPort),
    credential,
  ]);
  const entry = (member: Member) => [
    "--map",
    `${member.ip}:${entryPort}=backend.shop.mesh:80@shop/${member.name}`,
  ];
  const application = ["--application", `${places.backend.ip}:${backendPort}=127.0.0.1:${applicationPort}`];
  const backendLine = await joinLine(places.backend);
  story.show(backendLine.replace(/(fjt_[A-Za-z0-9]{4})\S+/, "$1…"));
  const frontend = startNode(places.frontend, await joinLine(places.frontend), entry(places.frontend));
  const backend = startNode(places.backend, backendLine, application);
  const reports = startNode(places.reports, await joinLine(places.reports), entry(places.reports));
  const nodes = [frontend, backend, reports] as const;
  const ready = await comesTrue(async () =>
    (await Promise.all(nodes.map(({ member }) => isReady(member.ip)))).every(Boolean),
  );
  if (
    !story.check(
      ready,
      "three hosts are in the mesh, each with a certificate for its workload",
      "a host did not become ready",
    )
  )
    return null;
  const again = startNode({ name: "copied", ip: controlIp.replace(/\.9$/, ".8") }, backendLine, []);
  const refused = await comesTrue(() => again.running.lines.some((line) => line.startsWith("(ended")));
  story.check(
    refused,
    "the same line a second time joins no host: a token is good for one host",
    "it went on",
  );
  const { output } = await administer("nodes");
  story.show(output);
  return nodes;
}

async function traffic(): Promise<void> {
  story.chapter("2  Traffic, and a policy that is pushed");
  const answered = await comesTrue(async () => (await callAs(places.frontend)).status === 200);
  story.check(answered, "the frontend reaches the backend", describe(await callAs(places.frontend)));
  story.check((await callAs(places.reports)).status === 200, "so does reports", "it does not");
  story.check(await publish("strict.yaml", strict), "$ fairlead apply -f strict.yaml", "refused");
  const plainRefused = await comesTrue(
    async () => (await call(places.backend.ip, backendPort, credential)).status === null,
  );
  story.check(plainRefused, "plain text is refused from now on", "it was answered");
  const stream = new OpenStream(places.reports.ip, entryPort, credential);
  await comesTrue(() => stream.ticks >= 3);
  const changedAt = performance.now();
  story.check(
    await publish("callers.yaml", onlyFrom("frontend")),
    "$ fairlead apply -f callers.yaml",
    "refused",
  );
  await comesTrue(() => stream.endedAtMs !== null);
  const tookMs = Math.round((stream.endedAtMs ?? Number.POSITIVE_INFINITY) - changedAt);
  story.check(
    stream.endedAtMs !== null,
    `the open stream of reports is cut ${tookMs} ms after the command was given`,
    "it still flows",
  );
  story.check((await callAs(places.reports)).status === null, "reports gets in no more", "it does");
  story.check((await callAs(places.frontend)).status === 200, "the frontend does", "it does not");
  await publish("callers.yaml", onlyFrom("frontend", "reports"));
  await comesTrue(async () => (await callAs(places.reports)).status === 200);
}

/** Two that call all the time and a stream that stays open, while something is done to the mesh; `work` is given the backend. */
async function underTraffic(work: (stream: OpenStream) => Promise<void>): Promise<void> {
  const callers = [
    new SteadyCaller(() => callAs(places.frontend)),
    new SteadyCaller(() => callAs(places.reports)),
  ];
  const stream = new OpenStream(places.frontend.ip, entryPort, credential);
  await comesTrue(() => stream.ticks >= 3);
  await work(stream);
  const tallies = await Promise.all(callers.map((caller) => caller.stop(11)));
  const calls = tallies.reduce((sum, tally) => sum + tally.calls, 0);
  const failures = tallies.flatMap((tally) => tally.failures);
  story.check(
    failures.length === 0 && calls > 20,
    `${calls} calls meanwhile, 0 failures`,
    `${failures.length} of ${calls} failed: ${failures.slice(0, 3).join(", ")}`,
  );
  stream.close();
}

async function rotateLeaf(backend: Node): Promise<void> {
  story.chapter("3  A certificate is renewed by itself (these live a minute)");
  const before = await serialOf(backend);
  await underTraffic(async (stream) => {
    const renewed = await comesTrue(async () => (await serialOf(backend)) !== before);
    story.check(renewed, "the backend has a new one", `it still shows ${before}`);
    story.check(stream.endedAtMs === null, "a stream that was open stays open", "it was cut");
  });
}

function isStreamOver(line: string): boolean {
  return line.includes("connection complete") && line.includes("error=");
}

function isRootRemoved(line: string): boolean {
  return isStreamOver(line) && line.includes("the trust root of") && line.includes("was removed");
}

async function rotateRoot(frontend: Node, backend: Node): Promise<void> {
  story.chapter("4  The root itself is replaced, under traffic");
  const before = await serialOf(backend);
  await underTraffic(async (stream) => {
    const started = await administer("ca", "rotate", "start");
    story.check(started.exitCode === 0, "$ fairlead ca rotate start", started.output);
    const renewed = await comesTrue(async () => (await serialOf(backend)) !== before);
    story.check(renewed, "the hosts have certificates of the new root", `the backend still shows ${before}`);
    const waits = await rotationIs(({ waiting }) => waiting?.what === "finish");
    story.check(
      waits,
      "every host holds the new root, and none shows a certificate of the old one",
      (await administer("ca", "rotate", "status")).output,
    );
    story.check(stream.endedAtMs === null, "a stream that was open before stays open", "it was cut");
    const { exitCode, output } = await administer("ca", "rotate", "finish");
    story.check(exitCode === 0, "$ fairlead ca rotate finish", output);
    const over = await rotationIs(({ phase }) => phase === "idle");
    story.check(over, "the old root is gone", "it is still believed");
    const ended = await comesTrue(() => stream.endedAtMs !== null);
    // Both ends judge each other, and the one that hears of it first cuts: the other may see no more than a reset. Its record
    // comes to us through a pipe, later than the end of the stream.
    const ends = [frontend, backend];
    const said = () => ends.filter(({ running }) => running.lines.some(isRootRemoved));
    await comesTrue(() => said().length > 0);
    const names = said().map(({ member }) => member.name);
    story.check(
      ended && names.length > 0,
      `and with it that stream, whose certificate it had issued; the record of the ${names.join(" and of the ")} says so`,
      `ended: ${ended}; what the two nodes recorded: ${ends.flatMap(({ running }) => running.lines.filter(isStreamOver)).join("; ")}`,
    );
  });
}

async function revoke(reports: Node): Promise<void> {
  story.chapter("5  A host is revoked");
  const name = (await joinedNodes()).find(({ binding }) => binding.workload === "shop/reports")?.node ?? "";
  const stream = new OpenStream(places.reports.ip, entryPort, credential);
  await comesTrue(() => stream.ticks >= 3);
  const revokedAt = performance.now();
  const { exitCode } = await administer("revoke", "--node", name, "--reason", "lost");
  const answeredMs = Math.round(performance.now() - revokedAt);
  story.check(exitCode === 0, `$ fairlead revoke --node ${name} (answered in ${answeredMs} ms)`, "refused");
  await comesTrue(() => stream.endedAtMs !== null);
  const tookMs = Math.round((stream.endedAtMs ?? Number.POSITIVE_INFINITY) - revokedAt);
  story.check(
    stream.endedAtMs !== null,
    `its open stream is cut ${tookMs} ms after the command was given`,
    "it still flows",
  );
  story.check((await callAs(places.reports)).status === null, "it gets nowhere any more", "it was answered");
  story.check((await callAs(places.frontend)).status === 200, "the others do", "they do not");
  const told = await comesTrue(() =>
    reports.running.lines.some((line) => line.includes("revoked") || line.includes("unauthenticated")),
  );
  story.check(told, "its own log says why", "it says nothing");
}

async function killed(control: () => Running): Promise<void> {
  story.chapter("6  The control plane is killed");
  const caller = new SteadyCaller(() => callAs(places.frontend));
  processes.kill("the control plane", "SIGKILL");
  await Bun.sleep(1500);
  const { calls, failures } = await caller.stop(11);
  story.check(
    failures.length === 0 && calls > 10,
    `${calls} calls without it, 0 failures`,
    failures.slice(0, 3).join(", "),
  );
  control();
  const back = await comesTrue(() => isReady(controlIp));
  story.check(back, "started again, it knows everything it has acknowledged", "it did not become ready");
  const connected = await comesTrue(async () => {
    return (await joinedNodes()).filter((node) => node.connected).length === 2;
  });
  story.check(
    connected,
    "the two hosts that are not revoked have come back",
    (await administer("nodes")).output,
  );
  await publish("callers.yaml", onlyFrom("nobody"));
  const refused = await comesTrue(async () => (await callAs(places.frontend)).status === null);
  story.check(refused, "and hear of a policy as before", "the frontend is still let in");
}

async function whoDidWhat(): Promise<void> {
  story.chapter("7  Who did what");
  const { output } = await administer("audit", "--limit", "100");
  const words = ["documents.apply", "token", "revo", "rotation"];
  const missing = words.filter((word) => !output.includes(word));
  story.show(output.split("\n").slice(-12).join("\n"));
  story.check(missing.length === 0, "every change is in the audit log", `nothing of ${missing.join(", ")}`);
}

async function tell(): Promise<void> {
  const nodes = await begin();
  if (nodes === null) return;
  const [frontend, backend, reports] = nodes;
  await traffic();
  await rotateLeaf(backend);
  await rotateRoot(frontend, backend);
  await revoke(reports);
  await killed(startControl);
  await whoDidWhat();
}

await mkdir(state, { recursive: true, mode: 0o700 });
let interrupted = false;
process.on("SIGINT", () => {
  interrupted = true;
  void processes.stopAll().then(() => process.exit(130));
});
try {
  await tell();
} finally {
  if (!story.allHeld && !interrupted) for (const line of processes.recent(12)) console.log(line);
  await processes.stopAll();
}
story.close();
process.exit(story.allHeld ? 0 : 1);
