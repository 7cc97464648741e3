/**
 * `npm run demo [-- dist/fairlead]`: the life of a request through a mesh, on real processes, without root, in under a
 * minute. Every claim is checked; the exit code says whether all of them held.
 */

import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { freePort } from "../control/free_port.ts";
import { comesTrue } from "../peer/lab/eventually.ts";
import { meshDocuments, onlyFrom, strict } from "./documents.ts";
import { forgeCertificate } from "./forged.ts";
import {
  adminPort,
  backendPort,
  choosePlaces,
  credential,
  entryPort,
  hbonePort,
  type Member,
  readinessPort,
} from "./places.ts";
import { Processes, type Running } from "./processes.ts";
import { Story } from "./story.ts";
import { type Answer, call, callWithCertificate, OpenStream } from "./visitor.ts";
import { tellOfWaypoint } from "./waypoint_story.ts";

const root = join(import.meta.dir, "..", "..");
const binary = process.argv[2];
const fairlead = binary === undefined ? [process.execPath, join(root, "src", "main.ts")] : [resolve(binary)];

const story = new Story();
const places = choosePlaces(process.pid);
const processes = await Processes.create();
const mesh = join(processes.directory, "mesh");

interface Node {
  readonly member: Member;
  readonly running: Running;
}

/** One `fairlead up` for each member, as if each had a host of its own; they share a CA's directory. */
function startNode(member: Member, more: readonly string[]): Node {
  const own = ["--workload", `shop/${member.name}`, "--bind", "addresses", "--hbone-port", String(hbonePort)];
  const state = ["--state-directory", join(processes.directory, "ca")];
  const ports = [
    "--admin",
    `${member.ip}:${adminPort}`,
    "--metrics",
    "off",
    "--readiness",
    `${member.ip}:${readinessPort}`,
  ];
  const command = [...fairlead, "up", "--file", mesh, ...own, ...state, ...ports, ...more];
  return { member, running: processes.start(`${member.name}'s node`, command) };
}

async function isReady({ member }: Node): Promise<boolean> {
  try {
    return (await fetch(`http://${member.ip}:${readinessPort}/healthz/ready`)).ok;
  } catch {
    return false;
  }
}

/** Documents are files; a node sees a change by itself. */
async function publish(name: string, text: string): Promise<void> {
  await writeFile(join(mesh, name), text);
}

async function policiesOf(node: Node): Promise<string> {
  const { output } = await processes.run([
    ...fairlead,
    "get",
    "policies",
    "--admin",
    `${node.member.ip}:${adminPort}`,
  ]);
  return output;
}

async function isInForce(node: Node, policy: string): Promise<boolean> {
  return await comesTrue(async () => (await policiesOf(node)).includes(policy));
}

/** From a workload of the mesh, through its own node tunnel. */
function callAs(member: Member): Promise<Answer> {
  return call(member.ip, entryPort, credential);
}

function describe(answer: Answer): string {
  return answer.status === null
    ? `no answer (${answer.ending})`
    : `${answer.status} ${answer.body.split("\r\n\r\n")[1] ?? ""}`.trim();
}

/** The first line of a node's log with all of these words; lines are written in batches, so it may take a moment. */
async function findLine({ running }: Node, ...words: readonly string[]): Promise<string | null> {
  const find = (): string | undefined =>
    running.lines.find((line) => words.every((word) => line.includes(word)));
  await comesTrue(() => find() !== undefined);
  return find() ?? null;
}

/** An access line without what this story is not about. */
function essence(line: string): string {
  const fields = line.matchAll(/(src\.addr|src\.identity|dst\.workload|error)=("(?:\\.|[^"\\])*"|\S+)/g);
  return [...fields].map(([, name, value]) => `${name}=${value?.replaceAll(`${mesh}/`, "")}`).join("\n");
}

async function start(): Promise<readonly [frontend: Node, backend: Node, reports: Node] | null> {
  story.chapter("The shop");
  story.tell(
    "A backend that asks for a credential, two workloads that call it, and an insider who has the credential.",
  );
  story.tell("Each has a fairlead node of its own; there is one CA, made by the first node that starts.");
  await Bun.write(join(mesh, "mesh.yaml"), meshDocuments(places));
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
  // The first makes the CA; the others find it.
  const backend = startNode(places.backend, application);
  const up = await comesTrue(() => isReady(backend));
  const others = [
    startNode(places.frontend, entry(places.frontend)),
    startNode(places.reports, entry(places.reports)),
  ] as const;
  const allUp = up && (await comesTrue(async () => (await Promise.all(others.map(isReady))).every(Boolean)));
  if (
    !story.check(
      allUp,
      "three nodes are up, each with a certificate for its workload",
      "a node did not become ready",
    )
  )
    return null;
  const answered = await comesTrue(async () => (await callAs(places.frontend)).status === 200);
  story.check(
    answered,
    "the frontend reaches the backend through the mesh",
    describe(await callAs(places.frontend)),
  );
  return [others[0], backend, others[1]];
}

async function withoutMutualTls(): Promise<void> {
  story.chapter("1  Without mutual TLS, the insider gets in");
  story.tell(
    "A credential can be copied. The insider calls the backend's address in plain text, credential in hand.",
  );
  const answer = await call(places.backend.ip, backendPort, credential);
  story.check(answer.status === 200, "the insider reads the order book", describe(answer));
  const stranger = await call(places.backend.ip, backendPort, "Bearer a-guess");
  story.check(
    stranger.status === 401,
    "a caller without the credential does not: the application does its part",
    describe(stranger),
  );
}

async function withMutualTls(backend: Node): Promise<void> {
  story.chapter("2  STRICT: only a valid key and certificate get in");
  story.show(strict);
  await publish("strict.yaml", strict);
  story.check(
    await isInForce(backend, "strict"),
    "the document is in force on the running node",
    await policiesOf(backend),
  );
  const plain = await call(places.backend.ip, backendPort, credential);
  story.check(
    plain.status === null,
    "the insider in plain text: cut off before the application sees a byte",
    describe(plain),
  );
  story.tell("The insider makes a CA of their own and signs a certificate that says it is the frontend.");
  const forged = await callWithCertificate(places.backend.ip, hbonePort, await forgeCertificate("frontend"));
  story.check(
    forged.status === null && forged.body === "",
    "the forged certificate: no HTTP/2 frame comes back",
    describe(forged),
  );
  const said = await findLine(backend, "certificate_untrusted");
  story.check(said !== null, "the node says why", "no line of its log says certificate_untrusted");
  if (said !== null) story.show(essence(said));
  const good = await callAs(places.frontend);
  story.check(
    good.status === 200,
    "the frontend, with a certificate of the mesh's CA, gets in",
    describe(good),
  );
}

async function withPeerAuthorization(backend: Node): Promise<void> {
  story.chapter("3  Peer authorization: a right credential is not enough");
  story.tell(
    "reports is a workload of this mesh: a valid certificate and the credential. It is just not listed.",
  );
  const before = await callAs(places.reports);
  story.check(before.status === 200, "before: reports gets in", describe(before));
  story.show(onlyFrom("frontend"));
  await publish("callers.yaml", onlyFrom("frontend"));
  story.check(
    await isInForce(backend, "backend-callers"),
    "the document is in force",
    await policiesOf(backend),
  );
  const reports = await callAs(places.reports);
  story.check(reports.status === null, "reports is refused", describe(reports));
  const frontend = await callAs(places.frontend);
  story.check(frontend.status === 200, "the frontend is not", describe(frontend));
  const line = await findLine(backend, "policy_denied", "sa/reports");
  const named = line?.includes("shop/backend-callers") === true && /callers\.yaml:\d+/.test(line);
  story.check(
    named,
    "the refusal names who, which policy, and where it is written",
    line ?? "no such line in the log",
  );
  if (line !== null) story.show(essence(line));
  await explained(backend, line);
}

/** What an operator asks next: why, and what would have to change. */
async function explained(backend: Node, line: string | null): Promise<void> {
  const at = ["--admin", `${backend.member.ip}:${adminPort}`];
  const words = ["explain", "--from", "shop/reports", "--to", "backend.shop.mesh", "--port", "80"];
  story.tell(`$ fairlead ${words.join(" ")}`);
  const { output } = await processes.run([...fairlead, ...words, ...at]);
  story.check(
    /^denied: shop\/reports/.test(output) &&
      /callers\.yaml:\d+/.test(output) &&
      output.includes("sa/reports"),
    "explain says which policy refuses it, where, and what would have to change",
    output,
  );
  story.show(output.replaceAll(`${mesh}/`, ""));
  const id = /\bid=(\d+)/.exec(line ?? "")?.[1] ?? "";
  const past = await processes.run([...fairlead, "explain", "--connection", id, ...at]);
  story.check(
    past.output.includes("policy_denied") && past.output.includes("sa/reports"),
    "and says the same of the connection that was refused, by the id in its access line",
    past.output,
  );
}

async function withChange(backend: Node): Promise<void> {
  story.chapter("4  An open connection is cut when policy changes");
  const stream = new OpenStream(places.frontend.ip, entryPort, credential);
  const flows = await comesTrue(() => stream.ticks >= 3);
  story.check(flows, "the frontend listens to a stream that does not end", `${stream.ticks} ticks`);
  story.tell("Now the policy lists reports instead of the frontend.");
  const changedAt = performance.now();
  await publish("callers.yaml", onlyFrom("reports"));
  await comesTrue(() => stream.endedAtMs !== null);
  const tookMs = Math.round((stream.endedAtMs ?? Number.POSITIVE_INFINITY) - changedAt);
  story.check(
    stream.endedAtMs !== null,
    `the stream is cut ${tookMs} ms after the file was written`,
    "it still flows",
  );
  const line = await findLine(backend, "policy_changed");
  story.check(line !== null, "its record says why", "no line of the log says policy_changed");
  if (line !== null) story.show(essence(line));
}

interface TrafficRow {
  readonly source: string;
  readonly destination: string;
  readonly opened: number;
  readonly denied: number;
}

async function whoTalkedToWhom(backend: Node): Promise<void> {
  story.chapter("5  Who talked to whom");
  const command = [...fairlead, "get", "traffic", "--admin", `${backend.member.ip}:${adminPort}`];
  story.tell(`$ fairlead ${command.slice(fairlead.length).join(" ")}`);
  const table = await processes.run(command);
  story.show(table.output);
  const { output } = await processes.run([...command, "--output", "json"]);
  const rows: readonly TrafficRow[] = JSON.parse(output === "" ? "[]" : output);
  const from = (source: string) =>
    rows.find((row) => row.source === source && row.destination === "shop/backend");
  const frontend = from("shop/frontend");
  story.check(
    (frontend?.opened ?? 0) >= 3 && frontend?.denied === 1,
    "the frontend: let in, and cut once by the change",
    JSON.stringify(frontend),
  );
  const reports = from("shop/reports");
  story.check(reports?.denied === 1, "reports: refused once", JSON.stringify(reports));
  const insider = from("unknown");
  story.check(
    (insider?.opened ?? 0) >= 1 && (insider?.denied ?? 0) >= 1,
    "a stranger, in plain text: let in before STRICT, refused after",
    JSON.stringify(insider),
  );
}

async function tell(): Promise<void> {
  const nodes = await start();
  if (nodes === null) return;
  const [, backend] = nodes;
  await withoutMutualTls();
  await withMutualTls(backend);
  await withPeerAuthorization(backend);
  await withChange(backend);
  await whoTalkedToWhom(backend);
  await behindWaypoint();
}

/** The waypoint's node has no application; the newer versions each have theirs. */
async function behindWaypoint(): Promise<void> {
  let waypoint: Node | null = null;
  const version = (member: Member, index: number, status: string): Node => {
    const port = freePort();
    processes.start(member.name, [
      process.execPath,
      join(import.meta.dir, "application.ts"),
      String(port),
      credential,
      `v${index + 1}`,
      status,
    ]);
    return startNode(member, ["--application", `${member.ip}:${backendPort}=127.0.0.1:${port}`]);
  };
  await tellOfWaypoint({
    story,
    places,
    publish,
    start: async () => {
      waypoint = startNode(places.waypoint, ["--waypoint", "shop/waypoint"]);
      const nodes = [waypoint, version(places.newer, 1, "200"), version(places.broken, 2, "503")];
      return await comesTrue(async () => (await Promise.all(nodes.map(isReady))).every(Boolean));
    },
    lines: () => waypoint?.running.lines ?? [],
  });
}

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
