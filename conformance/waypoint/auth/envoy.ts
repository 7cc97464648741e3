/** The same rules and tokens for a real Envoy and for our stages: the same requests get the same answers. */

import { mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { assert } from "../../../src/base/assert.ts";
import { parseDocuments } from "../../../src/mesh/documents/parse.ts";
import { SpiffeId } from "../../../src/mesh/identity.ts";
import { ip } from "../../../src/mesh/testing/fixture.ts";
import { layer7Policy } from "../../../src/waypoint/auth/layer7_policy.ts";
import { authBench } from "../../../src/waypoint/auth/testing/auth_bench.ts";
import { TrustDomains } from "../../../src/waypoint/auth/trust_domains.ts";
import { normaliseTarget } from "../../../src/waypoint/match/normalise.ts";
import { hangMs } from "../../peer/lab/eventually.ts";
import { Subprocess } from "../../peer/lab/subprocess.ts";
import { findEnvoy } from "../../peer/lab/tools.ts";
import { type AuthCase, type AuthRequest, authCases } from "./envoy_cases.ts";
import { envoyConfig, peerHeader } from "./envoy_rules.ts";

const address = "127.0.0.1";
const firstPort = 28_700;
const defaultPeer = "spiffe://cluster.local/ns/shop/sa/web";

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly challenge: string;
}

/** @returns why it was skipped; null when it was not. */
export async function compareWithEnvoy(
  directory: string,
  tell: (name: string, fault: string | null) => void,
): Promise<string | null> {
  const envoy = findEnvoy();
  if ("missing" in envoy) return envoy.missing;
  const cases = await authCases();
  mkdirSync(directory, { recursive: true });
  const path = join(directory, "envoy_auth.json");
  writeFileSync(path, JSON.stringify(envoyConfig(cases.map(listenerOf))));
  const argv = [envoy.path, "-c", path, "--disable-hot-restart", "--concurrency", "1", "--log-level", "info"];
  const process = Subprocess.start({ name: "envoy", argv, logPath: join(directory, "envoy_auth.log") });
  try {
    await process.waitForLine((line) => line.includes("all dependencies initialized. starting workers"));
    for (const [index, one] of cases.entries()) await runCase(one, firstPort + index, tell);
  } finally {
    await process.stop();
  }
  return null;
}

/** What the documents say, as istiod would tell Envoy. */
function listenerOf({ documents }: AuthCase, index: number): Parameters<typeof envoyConfig>[0][number] {
  const parsed = parseDocuments([{ path: "case.yaml", text: documents }]);
  assert(parsed.errors.length === 0, JSON.stringify(parsed.errors));
  const config = parsed.documents.find((document) => document.kind === "MeshConfig");
  const trustDomains = new TrustDomains("cluster.local", config?.trustDomainAliases ?? []);
  const policies = parsed.documents.flatMap((document) =>
    document.kind === "AuthorizationPolicy" ? layer7Policy(document, trustDomains, false) : [],
  );
  return {
    port: firstPort + index,
    deny: policies.filter(({ action }) => action === "DENY"),
    allow: policies.filter(({ action }) => action === "ALLOW"),
    rules: parsed.documents.flatMap((document) =>
      document.kind === "RequestAuthentication" ? document.rules : [],
    ),
  };
}

async function runCase(
  { name, documents, requests }: AuthCase,
  port: number,
  tell: (name: string, fault: string | null) => void,
): Promise<void> {
  const bench = await authBench(documents);
  // Tokens are good for the clock of Envoy, which is the machine's.
  bench.clock.jumpWall(Date.now() - bench.clock.wallMs());
  for (const request of requests) {
    const theirs = await askEnvoy(port, request);
    const ours = await askOurs(bench, port, request);
    const title = `${name}: ${describe(request)}`;
    const wanted = request.ours ?? theirs.status;
    if (ours.status !== wanted) tell(title, `ours ${JSON.stringify(ours)}, Envoy ${JSON.stringify(theirs)}`);
    else if (request.ours === undefined && (ours.body !== theirs.body || ours.challenge !== theirs.challenge))
      tell(title, `ours ${JSON.stringify(ours)}, Envoy ${JSON.stringify(theirs)}`);
    else
      tell(`${title}: ${ours.status}${request.ours === undefined ? "" : `, Envoy ${theirs.status}`}`, null);
  }
}

function describe({ method = "GET", path = "/", peer, headers = [], label }: AuthRequest): string {
  if (label !== undefined) return label;
  const said = headers.map((text) => (text.length > 60 ? `${text.slice(0, 60)}…` : text));
  return [method, path, ...(peer === undefined ? [] : [`by ${peer}`]), ...said].join(" ");
}

async function askOurs(
  bench: Awaited<ReturnType<typeof authBench>>,
  port: number,
  { method = "GET", path = "/", host = "web.shop", peer = defaultPeer, headers = [] }: AuthRequest,
): Promise<Answer> {
  const id = SpiffeId.parse(peer);
  assert(id !== null, peer);
  const normal = normaliseTarget(path, "BASE");
  if (normal === null) return { status: 400, body: "", challenge: "" };
  const fields = headers.flatMap((text) => {
    const colon = text.indexOf(":");
    return [text.slice(0, colon).toLowerCase(), text.slice(colon + 1).trim()];
  });
  const { reply } = await bench.decide({
    request: { method, path: normal, authority: host, fields },
    downstream: {
      peer: id,
      source: { ip: ip("127.0.0.1"), port: 1 },
      destination: { ip: ip(address), port },
    },
  });
  if (reply === null) return { status: 200, body: "ok", challenge: "" };
  const at = reply.fields.indexOf("www-authenticate");
  return {
    status: reply.status,
    body: new TextDecoder().decode(reply.body),
    challenge: at === -1 ? "" : (reply.fields[at + 1] ?? ""),
  };
}

function askEnvoy(
  port: number,
  { method = "GET", path = "/", host = "web.shop", peer = defaultPeer, headers = [] }: AuthRequest,
): Promise<Answer> {
  const lines = [`${method} ${path} HTTP/1.1`, `Host: ${host}`, `${peerHeader}: ${peer}`, ...headers];
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect({ host: address, port }, () =>
      socket.write(`${[...lines, "Connection: close"].join("\r\n")}\r\n\r\n`, "latin1"),
    );
    socket.setTimeout(hangMs, () => socket.destroy(new Error("no answer")));
    socket.on("data", (piece) => {
      text += piece.toString("latin1");
      const answer = readAnswer(text);
      if (answer === null) return;
      // Envoy keeps the connection for a second after its last word.
      socket.destroy();
      resolve(answer);
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error(`Envoy's answer broke off: ${text}`)));
  });
}

/** @returns null until it is whole. */
function readAnswer(text: string): Answer | null {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return null;
  const head = text.slice(0, end);
  const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
  const body = text.slice(end + 4);
  if (body.length < length) return null;
  const challenge = /^www-authenticate: (.*)$/im.exec(head)?.[1] ?? "";
  return { status: Number(text.slice(9, 12)), body, challenge: challenge.trim() };
}
