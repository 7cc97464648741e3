/** Certificates that are wrong each in one way, 200 tries each, none served: into an inbound node, and under an outbound node. */
import { join } from "node:path";
import { GoPeer, peerLines, recordOutcome } from "../go_peer.ts";
import { type Leaf, TestAuthority } from "../lab/authority.ts";
import { cartIdentity, dbIdentity, type Lab, trustDomain } from "../lab/lab.ts";
import type { NodeSubject } from "../subjects/subject.ts";
import { inLab, type SuiteContext } from "./suite.ts";

const tries = 200;
const hourMs = 3_600_000;

type Flaw = { readonly name: string; readonly leaf: Leaf | null };

/** @param usage what the good certificate is used for; the wrong-usage flaw has the other one. */
function flaws(lab: Lab, identity: string, usage: "clientAuth" | "serverAuth"): Flaw[] {
  const foreign = TestAuthority.create(join(lab.directory, "foreign"), "foreign root");
  // The same subject as the real root: only the signature tells them apart.
  const impostor = TestAuthority.create(join(lab.directory, "impostor"), "lab root");
  const own = lab.authority;
  const uri = [`URI:${identity}`];
  const [account] = identity.split("/").slice(-1);
  const elsewhere = identity.replace(trustDomain, "other.example");
  const issue = (name: string, request: Partial<Parameters<TestAuthority["issue"]>[0]>): Flaw => ({
    name,
    leaf: own.issue({ name, subjectAltNames: uri, ...request }),
  });
  return [
    { name: "foreign-ca", leaf: foreign.issue({ name: "foreign", subjectAltNames: uri }) },
    { name: "impostor-ca", leaf: impostor.issue({ name: "impostor", subjectAltNames: uri }) },
    issue("expired", { notBeforeMs: -48 * hourMs, notAfterMs: -hourMs }),
    issue("not-yet-valid", { notBeforeMs: hourMs, notAfterMs: 48 * hourMs }),
    issue("wrong-usage", { extendedKeyUsage: [usage === "clientAuth" ? "serverAuth" : "clientAuth"] }),
    issue("usage-of-neither", { extendedKeyUsage: ["codeSigning"] }),
    issue("certificate-authority-as-leaf", { certificateAuthority: true }),
    issue("wrong-trust-domain", { subjectAltNames: [`URI:${elsewhere}`] }),
    issue("trust-domain-with-suffix", {
      subjectAltNames: [`URI:${identity.replace(trustDomain, `${trustDomain}.evil`)}`],
    }),
    issue("two-spiffe-names", { subjectAltNames: [...uri, `URI:spiffe://${trustDomain}/ns/shop/sa/other`] }),
    issue("no-name-at-all", { subjectAltNames: [] }),
    issue("name-as-dns", {
      subjectAltNames: [`DNS:${account}.shop.svc.${trustDomain}`],
      commonName: identity,
    }),
    issue("name-with-more-segments", { subjectAltNames: [`URI:${identity}/extra`] }),
    issue("name-with-other-scheme", {
      subjectAltNames: [`URI:https://${identity.slice("spiffe://".length)}`],
    }),
    ...(usage === "clientAuth" ? [{ name: "no-certificate", leaf: null }] : []),
  ];
}

export async function badClientSuite(context: SuiteContext, subject: NodeSubject): Promise<void> {
  const prefix = `bad client certificate → ${subject.name}`;
  await inLab(context, prefix, [subject], async (plain) => {
    const good = plain.authority.issueFor(cartIdentity, "good");
    const revoked = plain.authority.issueFor(cartIdentity, "revoked");
    const lab = { ...plain, crlPath: plain.authority.revoke([revoked]) };
    const peer = new GoPeer(context.goPath, lab);
    await peer.startApplications();
    const node = await subject.startInbound(lab);
    try {
      const control = await peer.tries(good, tries);
      recordOutcome(
        context.tally,
        prefix,
        subject.name,
        "good-certificate-is-served",
        expectServed(control.served, tries, control),
      );
      for (const flaw of [...flaws(lab, cartIdentity, "clientAuth"), { name: "revoked", leaf: revoked }]) {
        const result = await peer.tries(flaw.leaf, tries);
        recordOutcome(context.tally, prefix, subject.name, flaw.name, expectServed(result.served, 0, result));
      }
      const after = await peer.tries(good, 20);
      recordOutcome(
        context.tally,
        prefix,
        subject.name,
        "good-certificate-still-served",
        expectServed(after.served, 20, after),
      );
    } finally {
      await node.process.stop();
      await peer.stop();
    }
  });
}

function expectServed(served: unknown, expected: number, result: unknown): string | null {
  return served === expected ? null : `expected ${expected} served: ${JSON.stringify(result)}`;
}

/** One outbound node, one server after another in the same place. A server that is not accepted must not even see a CONNECT. */
export async function badServerSuite(context: SuiteContext, subject: NodeSubject): Promise<void> {
  const prefix = `${subject.name} → bad server certificate`;
  await inLab(context, prefix, [subject], async (plain) => {
    const revoked = plain.authority.issueFor(dbIdentity, "revoked");
    const lab = { ...plain, crlPath: plain.authority.revoke([revoked]) };
    const node = await subject.startOutbound(lab);
    const tryServer = async (
      leaf: Leaf,
      calls: number,
    ): Promise<{ requests: number; echoed: number; handshakes: number }> => {
      const peer = new GoPeer(context.goPath, lab);
      try {
        await peer.startApplications();
        const server = await peer.startServer("server", leaf, cartIdentity);
        const lines = await peer.call("call", node.dial, ["-only", "echo", "-repeat", `${calls}`]);
        const seen = peerLines(server);
        return {
          requests: seen.filter((line) => line.event === "request").length,
          handshakes: seen.filter((line) => line.event === "connection" || line.event === "handshake-failed")
            .length,
          echoed: lines.filter((line) => line.ok === true).length,
        };
      } finally {
        await peer.stop();
      }
    };
    try {
      const good = lab.authority.issueFor(dbIdentity, "good");
      const control = await tryServer(good, 20);
      const served = control.echoed === 20 ? null : JSON.stringify(control);
      recordOutcome(context.tally, prefix, subject.name, "good-certificate-is-called", served);
      const other = lab.authority.issueFor(cartIdentity, "wrong_workload");
      const extra = [
        { name: "identity-of-another-workload", leaf: other },
        { name: "revoked", leaf: revoked },
      ];
      for (const { name, leaf } of [...flaws(lab, dbIdentity, "serverAuth"), ...extra]) {
        if (leaf === null) continue;
        const result = await tryServer(leaf, tries);
        const problem =
          result.requests > 0 || result.echoed > 0
            ? `the server was spoken to: ${JSON.stringify(result)}`
            : result.handshakes === 0
              ? "the server was never tried"
              : null;
        recordOutcome(context.tally, prefix, subject.name, name, problem);
      }
      const after = await tryServer(lab.authority.issueFor(dbIdentity, "good_again"), 20);
      recordOutcome(
        context.tally,
        prefix,
        subject.name,
        "good-certificate-called-again",
        after.echoed === 20 ? null : JSON.stringify(after),
      );
    } finally {
      await node.process.stop();
    }
  });
}
