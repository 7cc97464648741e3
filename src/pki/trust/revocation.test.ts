import { beforeAll, describe, expect, test } from "bun:test";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { type Logger, silentLogger } from "../../base/log.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { encodePem } from "../der/pem.ts";
import { FakeClock } from "../testing/fake_clock.ts";
import { Forge, type Forged } from "../testing/forge.ts";
import { forgeList, type ListOptions } from "../testing/forge_list.ts";
import { MemoryFiles } from "../testing/memory_files.ts";
import { providers } from "../testing/providers.ts";
import { parseRevocationList } from "../x509/crl.ts";
import { Extension, KeyUsageFlags, X509CrlReason } from "../x509/peculiar.ts";
import type { CrlStatus } from "./revocation.ts";
import { followTrustFiles } from "./trust_files.ts";
import { TrustVerifier } from "./verifier.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const hour = 3_600_000;
const expectation = { usage: "clientAuth", identities: null } as const;

const summary = (statuses: readonly CrlStatus[]): unknown[] =>
  statuses.map(({ state, message }) => [state, message]);
const inForce = ["in_force", null];

async function codeOf(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => "accepted",
    (error) => asMeshError(error, "io", "local").code,
  );
}

for (const provider of providers) {
  describe(`revocation on ${provider.name}`, () => {
    let forge: Forge;
    let root: Forged;
    let clock: FakeClock;

    beforeAll(async () => {
      forge = new Forge(provider, nowMs);
      root = await forge.ca();
      clock = new FakeClock(nowMs);
    });

    function makeTrust(crlRequired = false): TrustVerifier {
      const trust = new TrustVerifier({ clock, provider, trustDomain: "cluster.local", crlRequired });
      trust.setRoots(root.pem);
      return trust;
    }

    const list = (serialNumbers: readonly string[], options: ListOptions = {}): Promise<Uint8Array> =>
      forgeList(nowMs, provider, root, serialNumbers, options);
    const source = (bytes: Uint8Array): { name: string; bytes: Uint8Array } => ({ name: "crl", bytes });

    test("a revoked peer is refused, 200 tries each way, and its open connection is told by the change", async () => {
      const trust = makeTrust();
      const [leaf, other] = [await forge.leaf(root), await forge.leaf(root)];
      const [peer, otherPeer] = [
        await trust.verify([leaf.der], expectation),
        await trust.verify([other.der], expectation),
      ];
      const told: (string | undefined)[] = [];
      trust.changes.subscribe(() => told.push(trust.recheck(peer)?.code, trust.recheck(otherPeer)?.code));
      const statuses = await trust.setCrls([
        source(await list([leaf.parsed.serialNumber], { reason: X509CrlReason.keyCompromise })),
      ]);
      expect(summary(statuses)).toEqual([inForce]);
      expect(told).toEqual(["certificate_revoked", undefined]);
      for (const usage of ["clientAuth", "serverAuth"] as const) {
        const tries = Array.from({ length: 200 }, () =>
          codeOf(trust.verify([leaf.der], { usage, identities: null })),
        );
        expect(new Set(await Promise.all(tries))).toEqual(new Set(["certificate_revoked"]));
        expect(await codeOf(trust.verify([other.der], { usage, identities: null }))).toBe("accepted");
      }
    });

    test("on hold is revoked; so is a list without number, without next update, in PEM among others", async () => {
      const trust = makeTrust();
      const [first, second] = [await forge.leaf(root), await forge.leaf(root)];
      const rekeyed = await forge.ca({ subject: "CN=other root" });
      trust.setRoots(root.pem + rekeyed.pem);
      const held = await list([first.parsed.serialNumber, second.parsed.serialNumber], {
        reason: X509CrlReason.certificateHold,
        number: null,
        nextUpdateMs: null,
      });
      const text =
        encodePem("X509 CRL", await forgeList(nowMs, provider, rekeyed, [])) + encodePem("X509 CRL", held);
      expect(summary(await trust.setCrls([source(new TextEncoder().encode(text))]))).toEqual([
        inForce,
        inForce,
      ]);
      expect(await codeOf(trust.verify([first.der], expectation))).toBe("certificate_revoked");
      expect(await codeOf(trust.verify([second.der], expectation))).toBe("certificate_revoked");
    });

    test("a verification that was under way when the list came does not slip through", async () => {
      const trust = makeTrust();
      const leaf = await forge.leaf(root);
      const bytes = await list([leaf.parsed.serialNumber]);
      const underWay = codeOf(trust.verify([leaf.der], expectation));
      const change = trust.setCrls([source(bytes)]);
      const [code] = await Promise.all([underWay, change]);
      // Either the answer came before the list, or it is the refusal; after the change it is never anything else.
      expect(["accepted", "certificate_revoked"]).toContain(code);
      expect(await codeOf(trust.verify([leaf.der], expectation))).toBe("certificate_revoked");
    });

    test("the same serial number of another issuer is not revoked", async () => {
      const other = await forge.ca({ subject: "CN=other root" });
      const rekeyed = await forge.ca();
      const trust = makeTrust();
      trust.setRoots(root.pem + other.pem + rekeyed.pem);
      await trust.setCrls([source(await list(["77"]))]);
      for (const [issuer, code] of [
        [root, "certificate_revoked"],
        [other, "accepted"],
        [rekeyed, "accepted"],
      ] as const) {
        const leaf = await forge.leaf(issuer, { serialNumber: "77" });
        expect(await codeOf(trust.verify([leaf.der], expectation))).toBe(code);
      }
    });

    test("a revoked intermediate takes everything below with it, also when its list arrives later", async () => {
      const intermediate = await forge.ca({ subject: "CN=intermediate", issuer: root });
      const leaf = await forge.leaf(intermediate);
      const chain = [leaf.der, intermediate.der];

      const byRoot = makeTrust();
      const peer = await byRoot.verify(chain, expectation);
      await byRoot.setCrls([source(await list([intermediate.parsed.serialNumber]))]);
      expect(byRoot.recheck(peer)?.code).toBe("certificate_revoked");
      expect(await codeOf(byRoot.verify(chain, expectation))).toBe("certificate_revoked");

      // The intermediate's own list, before anyone has shown the intermediate.
      const early = makeTrust();
      const own = await forgeList(nowMs, provider, intermediate, [leaf.parsed.serialNumber]);
      const [pending] = await early.setCrls([source(own)]);
      expect(pending?.state).toBe("pending");
      expect(await codeOf(early.verify(chain, expectation))).toBe("certificate_revoked");
      expect(summary(early.crlStatus())).toEqual([inForce]);

      // And after: known from the verified path, so that it is in force at once.
      const late = makeTrust();
      const latePeer = await late.verify(chain, expectation);
      expect(summary(await late.setCrls([source(own)]))).toEqual([inForce]);
      expect(late.recheck(latePeer)?.code).toBe("certificate_revoked");
    });

    test("a list that is not genuine or not readable changes nothing, and is reported", async () => {
      const trust = makeTrust();
      const [revoked, good] = [await forge.leaf(root), await forge.leaf(root)];
      await trust.setCrls([source(await list([revoked.parsed.serialNumber]))]);
      const forgedList = await list([good.parsed.serialNumber], { number: 2, signWith: await forge.keys() });
      const genuine = await list([good.parsed.serialNumber], { number: 2 });
      const bad: [Uint8Array, string][] = [
        [forgedList, "is not signed by its issuer"],
        [
          genuine.with(genuine.length - 1, (genuine[genuine.length - 1] ?? 0) ^ 1),
          "is not signed by its issuer",
        ],
        [genuine.subarray(0, genuine.length - 2), "DER element runs past the end"],
        [new Uint8Array(), "neither PEM nor DER of a revocation list"],
        [new TextEncoder().encode(root.pem), "a block of CERTIFICATE where revocation lists were expected"],
        [
          await list([], { number: 2, extra: [new Extension("2.5.29.28", true, Uint8Array.of(0x30, 0))] }),
          "critical extension 2.5.29.28",
        ],
        [
          await list([], { number: 2, extra: [new Extension("2.5.29.27", true, Uint8Array.of(2, 1, 1))] }),
          "critical extension 2.5.29.27",
        ],
        [new Uint8Array(pkiLimits.maxCrlBytes + 1).fill(0x30), "larger than the limit"],
      ];
      for (const [bytes, message] of bad) {
        const [status] = await trust.setCrls([source(bytes)]);
        expect(status?.state).toBe("refused");
        expect(status?.message).toContain(message);
        expect(trust.crlStatus().filter((one) => one.state === "in_force")).toHaveLength(1);
        expect(await codeOf(trust.verify([revoked.der], expectation))).toBe("certificate_revoked");
        expect(await codeOf(trust.verify([good.der], expectation))).toBe("accepted");
      }
    });

    test("an older list does not replace a newer one; a newer one and an empty set do", async () => {
      const trust = makeTrust();
      const leaf = await forge.leaf(root);
      await trust.setCrls([source(await list([leaf.parsed.serialNumber], { number: 5 }))]);
      expect(summary(await trust.setCrls([source(await list([], { number: 4 }))]))[0]).toEqual([
        "superseded",
        "is older than the list in force",
      ]);
      expect(await codeOf(trust.verify([leaf.der], expectation))).toBe("certificate_revoked");
      await trust.setCrls([source(await list([], { number: 6 }))]);
      expect(await codeOf(trust.verify([leaf.der], expectation))).toBe("accepted");
      await trust.setCrls([source(await list([leaf.parsed.serialNumber], { number: 7 }))]);
      expect(await codeOf(trust.verify([leaf.der], expectation))).toBe("certificate_revoked");
      await trust.setCrls([]);
      expect(await codeOf(trust.verify([leaf.der], expectation))).toBe("accepted");
    });

    test("a list past its next update is enforced and called stale", async () => {
      const trust = makeTrust();
      const leaf = await forge.leaf(root);
      const [status] = await trust.setCrls([
        source(await list([leaf.parsed.serialNumber], { nextUpdateMs: nowMs - 1 })),
      ]);
      expect(status).toMatchObject({ state: "in_force", stale: true, entries: 1 });
      expect(await codeOf(trust.verify([leaf.der], expectation))).toBe("certificate_revoked");
    });

    test("where lists are required, no list and a stale list refuse", async () => {
      const trust = makeTrust(true);
      const leaf = await forge.leaf(root);
      expect(await codeOf(trust.verify([leaf.der], expectation))).toBe("certificate_revocation_unknown");
      await trust.setCrls([source(await list([], { nextUpdateMs: nowMs + hour }))]);
      const peer = await trust.verify([leaf.der], expectation);
      clock.jumpWall(hour + 1);
      expect(await codeOf(trust.verify([leaf.der], expectation))).toBe("certificate_revocation_unknown");
      expect(trust.recheck(peer)?.code).toBe("certificate_revocation_unknown");
      clock.jumpWall(-hour - 1);
      expect(await codeOf(trust.verify([leaf.der], expectation))).toBe("accepted");
    });

    test("what a CA revokes that may not sign lists is doubtful, and so refused", async () => {
      const mute = await forge.ca({ subject: "CN=mute", keyUsage: KeyUsageFlags.keyCertSign });
      const trust = makeTrust();
      trust.setRoots(mute.pem);
      const [leaf, other] = [await forge.leaf(mute), await forge.leaf(mute)];
      const [status] = await trust.setCrls([
        source(await forgeList(nowMs, provider, mute, [leaf.parsed.serialNumber])),
      ]);
      expect(status).toMatchObject({ state: "refused", message: "its issuer has no key usage cRLSign" });
      expect(await codeOf(trust.verify([leaf.der], expectation))).toBe("certificate_revoked");
      expect(await codeOf(trust.verify([other.der], expectation))).toBe("accepted");
    });

    test("more lists than the limit are refused, not dropped in silence", async () => {
      const trust = makeTrust();
      const one = encodePem("X509 CRL", await list([], { number: 1 }));
      const statuses = await trust.setCrls([
        source(new TextEncoder().encode(one.repeat(pkiLimits.maxCrls + 1))),
      ]);
      expect(statuses.filter((status) => status.message?.includes("more revocation lists"))).toHaveLength(1);
    });

    test("files: read at the start, followed after, the last good state kept", async () => {
      const files = new MemoryFiles();
      const trust = new TrustVerifier({ clock, provider, trustDomain: "cluster.local" });
      const leaf = await forge.leaf(root);
      const options = {
        files,
        trust,
        logger: silentLogger,
        rootsPath: "/roots.pem",
        crlPaths: ["/mesh.crl"],
      };
      files.put("/roots.pem", root.pem);
      expect(await outcomeOf(followTrustFiles(options))).toThrow("/mesh.crl: no such file");
      files.put("/mesh.crl", "rubbish");
      expect(await outcomeOf(followTrustFiles(options))).toThrow("/mesh.crl: neither PEM nor DER");
      files.put("/mesh.crl", await list([], { number: 1 }));
      const end = await followTrustFiles(options);
      const peer = await trust.verify([leaf.der], expectation);

      const changed = new Promise<void>((resolve) => trust.changes.subscribe(() => resolve()));
      files.put("/mesh.crl", await list([leaf.parsed.serialNumber], { number: 2 }));
      await changed;
      expect(trust.recheck(peer)?.code).toBe("certificate_revoked");
      files.drop("/mesh.crl");
      files.put("/roots.pem", "rubbish");
      await clock.advance(1);
      expect(await codeOf(trust.verify([leaf.der], expectation))).toBe("certificate_revoked");
      end();
      files.put("/mesh.crl", await list([], { number: 3 }));
      await clock.advance(1);
      expect(await codeOf(trust.verify([leaf.der], expectation))).toBe("certificate_revoked");
    });

    test("files: a change that is told of twice is one line of the log, and each other list is one of its own", async () => {
      const files = new MemoryFiles();
      const trust = new TrustVerifier({ clock, provider, trustDomain: "cluster.local" });
      trust.setRoots(root.pem);
      const said: string[] = [];
      const logger: Logger = { log: (level, _target, message) => void said.push(`${level} ${message}`) };
      files.put("/mesh.crl", await list([], { number: 1 }));
      const end = await followTrustFiles({
        ...{ files, trust, logger },
        rootsPath: null,
        crlPaths: ["/mesh.crl"],
      });
      expect(said.splice(0)).toEqual(["info revocation list in_force"]);
      // Signatures are verified on other threads: what is to be said is waited for, and for nothing some turns.
      const put = async (content: string | Uint8Array, lines: number): Promise<readonly string[]> => {
        files.put("/mesh.crl", content);
        for (let turn = 0; turn < 20 || said.length < lines; turn++) {
          await clock.advance(1);
          await new Promise((go) => setTimeout(go));
        }
        return said.splice(0);
      };
      // The last good one is told with it.
      const refused = "warn revocation list refused";
      expect(await put("rubbish", 2)).toEqual([refused, "info revocation list in_force"]);
      expect(await put("rubbish", 0)).toEqual([]);
      expect(await put("rubbisH", 1)).toEqual([refused]);
      expect(await put(await list([], { number: 2 }), 1)).toEqual(["info revocation list in_force"]);
      expect(await put("rubbish", 1)).toEqual([refused]);
      end();
    });
  });
}

test("an issuer that was forgotten, as there were more than the limit, leaves its peers in doubt and not believed", async () => {
  const [provider] = providers;
  if (provider === undefined) throw new Error("no provider");
  const forge = new Forge(provider, nowMs);
  const root = await forge.ca();
  const keys = await forge.keys();
  const trust = new TrustVerifier({ clock: new FakeClock(nowMs), provider, trustDomain: "cluster.local" });
  trust.setRoots(root.pem);
  const intermediates: Forged[] = [];
  const leaves: Forged[] = [];
  for (let index = 0; index <= pkiLimits.maxKnownIssuers; index++) {
    const intermediate = await forge.ca({ subject: `CN=intermediate ${index}`, issuer: root, keys });
    intermediates.push(intermediate);
    leaves.push(await forge.leaf(intermediate, { keys }));
  }
  const peers = await Promise.all(
    leaves.map((leaf, index) => trust.verify([leaf.der, intermediates[index]?.der ?? leaf.der], expectation)),
  );
  const statesOf = async (index: number): Promise<unknown[]> => {
    const [intermediate, leaf, peer] = [intermediates[index], leaves[index], peers[index]];
    if (intermediate === undefined || leaf === undefined || peer === undefined)
      throw new Error("no such peer");
    const bytes = await forgeList(nowMs, provider, intermediate, [leaf.parsed.serialNumber]);
    const [status] = await trust.setCrls([{ name: "crl", bytes }]);
    return [status?.state, trust.recheck(peer)?.code];
  };
  const states = [];
  for (let index = 0; index <= pkiLimits.maxKnownIssuers; index++) states.push(await statesOf(index));
  expect(states.filter(([state]) => state === "pending")).toHaveLength(1);
  expect(states.every(([, code]) => code === "certificate_revoked")).toBe(true);
}, 300_000);

/** A sequence with a three-byte length, whatever it holds: for lists of more than 64 KiB. */
function longSequence(...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(5 + length);
  bytes.set([0x30, 0x83, length >> 16, (length >> 8) & 0xff, length & 0xff]);
  let offset = 5;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

test("a list with more entries than the limit is refused, one at the limit is read", () => {
  const time = Uint8Array.of(0x17, 13, ...new TextEncoder().encode("261122120000Z"));
  const algorithm = Uint8Array.of(0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2);
  const name = Uint8Array.of(0x30, 12, 0x31, 10, 0x30, 8, 6, 3, 0x55, 4, 3, 0x0c, 1, 0x78);
  const make = (count: number): Uint8Array => {
    const entries = Array.from({ length: count }, (_, index) =>
      Uint8Array.of(0x30, 20, 2, 3, 1 + (index >> 16), (index >> 8) & 0xff, index & 0xff, ...time),
    );
    const signed = longSequence(Uint8Array.of(2, 1, 1), algorithm, name, time, longSequence(...entries));
    return longSequence(signed, algorithm, Uint8Array.of(3, 2, 0, 0));
  };
  expect(parseRevocationList(make(pkiLimits.maxCrlEntries)).serialNumbers.size).toBe(pkiLimits.maxCrlEntries);
  expect(() => parseRevocationList(make(pkiLimits.maxCrlEntries + 1))).toThrow(MeshError);
});
