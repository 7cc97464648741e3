import { expect, test } from "bun:test";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { CertificateAuthority } from "../../pki/issue/ca.ts";
import { issueRevocationList } from "../../pki/issue/crl.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import type { TrustBundle } from "../../pki/trust/trust_bundle.ts";
import { TrustVerifier } from "../../pki/trust/verifier.ts";
import { VerifierBundle } from "./verifier_bundle.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");

test("roots and the lists in force are handed on as they change; a list that is not genuine is not", async () => {
  const [clock, provider, trustDomain] = [new FakeClock(nowMs), runtimeProvider(), "cluster.local"];
  const [ours, other] = [
    await CertificateAuthority.create({ clock, provider, trustDomain }),
    await CertificateAuthority.create({ clock, provider, trustDomain }),
  ];
  const listOf = (authority: CertificateAuthority) =>
    issueRevocationList(
      authority.issuer,
      {
        revoked: [],
        number: 1n,
        thisUpdateMs: nowMs - 1_000,
        nextUpdateMs: nowMs + 3_600_000,
      },
      clock,
    );
  const trust = new TrustVerifier({ clock, provider, trustDomain });
  const bundle = new VerifierBundle(trust);
  expect(bundle.value).toEqual({ rootsPem: "", crls: [] });
  const seen: TrustBundle[] = [];
  const end = bundle.subscribe((value) => seen.push(value));
  trust.setRoots(ours.rootsPem);
  const [genuine, foreign] = [await listOf(ours), await listOf(other)];
  await trust.setCrls([
    { name: "ours", bytes: genuine },
    { name: "other", bytes: foreign },
  ]);
  expect(seen).toEqual([
    { rootsPem: ours.rootsPem, crls: [] },
    { rootsPem: ours.rootsPem, crls: [genuine] },
  ]);
  end();
  trust.setRoots(other.rootsPem);
  expect(seen).toHaveLength(2);
});
