/** One implementation's outbound in front of another's inbound, the application at each end knowing nothing of either. */
import { GoPeer, recordOutcome, recordOutcomes } from "../go_peer.ts";
import type { NodeSubject } from "../subjects/subject.ts";
import { byeHeard, deniedSaw, identitiesLogged } from "./inbound.ts";
import { inLab, type SuiteContext } from "./suite.ts";

export async function pairSuite(
  context: SuiteContext,
  outbound: NodeSubject,
  inbound: NodeSubject,
): Promise<void> {
  const { tally } = context;
  const prefix = `${outbound.name} → ${inbound.name}`;
  await inLab(context, prefix, [outbound, inbound], async (lab) => {
    const peer = new GoPeer(context.goPath, lab);
    const app = await peer.startApplications();
    const inboundNode = await inbound.startInbound(lab);
    const outboundNode = await outbound.startOutbound(lab);
    try {
      recordOutcomes(tally, prefix, prefix, await peer.call("call", outboundNode.dial, skipped(inbound)));
      // Records are written when a connection has ended on both sides.
      await Bun.sleep(500);
      recordOutcome(tally, prefix, prefix, "denied-application-saw-nothing", deniedSaw(app));
      recordOutcome(tally, prefix, prefix, "bytes-after-half-close-arrived", byeHeard(app));
      recordOutcome(tally, prefix, prefix, "identities-in-inbound-log", identitiesLogged(inboundNode));
      recordOutcome(tally, prefix, prefix, "identities-in-outbound-log", identitiesLogged(outboundNode));
    } finally {
      await outboundNode.process.stop();
      await inboundNode.process.stop();
      await peer.stop();
    }
  });
}

/** With Envoy behind it, whether the client still gets rid of its bytes after the application's end is a matter of buffers. */
function skipped(inbound: NodeSubject): string[] {
  return inbound.name === "envoy" ? ["-skip", "half-close-by-application"] : [];
}
