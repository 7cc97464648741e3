/** Certificates per second: the product's own CA and service, state on a disk, callers with tokens, gRPC over TLS on loopback. */
import type { AuthorityAnswer, AuthorityCommand, CallersAnswer, CallersCommand, Usage } from "./words.ts";
import { Worker } from "./worker.ts";

export interface CertificateRow {
  readonly what: string;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the control plane's process, all threads, for each certificate. */
  readonly cpuMs: number;
  readonly residentBytes: number;
}

/** @param count of certificates in each round. */
export async function benchCertificates(count: number): Promise<readonly CertificateRow[]> {
  const authority = new Worker<AuthorityCommand, AuthorityAnswer>("authority.ts");
  const callers = new Worker<CallersCommand, CallersAnswer>("callers.ts");
  try {
    const { kind: _, ...address } = await authority.hear("started");
    await callers.hear("ready");
    const usage = async (): Promise<Usage> => {
      authority.say({ kind: "usage" });
      return (await authority.hear("usage")).usage;
    };
    const round = async (atOnce: number, rounds: number): Promise<CertificateRow> => {
      const before = await usage();
      callers.say({ kind: "call", ...address, count: rounds, atOnce });
      const { latenciesMs, tookMs } = await callers.hear("called");
      const after = await usage();
      return {
        what: `${atOnce} at a time`,
        perSecond: (rounds / tookMs) * 1000,
        p50Ms: latenciesMs[rounds >> 1] ?? Number.NaN,
        p99Ms: latenciesMs[Math.floor(rounds * 0.99)] ?? Number.NaN,
        cpuMs: (after.cpuMs - before.cpuMs) / rounds,
        residentBytes: after.rssBytes,
      };
    };
    await round(8, Math.ceil(count / 4)); // A just-in-time compiler needs it.
    return [await round(1, Math.ceil(count / 4)), await round(8, count), await round(64, count)];
  } finally {
    authority.say({ kind: "close" });
    await authority.ended;
    callers.end();
  }
}
