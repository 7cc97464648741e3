/** Go as HBONE server under an outbound node: Go's own HTTP/2 server, then one that misbehaves by script. */
import { GoPeer, type PeerLine, peerLines, recordOutcome, recordOutcomes } from "../go_peer.ts";
import { appPorts, cartIdentity, dbIdentity, type Lab } from "../lab/lab.ts";
import type { NodeSubject } from "../subjects/subject.ts";
import { byeHeard } from "./inbound.ts";
import { inLab, type SuiteContext } from "./suite.ts";

export async function goServerSuite(context: SuiteContext, subject: NodeSubject): Promise<void> {
  const { tally } = context;
  const prefix = `${subject.name} → go server`;
  await inLab(context, prefix, [subject], async (lab) => {
    const peer = new GoPeer(context.goPath, lab);
    await peer.startApplications();
    const server = await peer.startServer(
      "server",
      lab.authority.issueFor(dbIdentity, "go_db"),
      cartIdentity,
    );
    const node = await subject.startOutbound(lab);
    try {
      recordOutcomes(
        tally,
        prefix,
        subject.name,
        await peer.call("call", node.dial, ["-skip", "half-close-by-application"]),
      );
      const requests = peerLines(server).filter((line) => line.event === "request");
      for (const [name, problem] of requestChecks(lab, requests))
        recordOutcome(tally, prefix, subject.name, name, problem);
      const connections = peerLines(server).filter((line) => line.event === "connection").length;
      const pooled =
        connections <= 10 ? null : `${connections} TLS connections for ${requests.length} streams`;
      recordOutcome(tally, prefix, subject.name, "connections-are-pooled", pooled);
    } finally {
      await node.process.stop();
      await peer.stop();
    }
  });
}

export async function scriptedServerSuite(context: SuiteContext, subject: NodeSubject): Promise<void> {
  const { tally } = context;
  const prefix = `${subject.name} → scripted server`;
  await inLab(context, prefix, [subject], async (lab) => {
    const peer = new GoPeer(context.goPath, lab);
    const leaf = lab.authority.issueFor(dbIdentity, "scripted_db");
    // Three streams a connection: the twenty calls at once must spread over several.
    const server = await peer.startServer("scripted", leaf, cartIdentity, 3);
    const node = await subject.startOutbound(lab);
    try {
      recordOutcomes(tally, prefix, subject.name, await peer.call("scripted-call", node.dial));
      const lines = peerLines(server);
      const violations = lines.filter((line) => line.event === "violation" || line.event === "script-failed");
      const broken =
        violations.length === 0 ? null : violations.map((line) => `${line.script}: ${line.error}`).join("; ");
      recordOutcome(tally, prefix, subject.name, "keeps-to-the-protocol", broken);
      recordOutcome(tally, prefix, subject.name, "bytes-after-half-close-arrived", byeHeard(server));
      const gaveUp = lines.find((line) => line.event === "gave-up");
      const cancelled = gaveUp === undefined ? "never" : gaveUp.error === "<nil>" ? null : `${gaveUp.error}`;
      recordOutcome(tally, prefix, subject.name, "cancels-the-abandoned-stream", cancelled);
      const early = lines.find((line) => line.event === "request" && line.endStream === true);
      recordOutcome(
        tally,
        prefix,
        subject.name,
        "no-end-stream-with-connect",
        early === undefined ? null : JSON.stringify(early),
      );
    } finally {
      await node.process.stop();
      await peer.stop();
    }
  });
}

/** The CONNECT as ztunnel sends it. */
function requestChecks(lab: Lab, requests: readonly PeerLine[]): [string, string | null][] {
  const first = requests[0];
  if (first === undefined) return [["connect-request", "the server saw no request"]];
  const all = (name: string, holds: (line: PeerLine) => boolean): [string, string | null] => {
    const wrong = requests.find((line) => !holds(line));
    return [name, wrong === undefined ? null : JSON.stringify(wrong)];
  };
  const ports: readonly number[] = Object.values(appPorts);
  // On loopback the client's application calls from the address the kernel picks.
  const source = lab.place.kind === "namespaces" ? lab.place.client.address : "127.0.0.1";
  const authorities = new Set(ports.map((port) => `${lab.place.server.address}:${port}`));
  return [
    all(
      "tls-identity-protocol",
      (line) => line.identity === cartIdentity && line.protocol === "h2" && line.tls === "TLS 1.3",
    ),
    all("no-server-name", (line) => line.serverName === ""),
    all("authority-is-address-and-port", (line) => authorities.has(`${line.authority}`)),
    all("baggage-describes-source", (line) =>
      /(^|,)k8s\.namespace\.name=shop(,|$)/.test(field(line, "Baggage")),
    ),
    all("forwarded-names-source", (line) =>
      new RegExp(`^for="?${source.replaceAll(".", "\\.")}:\\d+"?(;|$)`).test(field(line, "Forwarded")),
    ),
    all("traceparent-form", (line) =>
      /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/.test(field(line, "Traceparent")),
    ),
  ];
}

function field(line: PeerLine, name: string): string {
  if (!Array.isArray(line.fields)) return "";
  const found: unknown = line.fields.find((pair: unknown) => Array.isArray(pair) && pair[0] === name);
  return Array.isArray(found) ? String(found[1]) : "";
}
