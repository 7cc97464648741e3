import { expect, test } from "bun:test";
import { pkiLimits } from "../../base/limits/pki.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { FakeClock } from "../testing/fake_clock.ts";
import { parseRevocationList } from "../x509/crl.ts";
import { CertificateAuthority } from "./ca.ts";
import { issueRevocationList } from "./crl.ts";

test("the longest list is written in slices, between which everything else has its turn", async () => {
  const nowMs = Date.parse("2026-11-22T12:00:00Z");
  const ca = await CertificateAuthority.create({
    clock: new FakeClock(nowMs),
    provider: runtimeProvider(),
    trustDomain: "cluster.local",
  });
  // Each look finds a millisecond gone.
  let nowAt = 0;
  let looks = 0;
  let longest = 0;
  let turns = 0;
  const clock = {
    now: () => {
      longest = Math.max(longest, ++looks);
      return nowAt++;
    },
    defer: (work: () => void) => {
      turns++;
      looks = 0;
      setImmediate(work);
    },
  };
  const revoked = Array.from({ length: pkiLimits.maxCrlEntries }, (_, index) => ({
    serialNumber: (0x40000000 + index).toString(16),
    revokedAtMs: nowMs,
    reason: "superseded" as const,
  }));
  const list = { revoked, number: 1n, thisUpdateMs: nowMs, nextUpdateMs: nowMs + 1_000 };
  const der = await issueRevocationList(ca.issuer, list, clock);
  expect(parseRevocationList(der).serialNumbers.size).toBe(pkiLimits.maxCrlEntries);
  expect(turns).toBeGreaterThan(10);
  expect(longest).toBeLessThan(50);
  // It is not looked at for each entry either.
  expect(nowAt).toBeLessThan(pkiLimits.maxCrlEntries / 10);
});
