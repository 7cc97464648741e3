/** What was delivered is a prefix of what was sent, and after an orderly end it is all of it. */
import type { AppEnd } from "../application.ts";
import type { Observed } from "../observed.ts";
import { causesOf, describeConnection } from "./causes.ts";

export function checkDelivery(observed: Observed): string[] {
  const found: string[] = [];
  for (const log of [...observed.connections.values(), ...observed.probes.values()]) {
    const say = (what: string) => found.push(`delivery: ${describeConnection(log)}: ${what}`);
    if (log.servers.length > 1) say(`reached the workload ${log.servers.length} times`);
    const [server] = log.servers;
    if (log.client === null || server === undefined) continue;
    if (log.client.peerEnded && log.client.bannerLeft > 0)
      say(`the end came before ${log.client.bannerLeft} bytes of the banner`);
    checkDirection(log.client, server, "request", say);
    checkDirection(server, log.client, "response", say);
    const isUndisturbed = [...causesOf(log, observed)].every((cause) => cause === "script");
    if (server.left === "answer" && isUndisturbed && log.client.received < server.sent)
      say(
        `${log.client.received} bytes came of an answer of ${server.sent}, after which the application closed with unread input`,
      );
  }
  for (const { workload, bytes } of observed.strange)
    found.push(`delivery: ${workload} was given ${bytes.length} bytes that no client sent`);
  return found;
}

function checkDirection(from: AppEnd, to: AppEnd, name: string, say: (what: string) => void): void {
  if (to.wrongAt !== null) say(`${name} differs from what was sent at offset ${to.wrongAt}`);
  if (to.received > from.sent) say(`${name}: ${to.received} bytes came of ${from.sent} that were sent`);
  if (!to.peerEnded) return;
  // An end says: that was all. Only the sender may say it; a connection that broke must look broken.
  if (!from.ended && from.left !== "close") say(`${name}: an end came that the sender never gave`);
  if (to.received < from.sent) say(`${name}: the end came after ${to.received} of ${from.sent} bytes`);
}
