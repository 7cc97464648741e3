/** Go as HBONE client against an inbound node. */
import { GoPeer, peerLines, recordOutcome, recordOutcomes } from "../go_peer.ts";
import { appPorts, cartIdentity, dbIdentity } from "../lab/lab.ts";
import type { Subprocess } from "../lab/subprocess.ts";
import type { NodeSubject, RunningNode } from "../subjects/subject.ts";
import { inLab, type SuiteContext } from "./suite.ts";

export async function goClientSuite(context: SuiteContext, subject: NodeSubject): Promise<void> {
  const prefix = `go client → ${subject.name}`;
  await inLab(context, prefix, [subject], async (lab) => {
    const peer = new GoPeer(context.goPath, lab);
    const app = await peer.startApplications();
    const node = await subject.startInbound(lab);
    try {
      const leaf = lab.authority.issueFor(cartIdentity, "go_cart");
      const lines = await peer.client(leaf, dbIdentity, ["-pid", `${node.process.pid}`]);
      const { tally } = context;
      recordOutcomes(tally, prefix, subject.name, lines);
      recordOutcome(tally, prefix, subject.name, "denied-application-saw-nothing", deniedSaw(app));
      recordOutcome(tally, prefix, subject.name, "bytes-after-half-close-arrived", byeHeard(app));
      recordOutcome(tally, prefix, subject.name, "identities-in-access-log", identitiesLogged(node));
    } finally {
      await node.process.stop();
      await peer.stop();
    }
  });
}

/** A refusal is complete when the application never knew. */
export function deniedSaw(app: Subprocess): string | null {
  const accepted = peerLines(app).filter((line) => line.event === "accept" && line.port === appPorts.denied);
  return accepted.length === 0
    ? null
    : `the application behind the denied port accepted ${accepted.length} connections`;
}

/** The application that ended first and went on listening got all 256 KiB. */
export function byeHeard(app: Subprocess): string | null {
  const heard = peerLines(app).filter((line) => line.event === "bye");
  if (heard.length === 0) return "the application was not told of the end";
  const short = heard.find((line) => line.bytes !== 256 << 10);
  return short === undefined ? null : `the application got ${short.bytes} of ${256 << 10} bytes`;
}

export function identitiesLogged(node: RunningNode): string | null {
  const records = node.accessRecords().filter((record) => record.error === null);
  if (records.length === 0) return "no record of a successful connection";
  const wrong = records.find(
    (record) => record.sourceIdentity !== cartIdentity || record.destinationIdentity !== dbIdentity,
  );
  return wrong === undefined ? null : wrong.line;
}
