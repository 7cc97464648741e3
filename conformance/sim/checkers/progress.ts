/** A connection that nothing was wrong with is never left standing: it goes on within seconds of what its own script waits for. */
import { type ConnectionLog, endOf, type Observed } from "../observed.ts";
import { causesOf, describeConnection } from "./causes.ts";

/** Between two signs of life, besides the pauses of the applications; a keep-alive that mends a silent tunnel comes later. */
const silenceMs = 5_000;

export function checkProgress(observed: Observed): string[] {
  const found: string[] = [];
  for (const log of [...observed.connections.values(), ...observed.probes.values()]) {
    const { fromMs, forMs } = longestSilence(log, observed);
    if (forMs <= silenceMs + pausesMs(log)) continue;
    const causes = causesOf(log, observed);
    // That it was open when everything was shut down is no reason to have stood still before.
    causes.delete("end_of_run");
    if (causes.size > 0) continue;
    found.push(
      `progress: ${describeConnection(log)}: nothing happened for ${(forMs / 1000).toFixed(1)} s from ${fromMs.toFixed(1)} ms on`,
    );
  }
  return found;
}

function longestSilence(log: ConnectionLog, observed: Observed) {
  const times = [...log.atWorkloadMs, ...log.atCallerMs, endOf(log, observed)].sort((a, b) => a - b);
  let longest = { fromMs: log.startedMs, forMs: 0 };
  let lastMs = log.startedMs;
  for (const atMs of times) {
    if (atMs - lastMs > longest.forMs) longest = { fromMs: lastMs, forMs: atMs - lastMs };
    lastMs = atMs;
  }
  return longest;
}

function pausesMs({ plan: { client, server } }: ConnectionLog): number {
  return [client, server].reduce((sum, { stall, gapMs }) => sum + gapMs + (stall?.forMs ?? 0), 0);
}
